//! HL7 v2 bytes in, values out: framing, reading, answering. Pure: no socket, no clock.

mod ack;
mod batch;
mod charset;
mod check;
mod escape;
mod field;
mod header;
mod message;
mod mllp;
mod path;
mod time;

pub use ack::*;
pub use batch::*;
pub use charset::*;
pub use check::*;
pub use escape::*;
pub use header::*;
pub use message::*;
pub use mllp::*;
pub use path::*;
pub use time::*;

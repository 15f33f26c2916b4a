//! HL7 v2 bytes in, values out: framing, reading, answering. Pure: no socket, no clock.
//!
//! In reading order: [`MllpCodec`] takes frames off the wire; [`Header`] reads MSH alone, which is all that an answer
//! needs; [`check`] says whether the rest can be kept as accepted; [`answer`] says so to the sender. Later, and

mod ack;
mod batch;
mod charset;
mod check;
mod cuts;
mod escape;
mod field;
mod find;
mod header;
mod lines;
mod message;
mod mllp;
mod path;
mod time;

pub use ack::*;
pub use batch::*;
pub use charset::*;
pub use check::*;
pub(crate) use cuts::{Cuts, Repetition, Span, has_further_sub_components, narrow, repetitions, sub_component, wide};
pub use escape::*;
pub use find::*;
pub use header::*;
pub use message::*;
pub use mllp::*;
pub use path::*;
pub use time::*;

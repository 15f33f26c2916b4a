//! Admitting and answering: may this sender send this, is it a frame, a message, of a size and type
//! that we take; and what is the sender told.
//!
//!     folder of files -> stands still -> claimed ->
//!     socket -> gate -> (TLS) -> frame or request -> admission -> journal -> answer
//!
//! # Invariants
//!
//! - Nobody is told "accepted" without a [`crate::journal::Receipt`] in hand; a refused message is kept too before its refusal is said.
//! - On one connection messages are begun in the order in which they came, and answered in that order.
//! - Nothing is parsed before the peer is identified, and everything that can grow has a bound.
//! - Nothing from inside a message reaches a log, a metric or the text of an answer.
//!
//! # Not here
//!
//! What a message means. Intake cannot see a mapping, so no mapping can refuse or lose a message.

mod admission;
mod batch;
mod body;
mod budget;
mod control_file;
mod desk;
mod drop;
mod drop_ended;
mod drop_watch;
mod events;
mod gate;
mod http;
mod in_order;
mod listener;
mod mllp;
mod refusal;
mod settings;
mod shelf;
mod sources;
mod tls;

pub use admission::*;
pub use desk::{Clock, Patience};
pub(crate) use http::serve_requests;
pub use listener::{Addresses, Controls, Intake, IntakeError, OpenedSocket, Opening, Replacement, Reread, TlsRead};
pub use refusal::*;
pub use settings::*;
pub(crate) use sources::san_key;
pub use sources::*;
pub(crate) use tls::Credentials;
pub use tls::TlsDoor;

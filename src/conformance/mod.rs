//! What a sender sends that does not fit, how often, and what it should change, in the words of the standard.
//!
//! # In this folder
//!
//! - [`Lint`]: takes messages one by one and gives a [`Report`]: issues counted by kind and place, not by message.
//! - [`standard`]: names of segments, fields and components (`fields.txt`).
//! - `habits`: what a child health service needs beyond what its mappings ask for.
//!
//! # What always holds
//!
//! - A report can be sent to the hospital as it is: it quotes no value but codes that a table does not know, and those
//!   only where they look like codes.
//! - The same messages and mappings give the same report, in whatever order they came.
//!
//! # Not here
//!
//! No socket, no ledger: who calls brings the bytes. Whether a message is taken is decided by intake and mapping alone.

mod habits;
mod lint;
pub mod standard;
mod words;

pub use lint::{Issue, Kind, Lint, Report, Severity};

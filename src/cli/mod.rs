//! Commands.
pub mod diagnostics;

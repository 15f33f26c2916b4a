//! All that the broker says about itself: each thing is a struct, log line and metric together.
//! Fields are names, numbers, durations; nothing out of a message ever is.
//!
//! # Levels
//!
//! ERROR: a person must act. WARN: a person should look in working hours. INFO: it happened. DEBUG: each message.

mod files;
mod intake;
mod setup;

pub use files::*;
pub use intake::*;
pub use setup::*;

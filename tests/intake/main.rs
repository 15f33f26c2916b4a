//! What a sender sees of the broker: real sockets, real certificates, a journal that can be told what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "helpers of tests say what they are by their names")]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/doors.rs"]
mod doors;
#[path = "../support/journal.rs"]
mod journal;

mod http;
mod mllp;
mod tls;

//! What a sender sees of the broker: real sockets, real certificates, a journal that can be told what to do.

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/doors.rs"]
mod doors;
#[path = "../support/journal.rs"]
mod journal;

mod http;
mod mllp;
mod tls;

//! What a sender sees of the broker: real sockets, real certificates, a journal that can be told what to do.

#[path = "../support/doors.rs"]
mod doors;
#[path = "../support/journal.rs"]
mod journal;

mod mllp;

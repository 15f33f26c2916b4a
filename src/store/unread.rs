//! Records that cannot be read: each is named by our id, a person is asked about it, and work over many children goes on without it.
//!
//! # What always holds
//!
//! - What is wrong with one record stops nobody else's births list, decision or move.
//! - What could not be done for it is not forgotten: it is tried again, once a day or at the next list, and named again.
//! - Nothing of what the record says is told anywhere; its messages are whole in the journal.

use rusqlite::{Connection, OptionalExtension};

use super::{desk, event_row};

/// The kind of the item.
pub(super) const KIND: &str = "record-unreadable";

/// Asks a person to look at a child whose record cannot be read, once while the question is open.
pub(super) fn ask(connection: &Connection, child: i64, now_us: i64) -> rusqlite::Result<()> {
    if desk::was_asked(connection, KIND, child, now_us)? {
        return Ok(());
    }
    // The item stands with the last message that was filed of the child.
    let last: Option<Option<i64>> =
        connection.prepare_cached("SELECT max(id) FROM event WHERE child = ?1")?.query_row([child], |row| row.get(0)).optional()?;
    desk::ask(connection, KIND, child, event_row::entry(last.flatten().unwrap_or(0)), now_us)
}

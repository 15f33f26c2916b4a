//! The row of an event says which entry it is of, and which of that entry's statements it is.

use rusqlite::{Connection, OptionalExtension};

/// So many rows belong to one entry. SQL that divides has the number written out.
pub(super) const PER_ENTRY: i64 = 1_024;

/// The row of a statement, by its place.
pub(super) const fn of(seq: i64, place: i64) -> i64 {
    seq * PER_ENTRY + place
}

/// The entry of a row.
pub(super) const fn entry(row: i64) -> i64 {
    row / PER_ENTRY
}

/// The place of a row among the statements of its entry.
pub(super) const fn place(row: i64) -> i64 {
    row % PER_ENTRY
}

/// The rows of an entry: from the first to the one before the second.
pub(super) const fn range(seq: i64) -> [i64; 2] {
    [of(seq, 0), of(seq + 1, 0)]
}

/// What was filed under a row, as it was kept.
pub(super) fn body(connection: &Connection, row: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.prepare_cached("SELECT body FROM event WHERE id = ?1")?.query_row([row], |row| row.get(0)).optional()
}

//! How a debt is made: with the event that it is of, in the same transaction.

use rusqlite::{Connection, params};

use super::writer::row_id;
use crate::names::DestinationName;

/// Owes an event of a child to a destination. `body`: what is delivered beside the event or in its place.
pub(super) fn owe(
    connection: &Connection,
    destination: &DestinationName,
    (child, event): (i64, i64),
    made_us: i64,
    body: Option<&[u8]>,
) -> rusqlite::Result<()> {
    let destination = row_id(connection, "destination", destination.as_str())?;
    let sql =
        "INSERT INTO debt(destination, child, event, state, attempts, why, made_us, body) VALUES(?1, ?2, ?3, 'pending', 0, '', ?4, ?5)";
    connection.prepare_cached(sql)?.execute(params![destination, child, event, made_us, body]).map(drop)
}

/// True while something of a child is not settled at a destination.
pub(super) fn is_owed(connection: &Connection, destination: &DestinationName, child: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM debt WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND child = ?2 AND state IN ('pending', 'held')";
    connection.prepare_cached(sql)?.exists(params![destination.as_str(), child])
}

//! Children that moved, until somebody has them: who came without a record, who left the area, who went from hub to hub.
//!
//! A move inside the area is over when the store of the hub has taken it; one to elsewhere when a person notes who has the child, or
//! when it comes back (identity rules, section 10; routing rules, section 3).

use jiff::Timestamp;
use rusqlite::Connection;

use super::births::note_mover;
use super::event_row;
use super::filing::FilingRules;
use super::reader::{LedgerReader, moment};
use super::rows::{MoverRow, StoreError};
use super::transfers::Moving;
use crate::names::HubName;

/// Notes that a child left, or goes to another hub.
pub(super) fn note_move(connection: &Connection, rules: &FilingRules, moving: &Moving<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let acting = |assignment| moving.directory.acting_hub(assignment);
    let (was, is) = (moving.before.and_then(acting), acting(moving.route));
    let place = (moving.child, moving.row);
    let was_out = moving.before.is_some_and(|before| before.hub.as_str() == HubName::OUT);
    match (was, is) {
        (was, None) if !was_out => {
            let hub = was.or_else(|| moving.route.interested.first().cloned()).unwrap_or_else(|| moving.directory.default_hub());
            let why = if moving.before.is_some() { "moved out of the area of all hubs" } else { "lives outside the area of all hubs" };
            note_mover(connection, rules, place, ("out", &hub), now, why)
        }
        (Some(was), Some(is)) if was != is => {
            note_mover(connection, rules, place, ("between", &is), now, &format!("moved from {was} to {is}"))
        }
        (None, Some(is)) if was_out => note_mover(connection, rules, place, ("between", &is), now, &format!("came back to {is}")),
        _ => Ok(()),
    }
}

struct Noted {
    child: i64,
    event: i64,
    /// Where the child belongs now.
    now: String,
    /// Destinations that are the hub's stores.
    stores: String,
    row: MoverRow,
}

impl LedgerReader {
    /// Movers that nobody has yet; with `since`, those too that were taken on after that moment. `hub`: only its own.
    pub fn movers(&self, hub: Option<&str>, since: Option<Timestamp>) -> Result<Vec<MoverRow>, StoreError> {
        let sql = "SELECT m.child, m.event, c.hub, c.uuid, m.way, m.hub, m.since_us, m.why, m.taken_by, m.taken_us, m.stores
            FROM mover m JOIN child c ON c.id = m.child
            WHERE (?1 IS NULL OR m.hub = ?1) AND (?2 OR m.taken_us IS NULL AND NOT (m.way <> 'out' AND EXISTS(
                SELECT 1 FROM debt d JOIN destination n ON n.id = d.destination WHERE d.event = m.event AND d.child = m.child
                AND d.state = 'delivered' AND instr(' ' || m.stores || ' ', ' ' || n.name || ' ')))) AND c.status NOT IN ('merged', 'sealed', 'invalidated', 'deceased', 'stillborn')
            ORDER BY m.since_us, m.child";
        let noted = self.list(sql, rusqlite::params![hub, since.is_some()], |row| {
            let uuid: Vec<u8> = row.get(3)?;
            let (child, event, now, stores) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(10)?);
            let row = MoverRow {
                child: uuid::Uuid::from_slice(&uuid).map(|id| id.to_string()).unwrap_or_default(),
                way: row.get(4)?,
                hub: row.get(5)?,
                since: moment(row.get(6)?),
                why: row.get(7)?,
                seq: event_row::entry(row.get(1)?),
                taken_by: row.get(8)?,
                taken: row.get::<_, Option<i64>>(9)?.map(moment),
            };
            Ok(Noted { child, event, now, stores, row })
        })?;
        let mut rows = Vec::new();
        for mut noted in noted {
            if noted.row.taken.is_none() {
                self.see_who_has_it(&mut noted)?;
            }
            let lately = |taken: &String| since.is_some_and(|since| taken.parse::<Timestamp>().is_ok_and(|taken| since <= taken));
            if noted.row.taken.as_ref().is_none_or(lately) {
                rows.push(noted.row);
            }
        }
        Ok(rows)
    }

    /// A hub's store that has taken the event has the child; a child that has moved on waits at its next place.
    fn see_who_has_it(&self, noted: &mut Noted) -> Result<(), StoreError> {
        let next = "SELECT min(noted_us) FROM hub_history WHERE child = ?1 AND before <> '' AND before <> hub AND event <> ?2
            AND id > coalesce((SELECT max(id) FROM hub_history WHERE child = ?1 AND event = ?2), 0)";
        let (child, event) = (noted.child, noted.event);
        let moved_on: Option<i64> = self.read(|c| c.query_row(next, [child, event], |row| row.get(0)))?;
        if let Some(at) = moved_on {
            noted.row.taken_by = Some(format!("moved on, now {}", noted.now));
            noted.row.taken = Some(moment(at));
            return Ok(());
        }
        if noted.row.way == "out" {
            return Ok(());
        }
        for store in noted.stores.split_whitespace() {
            let sql = "SELECT max(d.settled_us) FROM debt d JOIN destination n ON n.id = d.destination
                WHERE d.event = ?1 AND d.child = ?2 AND n.name = ?3 AND d.state = 'delivered'";
            let taken: Option<i64> = self.read(|c| c.query_row(sql, rusqlite::params![event, child, store], |row| row.get(0)))?;
            if let Some(at) = taken {
                noted.row.taken_by = Some(store.to_owned());
                noted.row.taken = Some(moment(at));
                return Ok(());
            }
        }
        Ok(())
    }
}

//! What else is on record that forbids telling parents a blood spot result: asked when it is filed, and again before it is sent.

use rusqlite::{Connection, params};

use super::filing::kind_word;
use crate::canon::{EventKind, Statement};
use crate::outbox::FiledEvent;

/// Outcomes that a clinician tells first (destination rules, section 3).
const TOLD_BY_A_PERSON: [&str; 5] = ["05", "06", "07", "08", "10"];

/// The rule that forbids it, if one does. `row` is the event's own row.
///
/// - `superseded`: a later version of the same result is on record.
/// - `later-sample`: a sample that was taken later is on record; the older one would look like the newest word.
/// - `hold-back`: another result of this child has an outcome that a person must tell first.
pub(super) fn forbids(connection: &Connection, child: i64, row: i64, event: &FiledEvent) -> rusqlite::Result<Option<&'static str>> {
    if event.statement.event.kind != EventKind::BloodSpot {
        return Ok(None);
    }
    let sql = "SELECT v.id, v.body, a.deleted FROM aggregate a JOIN event v ON v.id = a.event WHERE a.child = ?1 AND a.kind = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![child, kind_word(EventKind::BloodSpot)])?;
    let (own_key, own_time) = (key(&event.statement), time(&event.statement));
    while let Some(found) = rows.next()? {
        let (other, body, deleted): (i64, Vec<u8>, bool) = (found.get(0)?, found.get(1)?, found.get(2)?);
        if other == row {
            continue;
        }
        // What cannot be read cannot be shown to be harmless.
        let Ok(said) = serde_json::from_slice::<FiledEvent>(&body) else { return Ok(Some("hold-back")) };
        if own_key.is_some() && key(&said.statement) == own_key && row < other {
            return Ok(Some("superseded"));
        }
        let outcomes = said.statement.blood_spots.iter().flat_map(|spot| &spot.outcomes);
        if !deleted
            && outcomes.filter_map(|o| o.nbs_status.as_deref()).any(|status| TOLD_BY_A_PERSON.contains(&status) || status == "unclassified")
        {
            return Ok(Some("hold-back"));
        }
        if !deleted && own_time < time(&said.statement) {
            return Ok(Some("later-sample"));
        }
    }
    Ok(None)
}

fn key(statement: &Statement) -> Option<(Option<&str>, &str)> {
    let key = statement.event.key.as_deref().or_else(|| statement.blood_spots.first()?.key.as_deref())?;
    Some((statement.event.publisher.as_deref(), key))
}

/// When the sample was taken, else when the result was said.
fn time(statement: &Statement) -> Option<jiff::Timestamp> {
    let taken = statement.blood_spots.iter().filter_map(|spot| spot.sample.taken.as_ref()).filter_map(|at| at.timestamp()).max();
    taken.or_else(|| statement.event.at.as_ref()?.timestamp())
}

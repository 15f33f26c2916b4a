//! What else is on record that forbids telling parents a result: asked when it is filed, and again before it is sent.

use rusqlite::Connection;

use super::filing::kind_word;
use super::{aggregates, reviews};
use crate::canon::{EventKind, Statement};
use crate::outbox::FiledEvent;

/// Outcomes that a clinician tells first (destination rules, section 3).
const TOLD_BY_A_PERSON: [&str; 5] = ["05", "06", "07", "08", "10"];

/// The rule that forbids it, if one does. `row` is the event's own row.
///
/// - `needs-review`: a person must look first at something of this kind of the child.
/// - `superseded`: a later version of the same result is on record.
/// - `later-sample`: a sample that was taken later is on record; the older one would look like the newest word.
/// - `hold-back`: another result of this child has an outcome that a person must tell first.
pub(super) fn forbids(connection: &Connection, child: i64, row: i64, event: &FiledEvent) -> rusqlite::Result<Option<&'static str>> {
    if reviews::is_open(connection, child, &kind_word(event.statement.event.kind))? {
        return Ok(Some("needs-review"));
    }
    if event.statement.event.kind != EventKind::BloodSpot {
        return Ok(None);
    }
    let own_keys = aggregates::keys(event, row);
    for other in aggregates::of_child(connection, child, Some(EventKind::BloodSpot))? {
        let newest = other.parts.last().map(|part| part.event);
        if newest == Some(row) && other.parts.len() == 1 {
            continue;
        }
        if newest != Some(row) && own_keys.contains(&(other.publisher.clone(), other.key.clone())) {
            return Ok(Some("superseded"));
        }
        if other.deleted {
            continue;
        }
        // What cannot be read cannot be shown to be harmless.
        let Some(said) = other.content(connection)? else { return Ok(Some("hold-back")) };
        let outcomes = said.blood_spots.iter().flat_map(|spot| &spot.outcomes);
        if outcomes.filter_map(|o| o.nbs_status.as_deref()).any(|status| TOLD_BY_A_PERSON.contains(&status) || status == "unclassified") {
            return Ok(Some("hold-back"));
        }
        let told = time(&said).or_else(|| jiff::Timestamp::from_microsecond(other.at_us).ok());
        if newest != Some(row) && time(&event.statement) < told {
            return Ok(Some("later-sample"));
        }
    }
    Ok(None)
}

/// When the sample was taken, else when the result was said.
fn time(statement: &Statement) -> Option<jiff::Timestamp> {
    let taken = statement.blood_spots.iter().filter_map(|spot| spot.sample.taken.as_ref()).filter_map(|at| at.timestamp()).max();
    taken.or_else(|| statement.event.at.as_ref()?.timestamp())
}

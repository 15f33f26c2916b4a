//! Moves of a child between hubs: what the hubs' stores are told beside the event that moved it, and the history of who was responsible.
//!
//! # Who is told what (identity rules, section 10; routing rules, sections 2 and 3)
//!
//!     becomes responsible           transfer_in    all that was ever filed of the child, and what stands now
//!     gets a copy from now on       copy_in        the same
//!     was responsible, is not       transfer_out   the event that moved it; what the store has stays there, read only
//!     got copies, gets none now     copy_out       the event
//!
//! # Invariants
//!
//! - A transfer is part of the debt of the event that caused it: it stands in the child's lane, and is made with the event or never.
//! - What a transfer names never changes: events are for ever, and each attempt to pay reads the same.
//! - Where a child with a hidden address goes, only the hub that it goes to is told: the one that it leaves gets the event without places.
//!
//! # Not here
//!
//! Which hub it is: [`crate::routing`]. What a store does with it: `hub/write.rs`.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::aggregates::{self, Standing};
use super::births::BirthsList;
use super::event_row;
use super::filing::{for_hub, word};
use super::reader::LedgerReader;
use super::rows::{HubPeriod, StoreError};
use crate::canon::{EventKind, HubAssignment};
use crate::destinations;
use crate::names::{ChildId, HubName};
use crate::outbox::FiledEvent;
use crate::routing::Directory;

/// Who was responsible for whom, since when, on which ground.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS hub_history(
    id INTEGER PRIMARY KEY, child INTEGER NOT NULL, hub TEXT NOT NULL, basis TEXT NOT NULL, interested TEXT NOT NULL, before TEXT NOT NULL,
    since_us INTEGER NOT NULL, noted_us INTEGER NOT NULL, event INTEGER NOT NULL, reason TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS hub_history_child ON hub_history(child, id);
";

/// Screening results that come so long after a move go to the hub that the child left too (routing rules, section 2).
const SCREENING_FOLLOWS_DAYS: i64 = 28;
const DAY_US: i64 = 86_400_000_000;

/// What a hub's store is told of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The hub is responsible from now on.
    TransferIn,
    /// The hub is no longer responsible.
    TransferOut,
    /// The hub gets copies from now on.
    CopyIn,
    /// The hub gets no copies any more.
    CopyOut,
}

impl Way {
    /// The word in the hub's store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TransferIn => "transfer_in",
            Self::TransferOut => "transfer_out",
            Self::CopyIn => "copy_in",
            Self::CopyOut => "copy_out",
        }
    }

    fn brings_the_record(self) -> bool {
        matches!(self, Self::TransferIn | Self::CopyIn)
    }
}

/// A move, as one hub's store is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// What it means for this hub.
    pub way: Way,
    /// Responsible before; empty where nobody was.
    pub from: String,
    /// Responsible now; empty where this hub must not know.
    pub to: String,
    /// Ground of the new responsibility.
    pub basis: String,
    /// Event time of what moved the child, RFC 3339.
    pub at: String,
    /// What this hub is for the child now.
    pub role: Role,
    /// The child, by our id.
    pub child: String,
    /// The event as this hub may have it, where that is less than was filed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<Box<FiledEvent>>,
    /// Rows of all events that were filed before.
    events: Vec<i64>,
    /// What stands, by the events that said it.
    items: Vec<Standing>,
}

/// What a hub is for a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks after it.
    Responsible,
    /// Gets copies.
    Interested,
    /// Was one of these: what its store has is history.
    Former,
}

impl Role {
    /// The word in the hub's store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Responsible => "responsible",
            Self::Interested => "interested",
            Self::Former => "former",
        }
    }

    /// What `hub` is for a child whose record says this of its hubs. `default`: the hub that works on what nobody is responsible for;
    /// of such a child every other one is at most told what it may know (routing rules, section 3).
    pub fn of(assignment: Option<&HubAssignment>, hub: &HubName, default: &HubName) -> Self {
        match assignment {
            Some(assignment) if assignment.hub == *hub => Self::Responsible,
            Some(assignment) if assignment.hub.as_str() == HubName::UNKNOWN && hub == default => Self::Responsible,
            Some(assignment) if assignment.interested.contains(hub) => Self::Interested,
            _ => Self::Former,
        }
    }
}

/// What a debt to a hub's store holds beside its event, or in its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Beside {
    /// The event as this hub may have it, where that is less than was filed.
    Told(Box<FiledEvent>),
    Transfer(Transfer),
    Births(BirthsList),
}

impl Beside {
    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What is delivered to a hub's store.
#[derive(Clone, Debug)]
pub enum StoreDelivery {
    /// An event with the record after it, as the hub may see it, and what the hub is for the child; none where nobody knows whose store it is.
    Event(Box<FiledEvent>, Option<Role>),
    /// A move with all that it brings.
    Moved(Box<Moved>),
    /// The births of a day, and what else a hub looks at daily.
    Births(Box<BirthsList>),
}

impl StoreDelivery {
    /// How many events are in it.
    pub fn weight(&self) -> usize {
        match self {
            Self::Event(..) => 1,
            Self::Moved(moved) => 1 + moved.earlier.len(),
            Self::Births(list) => 1 + list.births.len(),
        }
    }
}

/// A move as it is delivered.
#[derive(Clone, Debug)]
pub struct Moved {
    /// What it is.
    pub transfer: Transfer,
    /// Identifies the transfer: the event that caused it.
    pub id: String,
    /// That event, as this hub may have it.
    pub event: FiledEvent,
    /// When it was filed, RFC 3339.
    pub filed: String,
    /// All that was filed before, in order.
    pub earlier: Vec<FiledEvent>,
    /// What stands now, as JSON.
    pub items: serde_json::Value,
}

/// A child's change of hubs, while its event is filed.
pub(super) struct Moving<'a> {
    pub(super) directory: &'a Directory,
    pub(super) route: &'a HubAssignment,
    pub(super) before: Option<&'a HubAssignment>,
    /// The child's row, and the event's.
    pub(super) child: i64,
    pub(super) row: i64,
    pub(super) at_us: i64,
}

impl Moving<'_> {
    /// The hubs whose stores get the event, each with what its store is told beside it.
    pub(super) fn told(&self, connection: &Connection, event: &FiledEvent) -> rusqlite::Result<Vec<(HubName, Option<Vec<u8>>)>> {
        let mut hubs: Vec<HubName> = Vec::new();
        let named = |assignment: &HubAssignment| self.directory.acting_hub(assignment).into_iter().chain(assignment.interested.clone());
        for hub in named(self.route).chain(self.before.into_iter().flat_map(named)) {
            if !hubs.contains(&hub) {
                hubs.push(hub);
            }
        }
        let mut told = Vec::with_capacity(hubs.len());
        for hub in hubs {
            let body = match self.way(&hub) {
                Some((way, role)) => {
                    let mut transfer = self.transfer(connection, event, way, role)?;
                    transfer.told = for_hub(event, &hub, (self.route, self.directory)).map(Box::new);
                    Some(Beside::Transfer(transfer).bytes())
                }
                None => for_hub(event, &hub, (self.route, self.directory)).map(|told| Beside::Told(Box::new(told)).bytes()),
            };
            told.push((hub, body));
        }
        for hub in self.left_lately(connection, event)? {
            if !told.iter().any(|(known, _)| *known == hub) {
                let body = for_hub(event, &hub, (self.route, self.directory)).map(|told| Beside::Told(Box::new(told)).bytes());
                told.push((hub, body));
            }
        }
        Ok(told)
    }

    fn role(&self, assignment: &HubAssignment, hub: &HubName) -> Option<Role> {
        if self.directory.acting_hub(assignment).as_ref() == Some(hub) {
            return Some(Role::Responsible);
        }
        assignment.interested.contains(hub).then_some(Role::Interested)
    }

    /// What changes for a hub; none where nothing does, and for a child that nobody knew before: there is nothing to bring.
    fn way(&self, hub: &HubName) -> Option<(Way, Role)> {
        let was = self.role(self.before?, hub);
        let is = self.role(self.route, hub);
        match (was, is) {
            (Some(Role::Responsible), Some(Role::Responsible)) | (Some(Role::Interested), Some(Role::Interested)) => None,
            (_, Some(Role::Responsible)) => Some((Way::TransferIn, Role::Responsible)),
            (Some(Role::Responsible), is) => Some((Way::TransferOut, is.unwrap_or(Role::Former))),
            (None, Some(role)) => Some((Way::CopyIn, role)),
            (Some(_), _) => Some((Way::CopyOut, Role::Former)),
            (None, None) => None,
        }
    }

    fn transfer(&self, connection: &Connection, event: &FiledEvent, way: Way, role: Role) -> rusqlite::Result<Transfer> {
        let is_hidden = event.record.flags.is_restricted() && role != Role::Responsible;
        let (events, items) = match way.brings_the_record() {
            true => (events_of(connection, self.child, self.row)?, aggregates::of_child(connection, self.child, None)?),
            false => (Vec::new(), Vec::new()),
        };
        Ok(Transfer {
            way,
            from: self.before.map(|before| before.hub.to_string()).unwrap_or_default(),
            to: if is_hidden { String::new() } else { self.route.hub.to_string() },
            basis: word(&self.route.basis),
            at: super::reader::moment(self.at_us),
            role,
            child: event.child_id.to_string(),
            told: None,
            events,
            items,
        })
    }

    /// The hubs that the child left less than 28 days ago, where this is a screening result.
    fn left_lately(&self, connection: &Connection, event: &FiledEvent) -> rusqlite::Result<Vec<HubName>> {
        let is_screening = matches!(event.statement.event.kind, EventKind::BloodSpot | EventKind::Hearing | EventKind::Nipe);
        if !is_screening || event.record.flags.is_restricted() {
            return Ok(Vec::new());
        }
        let sql = "SELECT before FROM hub_history WHERE child = ?1 AND ?2 < noted_us AND before <> '' AND before <> hub ORDER BY id";
        let since = event.filed.as_microsecond() - SCREENING_FOLLOWS_DAYS * DAY_US;
        let mut statement = connection.prepare_cached(sql)?;
        let left = statement.query_map(params![self.child, since], |row| row.get::<_, String>(0))?;
        let left: Vec<String> = left.collect::<rusqlite::Result<_>>()?;
        let acted = |hub: String| match hub.as_str() {
            HubName::OUT => None,
            HubName::UNKNOWN => Some(self.directory.default_hub()),
            _ => Some(HubName::new(hub)),
        };
        Ok(left.into_iter().filter_map(acted).collect())
    }

    /// Writes down who is responsible from now on, where that is news.
    pub(super) fn note(&self, connection: &Connection, now: Timestamp, reason: &str) -> rusqlite::Result<()> {
        if self.before == Some(self.route) {
            return Ok(());
        }
        let sql = "INSERT INTO hub_history(child, hub, basis, interested, before, since_us, noted_us, event, reason)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let interested: Vec<&str> = self.route.interested.iter().map(HubName::as_str).collect();
        connection.prepare_cached(sql)?.execute(params![
            self.child,
            self.route.hub.as_str(),
            word(&self.route.basis),
            interested.join(" "),
            self.before.map_or("", |before| before.hub.as_str()),
            self.at_us,
            now.as_microsecond(),
            self.row,
            reason
        ])?;
        Ok(())
    }
}

/// What a hub that another child's record went over to is brought: the events of a record that goes no further.
pub(super) fn of_a_merged_record(
    connection: &Connection,
    moving: &Moving<'_>,
    event: &FiledEvent,
    (hub, role): (&HubName, Role),
) -> rusqlite::Result<Option<Vec<u8>>> {
    if moving.role(moving.route, hub).is_some() {
        return Ok(None);
    }
    let way = if role == Role::Responsible { Way::TransferIn } else { Way::CopyIn };
    Ok(Some(Beside::Transfer(moving.transfer(connection, event, way, role)?).bytes()))
}

/// Rows of all events of a child and of records that went over to it, but `row` and child protection facts.
fn events_of(connection: &Connection, child: i64, row: i64) -> rusqlite::Result<Vec<i64>> {
    let sql = "SELECT id FROM event WHERE (child = ?1 OR child IN (SELECT child FROM merged WHERE survivor = ?1))
        AND kind <> 'safeguarding' AND id <> ?2 ORDER BY id";
    connection.prepare_cached(sql)?.query_map([child, row], |row| row.get(0))?.collect()
}

impl LedgerReader {
    /// What a debt to a hub's store delivers, as this hub may see it; `default` as for [`Role::of`]. The inner error says why it cannot
    /// be read.
    pub fn store_delivery(
        &self,
        (hub, default): (&HubName, &HubName),
        event: &[u8],
        beside: Option<&[u8]>,
    ) -> Result<Result<StoreDelivery, &'static str>, StoreError> {
        let event_of = |bytes: &[u8]| serde_json::from_slice::<FiledEvent>(bytes).ok();
        let alone = |event: FiledEvent| {
            let role = Role::of(event.record.hub.as_ref(), hub, default);
            StoreDelivery::Event(Box::new(seen_by(role, event)), Some(role))
        };
        let Some(beside) = beside else {
            return Ok(event_of(event).map(alone).ok_or("the filed event cannot be read"));
        };
        match serde_json::from_slice::<Beside>(beside) {
            Ok(Beside::Told(told)) => Ok(Ok(alone(*told))),
            Ok(Beside::Births(list)) => Ok(Ok(StoreDelivery::Births(Box::new(list)))),
            Ok(Beside::Transfer(transfer)) => {
                let read = |bytes: &[u8]| event_of(bytes).map(|event| seen_by(transfer.role, event));
                let Some(event) = read(event) else { return Ok(Err("the filed event cannot be read")) };
                let mut earlier = Vec::with_capacity(transfer.events.len());
                for row in &transfer.events {
                    // Whose it is says the row: an un-merge puts an event under another child and leaves its body.
                    let sql = "SELECT v.body, c.uuid FROM event v JOIN child c ON c.id = v.child WHERE v.id = ?1";
                    let found: Option<(Vec<u8>, Vec<u8>)> =
                        self.read(|c| c.prepare_cached(sql)?.query_row([row], |row| Ok((row.get(0)?, row.get(1)?))).optional())?;
                    let owned = found.and_then(|(body, child)| Some((read(&body)?, Uuid::from_slice(&child).ok()?)));
                    let Some((one, child)) = owned else { return Ok(Err("an earlier event cannot be read")) };
                    earlier.push(FiledEvent { child_id: ChildId(child), ..one });
                }
                // In the order in which the record grew.
                earlier.sort_by_key(|one| (one.child_id != event.child_id, one.version));
                let items = self.read(|connection| snapshot(connection, &transfer.items))?;
                let (id, filed) = (event.event.to_string(), event.filed.to_string());
                let event = match &transfer.told {
                    Some(told) => seen_by(transfer.role, FiledEvent::clone(told)),
                    None => event,
                };
                Ok(Ok(StoreDelivery::Moved(Box::new(Moved { transfer, id, event, filed, earlier, items }))))
            }
            // As it was kept before moves were known.
            Err(_) => Ok(event_of(beside).map(alone).ok_or("what is to be delivered cannot be read")),
        }
    }

    /// Who was responsible for a child, oldest first.
    pub fn hub_history(&self, child: crate::names::ChildId) -> Result<Vec<HubPeriod>, StoreError> {
        let sql = "SELECT h.hub, h.basis, h.interested, h.before, h.since_us, h.noted_us, h.event, h.reason
            FROM hub_history h JOIN child c ON c.id = h.child WHERE c.uuid = ?1 ORDER BY h.id";
        let mut periods = self.list(sql, [child.0.as_bytes().as_slice()], |row| {
            let interested: String = row.get(2)?;
            Ok(HubPeriod {
                hub: row.get(0)?,
                basis: row.get(1)?,
                interested: interested.split_whitespace().map(str::to_owned).collect(),
                before: row.get(3)?,
                from: super::reader::moment(row.get(4)?),
                to: None,
                at: super::reader::moment(row.get(5)?),
                seq: event_row::entry(row.get(6)?),
                reason: row.get(7)?,
            })
        })?;
        let ends: Vec<String> = periods.iter().skip(1).map(|period| period.from.clone()).collect();
        for (period, end) in periods.iter_mut().zip(ends) {
            period.to = Some(end);
        }
        Ok(periods)
    }
}

/// A hub that only gets copies, or got the record before, is told no identifiers of other persons (destination rules, section 5).
fn seen_by(role: Role, event: FiledEvent) -> FiledEvent {
    match role {
        Role::Responsible => event,
        Role::Interested | Role::Former => destinations::for_interested(event),
    }
}

fn snapshot(connection: &Connection, items: &[Standing]) -> rusqlite::Result<serde_json::Value> {
    let mut rows = Vec::new();
    for standing in items {
        rows.extend(super::reader::aggregate_row(connection, standing)?.map(|(row, _)| row));
    }
    Ok(serde_json::to_value(rows).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::HubBasis;

    fn assigned(hub: &str, interested: &[&str]) -> HubAssignment {
        HubAssignment {
            hub: HubName::new(hub),
            basis: HubBasis::Address,
            interested: interested.iter().map(HubName::new).collect(),
            left: None,
        }
    }

    /// `NE transfer_out interested` for each hub.
    #[track_caller]
    fn check(before: Option<HubAssignment>, after: HubAssignment, expected: &[&str]) {
        let text = "default_hub = \"NE\"\n[[hub]]\nname = \"NE\"\ntitle = \"N\"\n[[hub]]\nname = \"SW\"\ntitle = \"S\"\n[[hub]]\nname = \"SE\"\ntitle = \"E\"\n";
        let directory = Directory::load(text, "hubs.toml", &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        let moving = Moving { directory: &directory, route: &after, before: before.as_ref(), child: 1, row: 1, at_us: 0 };
        let ways = ["NE", "SW", "SE"]
            .into_iter()
            .filter_map(|hub| moving.way(&HubName::new(hub)).map(|(way, role)| format!("{hub} {} {}", way.as_str(), role.as_str())));
        assert_eq!(ways.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_hub_is_told_what_a_move_means_for_it() {
        check(None, assigned("NE", &["SW"]), &[]);
        check(Some(assigned("NE", &[])), assigned("NE", &[]), &[]);
        check(Some(assigned("NE", &[])), assigned("SW", &[]), &["NE transfer_out former", "SW transfer_in responsible"]);
        check(Some(assigned("NE", &["SW"])), assigned("SW", &["NE"]), &["NE transfer_out interested", "SW transfer_in responsible"]);
        check(Some(assigned("NE", &[])), assigned("OUT", &["NE"]), &["NE transfer_out interested"]);
        check(Some(assigned("OUT", &["NE"])), assigned("SE", &[]), &["NE copy_out former", "SE transfer_in responsible"]);
        check(Some(assigned("NE", &[])), assigned("NE", &["SE"]), &["SE copy_in interested"]);
        // The default hub works on what nobody is responsible for.
        check(Some(assigned("SW", &[])), assigned("UNKNOWN", &[]), &["NE transfer_in responsible", "SW transfer_out former"]);
        check(Some(assigned("UNKNOWN", &[])), assigned("NE", &[]), &[]);
    }

    #[test]
    fn what_a_hub_is_for_a_child_is_read_from_its_record() {
        let role = |hub: &str, interested: &[&str], ours: &str| {
            Role::of(Some(&assigned(hub, interested)), &HubName::new(ours), &HubName::new("NE"))
        };
        assert_eq!(role("NE", &["SW"], "NE"), Role::Responsible);
        assert_eq!(role("NE", &["SW"], "SW"), Role::Interested);
        assert_eq!(role("NE", &["SW"], "SE"), Role::Former);
        assert_eq!(role("OUT", &["SW"], "SE"), Role::Former);
        assert_eq!(role("OUT", &[], "NE"), Role::Former);
        assert_eq!(role("UNKNOWN", &[], "NE"), Role::Responsible);
        assert_eq!(role("UNKNOWN", &[], "SW"), Role::Former);
        assert_eq!(role("UNKNOWN", &["SW"], "SW"), Role::Interested);
    }
}

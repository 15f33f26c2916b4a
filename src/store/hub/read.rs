//! What people and commands are shown of a hub's store. Of a sealed record nothing is shown but that there is one.
//!
//! Everything is read page by page, so that a store of any size can be exported in bounded memory.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::StoreError;
use super::super::aggregates::read_parts;
use super::super::reader::lists;
use super::db::{Db, Row, Sqlite, Val};
use super::items::standing;
use super::postgres::Postgres;
use super::{StoreAt, tables, text, value};
use crate::canon::{Child, EventKind, NHS_NUMBER_SYSTEM, Statement};
use crate::identity::plain_name;
use crate::names::{ChildId, EventId, Seq, SourceName};
use crate::outbox::FiledEvent;

/// Children read in one go.
const PAGE: i64 = 200;

/// By what a child is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindBy {
    /// An identifier; with its system where that is known. NHS numbers without spaces.
    Identifier {
        /// Its URI.
        system: Option<String>,
        /// The identifier.
        value: String,
    },
    /// Family name, without regard to capitals and accents, and date of birth, 2026-01-05.
    Name {
        /// One of the child's family names as the record has it now.
        family: String,
        /// The date.
        birth_date: String,
    },
}

/// A read as it is written down in the store itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<'r> {
    /// Who: a person's user name, or whom a certificate names.
    pub who: &'r str,
    /// What was read.
    pub what: &'r str,
    /// The child, where it was one.
    pub child: Option<&'r str>,
    /// Why, in the reader's words; empty where nobody was asked.
    pub reason: &'r str,
}

/// A child as the store has it: the record and what stands of everything that was said.
#[derive(Clone, Debug)]
pub struct ChildFile {
    /// Our id.
    pub child: ChildId,
    /// Version of the record.
    pub version: i64,
    /// When that was filed.
    pub updated: Timestamp,
    /// `responsible`, `interested`, `former`.
    pub role: String,
    /// The record.
    pub record: Child,
    /// What stands: each piece as the event that said it last, with nothing else in it. In the order in which they were filed.
    pub standing: Vec<FiledEvent>,
}

/// A hub's store, open for reading.
pub struct HubReader {
    db: Box<dyn Db>,
    at: StoreAt,
}

impl std::fmt::Debug for HubReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HubReader({})", self.db.name())
    }
}

fn open_to_read(at: &StoreAt) -> Result<Box<dyn Db>, StoreError> {
    Ok(match at {
        StoreAt::File(file) => Box::new(Sqlite::open_to_read(file)?),
        StoreAt::Postgres(at) => Box::new(Postgres::open(at, false)?),
    })
}

impl HubReader {
    /// Opens a store that is there. Waits; not to be called in a task of a runtime.
    ///
    /// # Errors
    ///
    /// There is none, it cannot be read, or another version of this program must bring it up to date.
    pub fn open(at: impl Into<StoreAt>) -> Result<Self, StoreError> {
        let at = at.into();
        let mut db = open_to_read(&at)?;
        match tables::version(&mut *db)? {
            0 => Err(StoreError { text: format!("{} is no hub store, or nothing was delivered to it yet", at.name()), exit: 66 }),
            known if known < tables::VERSION => {
                let text = format!("{} was written by an older program: start the broker once, it brings the store up to date", at.name());
                Err(StoreError { text, exit: 65 })
            }
            known => tables::refuse_newer(&*db, known).map(|()| Self { db, at }),
        }
    }

    /// Writes down in the store who reads what, before it is read.
    ///
    /// # Errors
    ///
    /// It cannot be written down: then nothing may be shown.
    pub fn note_read(&mut self, read: &Read<'_>, now: Timestamp) -> Result<(), StoreError> {
        let id = uuid::Uuid::now_v7().to_string();
        let values =
            vec![id.into(), now.to_string().into(), read.who.into(), read.what.into(), read.child.into(), read.reason.trim().into()];
        let sql = "INSERT INTO read_log(id, at, who, what, child_id, reason) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
        let refused = |error: StoreError| StoreError {
            text: format!("nothing is shown that cannot be written down: {}; run this as the broker's user", error.text),
            exit: error.exit,
        };
        let note = |db: &mut dyn Db| super::within(db, |db| db.run(sql, values));
        match &self.at {
            StoreAt::File(file) => Sqlite::open(file).and_then(|mut db| note(&mut db)).map_err(refused),
            StoreAt::Postgres(_) => note(&mut *self.db).map_err(refused),
        }
    }

    /// Who read what, the last one first; with `child`, only what was read of that one and of all.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn reads(&mut self, child: Option<ChildId>, limit: i64) -> Result<Vec<Value>, StoreError> {
        let (of_child, mut values) = match child {
            Some(child) => ("WHERE child_id = ?2 OR child_id IS NULL", vec![Val::from(child.to_string())]),
            None => ("", Vec::new()),
        };
        values.insert(0, limit.into());
        let sql = format!("SELECT at, who, what, child_id, reason FROM read_log {of_child} ORDER BY at DESC, id DESC LIMIT ?1");
        let read =
            |row: &Row| json!({ "at": row.text(0), "who": row.text(1), "what": row.text(2), "child": row.maybe(3), "reason": row.text(4) });
        Ok(self.db.rows(&sql, &values)?.iter().map(read).collect())
    }

    /// Children, one JSON value each with its events and transfers, in the order of their ids. Gives how many.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or `each` cannot write.
    pub fn export(&mut self, each: &mut dyn FnMut(Value) -> std::io::Result<()>) -> Result<u64, StoreError> {
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let sql = "SELECT child_id, version, record, role FROM child WHERE ?1 < child_id ORDER BY child_id LIMIT ?2";
            let rows = self.db.rows(sql, &[after.as_str().into(), PAGE.into()])?;
            let Some(last) = rows.last() else { return Ok(count) };
            after = last.text(0);
            for row in &rows {
                let line = self.line(row)?;
                each(line).map_err(not_written)?;
                count += 1;
            }
        }
    }

    fn line(&mut self, row: &Row) -> Result<Value, StoreError> {
        let (child, record) = (row.text(0), value(&row.text(2)));
        // Of a sealed record a store keeps its history for as long as the law asks, and shows none of it (identity rules, section 8).
        let is_sealed = record.get("status").and_then(Value::as_str) == Some("sealed");
        let (events, transfers) = match is_sealed {
            true => (Vec::new(), Vec::new()),
            false => (self.events(&child)?, self.transfers(&child)?),
        };
        let (version, role) = (row.int(1), row.maybe(3));
        Ok(json!({ "child": child, "version": version, "role": role, "record": record, "events": events, "transfers": transfers }))
    }

    fn events(&mut self, child: &str) -> Result<Vec<Value>, StoreError> {
        let sql = "SELECT event_id, kind, action, at, source, control_id, version, superseded, statement FROM event WHERE child_id = ?1
            ORDER BY version, id";
        let event = |row: &Row| {
            json!({ "event": row.text(0), "kind": row.text(1), "action": row.text(2), "at": row.maybe(3), "source": row.text(4),
                "control_id": row.text(5), "version": row.int(6), "superseded": row.int(7) != 0, "statement": value(&row.text(8)) })
        };
        Ok(self.db.rows(sql, &[child.into()])?.iter().map(event).collect())
    }

    fn transfers(&mut self, child: &str) -> Result<Vec<Value>, StoreError> {
        let sql = "SELECT way, event_id, from_hub, to_hub, basis, at, snapshot FROM transfer WHERE child_id = ?1 ORDER BY id";
        let transfer = |row: &Row| {
            json!({ "way": row.text(0), "event": row.text(1), "from": row.text(2), "to": row.text(3), "basis": row.text(4), "at": row.text(5),
                "snapshot": value(&row.text(6)) })
        };
        Ok(self.db.rows(sql, &[child.into()])?.iter().map(transfer).collect())
    }

    /// Children with an identifier, or with a name and a date of birth; of a record that was merged the one that goes on.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn find(&mut self, by: &FindBy) -> Result<Vec<Value>, StoreError> {
        let columns = "c.child_id, c.nhs_number, c.family, c.given, c.birth_date, c.sex, c.status, c.role, c.hub";
        let (sql, values): (String, Vec<Val>) = match by {
            FindBy::Identifier { system, value } => {
                let of_system = if system.is_some() { "AND i.system = ?2" } else { "" };
                let sql = format!(
                    "SELECT DISTINCT {columns} FROM identifier i JOIN v_goes_on g ON g.child_id = i.child_id JOIN child c ON c.child_id = g.goes_on
                        WHERE i.value = ?1 AND i.usage NOT IN ('wrong', 'invalidated') {of_system} ORDER BY c.child_id"
                );
                (sql, std::iter::once(Val::from(value.as_str())).chain(system.as_deref().map(Val::from)).collect())
            }
            FindBy::Name { family, birth_date } => {
                let sql = format!(
                    "SELECT {columns} FROM v_children v JOIN child c ON c.child_id = v.child_id
                        WHERE c.family_key = ?1 AND c.birth_date = ?2 AND c.merged_into IS NULL ORDER BY c.child_id"
                );
                (sql, vec![plain_name(family).into(), birth_date.as_str().into()])
            }
        };
        let child = |row: &Row| {
            json!({ "child": row.text(0), "nhs_number": row.maybe(1), "family": row.maybe(2), "given": row.maybe(3), "birth_date": row.maybe(4),
                "sex": row.maybe(5), "status": row.maybe(6), "role": row.maybe(7), "hub": row.maybe(8) })
        };
        Ok(self.db.rows(&sql, &values)?.iter().map(child).collect())
    }

    /// One child: the record, what stands, and its moves. None where the store does not have it, or it is sealed.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn show(&mut self, child: ChildId) -> Result<Option<Value>, StoreError> {
        let id = child.to_string();
        let sql = "SELECT child_id, version, record, role FROM child WHERE child_id = ?1 AND coalesce(status, '') <> 'sealed'";
        let Some(row) = self.db.rows(sql, &[id.as_str().into()])?.pop() else { return Ok(None) };
        let stands: Vec<Value> = self.stands(&id)?.iter().map(Stands::shown).collect();
        let (transfers, events) = (self.transfers(&id)?, self.count_events(&id)?);
        let (version, role, record) = (row.int(1), row.maybe(3), value(&row.text(2)));
        let mut shown = json!({ "child": id, "version": version, "role": role, "record": record, "stands": stands, "events": events });
        if let (Some(fields), false) = (shown.as_object_mut(), transfers.is_empty()) {
            fields.insert("transfers".to_owned(), transfers.into());
        }
        Ok(Some(shown))
    }

    fn count_events(&mut self, child: &str) -> Result<i64, StoreError> {
        Ok(self.db.rows("SELECT count(*) FROM v_events WHERE child_id = ?1", &[child.into()])?.first().map_or(0, |row| row.int(0)))
    }

    /// All that happened with a child in this store, in the order in which it was filed: events, moves, births lists on which it stands.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn timeline(&mut self, child: ChildId) -> Result<Option<Vec<Value>>, StoreError> {
        let id = Val::from(child.to_string());
        if self.db.rows("SELECT child_id FROM v_goes_on WHERE child_id = ?1", std::slice::from_ref(&id))?.is_empty() {
            return Ok(None);
        }
        let sql = "SELECT filed, 'event', kind, action, at, source, control_id, version, superseded, filed_under FROM v_events
            WHERE child_id = ?1 ORDER BY id";
        let event = |row: &Row| {
            let line = json!({ "filed": row.text(0), "what": row.text(2), "action": row.text(3), "at": row.maybe(4), "source": row.text(5),
                "control_id": row.text(6), "version": row.int(7), "superseded": row.int(8) != 0, "child": row.text(9) });
            (row.text(0), line)
        };
        let mut lines: Vec<(String, Value)> = self.db.rows(sql, std::slice::from_ref(&id))?.iter().map(event).collect();
        let sql = "SELECT filed, way, from_hub, to_hub, basis, at FROM v_transfers WHERE child_id = ?1";
        lines.extend(self.db.rows(sql, std::slice::from_ref(&id))?.iter().map(|row| {
            let line = json!({ "filed": row.text(0), "what": row.text(1), "from": row.text(2), "to": row.text(3), "basis": row.text(4), "at": row.text(5) });
            (row.text(0), line)
        }));
        let sql = "SELECT d.made, b.day, b.section FROM v_births b JOIN births_day d ON d.day = b.day WHERE b.child_id = ?1";
        lines.extend(self.db.rows(sql, &[id])?.iter().map(|row| {
            let line = json!({ "filed": row.text(0), "what": "births-list", "day": row.text(1), "section": row.text(2) });
            (row.text(0), line)
        }));
        // Times of filing are written alike, but for the digits of their fraction.
        lines.sort_by_key(|(filed, _)| filed.parse::<Timestamp>().unwrap_or_default());
        Ok(Some(lines.into_iter().map(|(_, line)| line).collect()))
    }

    /// Children with what stands of them, one at a time in the order of their ids; sealed ones and those merged into another are left out.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or `each` cannot write.
    pub fn files(&mut self, each: &mut dyn FnMut(ChildFile) -> std::io::Result<()>) -> Result<u64, StoreError> {
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let sql = "SELECT child_id, version, record, role, updated FROM child
                WHERE ?1 < child_id AND coalesce(status, '') <> 'sealed' AND merged_into IS NULL ORDER BY child_id LIMIT ?2";
            let rows = self.db.rows(sql, &[after.as_str().into(), PAGE.into()])?;
            let Some(last) = rows.last() else { return Ok(count) };
            after = last.text(0);
            for row in &rows {
                let Some(file) = self.file_of(row)? else { continue };
                each(file).map_err(not_written)?;
                count += 1;
            }
        }
    }

    /// One child with what stands of it.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn file(&mut self, child: ChildId) -> Result<Option<ChildFile>, StoreError> {
        let sql = "SELECT child_id, version, record, role, updated FROM child
            WHERE child_id = ?1 AND coalesce(status, '') <> 'sealed' AND merged_into IS NULL";
        let row = self.db.rows(sql, &[child.to_string().into()])?.pop();
        row.map_or(Ok(None), |row| self.file_of(&row))
    }

    /// The record as which a merged one goes on. None where it was not merged, or is not here.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn goes_on(&mut self, child: ChildId) -> Result<Option<ChildId>, StoreError> {
        let sql = "SELECT goes_on FROM v_goes_on WHERE child_id = ?1 AND goes_on <> ?1";
        let row = self.db.rows(sql, &[child.to_string().into()])?.pop();
        Ok(row.and_then(|row| row.text(0).parse().ok()).map(ChildId))
    }

    fn file_of(&mut self, row: &Row) -> Result<Option<ChildFile>, StoreError> {
        let id = row.text(0);
        let (Ok(child), Ok(record), Ok(updated)) = (id.parse(), serde_json::from_str::<Child>(&row.text(2)), row.text(4).parse()) else {
            tracing::warn!(store = self.db.name(), child = id, "store.unread: a record could not be read and is left out of the export");
            return Ok(None);
        };
        let child = ChildId(child);
        let standing = self.stands(&id)?.into_iter().filter_map(|stands| stands.event(child, &record)).collect();
        Ok(Some(ChildFile { child, version: row.int(1), updated, role: row.text(3), record, standing }))
    }

    /// What stands of a child, also of what was filed under records that were merged into it.
    fn stands(&mut self, child: &str) -> Result<Vec<Stands>, StoreError> {
        let sql = "SELECT i.kind, i.publisher, i.key, i.at, i.versions, r.parts FROM v_items i JOIN item r ON r.id = i.id
            WHERE i.child_id = ?1 ORDER BY i.kind, i.publisher, i.key";
        let rows = self.db.rows(sql, &[child.into()])?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let parts = read_parts(&row.text(5));
            let mut said = std::collections::HashMap::new();
            let mut last = None;
            for part in &parts {
                let sql = "SELECT statement, event_id, seq, source, control_id, version, filed FROM event WHERE id = ?1";
                let Some(event) = self.db.rows(sql, &[part.event.into()])?.pop() else { continue };
                let Ok(statement) = serde_json::from_str::<Statement>(&event.text(0)) else { continue };
                said.insert(part.event, statement);
                last = Some((part.event, event));
            }
            let content = standing(parts).content_of(|event| said.get(&event));
            let Some((place, event)) = last else { continue };
            let head = said.remove(&place).map(|statement| statement.event).unwrap_or_default();
            all.push(Stands { row, content: Statement { event: head, ..content }, event });
        }
        Ok(all)
    }

    /// The births list of a day: how many live here, how many only were born here, and the rows. None where none came for that day.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn births(&mut self, day: &str) -> Result<Option<(i64, i64, Vec<Value>)>, StoreError> {
        let counts = self.db.rows("SELECT here, elsewhere FROM births_day WHERE day = ?1", &[day.into()])?.pop();
        let Some(counts) = counts else { return Ok(None) };
        let sql = "SELECT section, child_id, nhs_number, postcode, hub, status FROM births_list WHERE day = ?1 ORDER BY section, recognised, child_id";
        let birth = |row: &Row| {
            json!({ "section": row.text(0), "child": row.text(1), "nhs_number": row.text(2), "postcode": row.text(3), "hub": row.text(4),
                "status": row.text(5) })
        };
        let rows = self.db.rows(sql, &[day.into()])?.iter().map(birth).collect();
        Ok(Some((counts.int(0), counts.int(1), rows)))
    }

    /// Rows of a query that only reads, each with the names of nothing: for the claims that the documentation makes.
    #[cfg(test)]
    pub(super) fn ask(&mut self, sql: &str) -> Result<Vec<Vec<String>>, StoreError> {
        Ok(self.db.rows(sql, &[])?.iter().map(|row| (0..row.0.len()).map(|column| row.text(column)).collect()).collect())
    }

    /// Every child, by its id.
    pub(in super::super) fn each_child(&mut self, each: &mut dyn FnMut(String)) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let sql = "SELECT child_id FROM child WHERE ?1 < child_id ORDER BY child_id LIMIT 5000";
            let rows = self.db.rows(sql, &[after.as_str().into()])?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.text(0);
            rows.iter().for_each(|row| each(row.text(0)));
        }
    }

    /// Every event, in the order in which they came: child, source, the sender's id, what was said.
    pub(in super::super) fn each_event(&mut self, each: &mut dyn FnMut([String; 4])) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let sql = "SELECT id, child_id, source, control_id, statement FROM event WHERE ?1 < id ORDER BY id LIMIT 1000";
            let rows = self.db.rows(sql, &[after.into()])?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.int(0);
            rows.iter().for_each(|row| each([1, 2, 3, 4].map(|column| row.text(column))));
        }
    }

    /// The days whose births list came, and every row of the lists: day, section, child.
    pub(in super::super) fn each_birth(
        &mut self,
        day: &mut dyn FnMut(String),
        birth: &mut dyn FnMut((String, String, String)),
    ) -> Result<(), StoreError> {
        self.db.rows("SELECT day FROM births_day ORDER BY day", &[])?.iter().for_each(|row| day(row.text(0)));
        let sql = "SELECT day, section, child_id FROM births_list ORDER BY day, section, child_id";
        self.db.rows(sql, &[])?.iter().for_each(|row| birth((row.text(0), row.text(1), row.text(2))));
        Ok(())
    }

    pub(super) fn db(&mut self) -> &mut dyn Db {
        &mut *self.db
    }
}

/// One piece of what stands.
struct Stands {
    /// Kind, publisher, key, at, versions.
    row: Row,
    content: Statement,
    /// The event that said it last: statement, id, seq, source, control id, version, filed.
    event: Row,
}

impl Stands {
    fn shown(&self) -> Value {
        let row = &self.row;
        json!({ "kind": row.text(0), "publisher": row.text(1), "key": row.text(2), "at": row.text(3), "versions": row.int(4),
            "source": self.event.text(3), "control_id": self.event.text(4), "content": lists(&self.content) })
    }

    /// The event that says this and nothing else; none where there is nothing to say (a message's own key).
    fn event(self, child: ChildId, record: &Child) -> Option<FiledEvent> {
        let is_empty = lists(&self.content).as_object().is_none_or(serde_json::Map::is_empty);
        if is_empty {
            return None;
        }
        let event = &self.event;
        let mut statement = self.content;
        if statement.event.kind == EventKind::Birth {
            // The birth is told once, from the record.
            statement.event.kind = EventKind::Person;
        }
        Some(FiledEvent {
            event: EventId(event.text(1).parse().ok()?),
            seq: Seq(event.int(2)),
            source: SourceName::new(event.text(3)),
            control_id: event.text(4),
            child_id: child,
            version: event.int(5),
            filed: event.text(6).parse().ok()?,
            superseded: false,
            statement,
            record: record.clone(),
        })
    }
}

impl FindBy {
    /// An NHS number.
    pub fn nhs_number(number: &str) -> Self {
        let digits = number.chars().filter(|c| !c.is_whitespace()).collect();
        Self::Identifier { system: Some(NHS_NUMBER_SYSTEM.to_owned()), value: digits }
    }
}

impl ChildFile {
    /// The birth and the person as one event: who is told the whole of a child is told them too.
    pub fn person(&self) -> FiledEvent {
        let mut statement = Statement::default();
        (statement.event.kind, statement.child.birth) = (EventKind::Birth, self.record.birth.clone());
        FiledEvent {
            event: EventId(uuid::Uuid::new_v5(&self.child.0, text(&self.version).as_bytes())),
            seq: Seq(0),
            source: SourceName::new("chis-broker"),
            control_id: "record".to_owned(),
            child_id: self.child,
            version: self.version,
            filed: self.updated,
            superseded: false,
            statement,
            record: self.record.clone(),
        }
    }

    /// The same without where the child lives and goes, where the record is restricted; else as it is.
    #[must_use]
    pub fn without_place(mut self) -> Self {
        if !self.record.flags.is_restricted() {
            return self;
        }
        let strip = |record: &mut Child| {
            record.addresses.clear();
            record.telecoms.clear();
            record.relations.clear();
            record.gp_history.clear();
            record.gp = None;
            let birth = &mut record.birth;
            (birth.place_ods, birth.place_type, birth.place_text) = (None, None, None);
            (birth.registering_authority, birth.responsible_cho, birth.partner_cho) = (None, None, None);
        };
        strip(&mut self.record);
        for event in &mut self.standing {
            strip(&mut event.record);
            let said = &mut event.statement;
            said.appointments.clear();
            said.documents.clear();
            said.episodes.clear();
            strip(&mut said.child);
        }
        self
    }
}

fn not_written(error: std::io::Error) -> StoreError {
    StoreError { text: format!("the export cannot be written: {error}"), exit: 74 }
}

/// Reads a hub's store: see [`HubReader::export`].
///
/// # Errors
///
/// As [`HubReader::open`] and [`HubReader::export`].
pub fn hub_export(at: impl Into<StoreAt>, each: &mut dyn FnMut(Value) -> std::io::Result<()>) -> Result<u64, StoreError> {
    HubReader::open(at)?.export(each)
}

/// Reads the births list of a day in a hub's store: see [`HubReader::births`].
///
/// # Errors
///
/// As [`HubReader::open`] and [`HubReader::births`].
pub fn hub_births(at: impl Into<StoreAt>, day: &str) -> Result<Option<(i64, i64, Vec<Value>)>, StoreError> {
    HubReader::open(at)?.births(day)
}

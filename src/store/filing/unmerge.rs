//! Two records that were made one are two again (identity rules, section 3, un-merge).
//!
//! # How
//!
//!     before the merge   both records, and which accounts followed the survivor, are kept as they were: `before_merge`
//!     back               both records are what they were; then what came since is said again, each message to the record whose identifiers
//!                        it names. Facts go to the record that their newest version was said of
//!     in doubt           a message whose identifiers belong to both or to none stays with the survivor and changes nothing of the person;
//!                        a person is asked (`unmerge-unplaced`)
//!
//! # Invariants
//!
//! - Merges are taken back newest first: one that came later is named, and has to go first.
//! - The two are noted as apart, so that the same message does not make them one again.
//! - No rendered delivery that mixes the two goes out any more; both records are sent to the hubs of both.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::alias::has;
use super::{Failure, Held, One, acts, json, unindexed};
use crate::canon::{Child, HubAssignment, Identifier, IdentityAct, Statement};
use crate::clock;
use crate::identity::ChildIndex as _;
use crate::identity::{self, Evidence, IndexError, Record, Said};
use crate::names::{ChildId, DestinationName};
use crate::outbox::FiledEvent;
use crate::store::OWN_SOURCES;
use crate::store::aggregates;
use crate::store::desk;
use crate::store::event_row;
use crate::store::index::{ChildRow, Index};
use crate::store::parents;

/// What both records were.
#[derive(Serialize, Deserialize)]
struct Before {
    survivor: Record,
    other: Record,
    /// Records that were a part of the other already.
    earlier: Vec<i64>,
    /// Accounts that followed the survivor.
    accounts: Vec<String>,
}

/// What parting two records did.
pub(super) struct Parted {
    pub(super) survivor: ChildRow,
    pub(super) owed: Vec<DestinationName>,
    pub(super) text: Vec<String>,
}

/// To whom something belongs once the two are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Survivor,
    Other,
    Unplaced,
}

impl One<'_> {
    /// Keeps what two records are before they become one.
    pub(super) fn remember(&self, survivor: &ChildRow, other: &ChildRow) -> Result<(), Failure> {
        let list = |sql: &str, child: i64| -> rusqlite::Result<Vec<i64>> {
            self.connection.prepare_cached(sql)?.query_map([child], |row| row.get(0))?.collect()
        };
        let earlier = list("SELECT child FROM merged WHERE survivor = ?1 ORDER BY child", other.id)?;
        let accounts = self.accounts(survivor.id)?.into_iter().map(|(account, ..)| account).collect();
        let before = Before { survivor: survivor.record.clone(), other: other.record.clone(), earlier, accounts };
        let sql = "INSERT OR REPLACE INTO before_merge(child, survivor, event, survivor_version, body) VALUES(?1, ?2, ?3, ?4, ?5)";
        let body = acts::bytes(&before)?;
        self.connection.prepare_cached(sql)?.execute(params![other.id, survivor.id, self.row, survivor.version, body])?;
        Ok(())
    }

    /// Parts a record from the one that it was made a part of.
    pub(super) fn part(&self, gone: &ChildRow, evidence: &[Evidence]) -> Result<Parted, acts::Stopped> {
        let (before, survivor, version) = self.before(gone)?;
        let since = self.since(&survivor, gone, version)?;
        let mut placing = Placing::new(&before, ranks(&survivor.record));
        for event in &since {
            placing.place(event);
        }
        let mut unplaced: BTreeSet<i64> =
            placing.sides.iter().filter(|(_, side)| **side == Side::Unplaced).map(|(row, _)| event_row::entry(*row)).collect();
        self.give_back_identifiers(&survivor, gone, &placing)?;
        let sql = "UPDATE merged SET survivor = ?1 WHERE child = ?2";
        for earlier in &before.earlier {
            self.connection.execute(sql, [gone.id, *earlier])?;
            let Some(mut row) = Index(self.connection).by_row(*earlier).map_err(unindexed)? else { continue };
            row.record.child.merged_into = Some(ChildId(gone.uuid));
            let record = json(&row.record)?.into_bytes();
            self.connection.execute("UPDATE child SET record = ?2 WHERE id = ?1", params![row.id, record])?;
        }
        self.connection.execute("DELETE FROM merged WHERE child = ?1", [gone.id])?;
        self.connection.execute("DELETE FROM before_merge WHERE child = ?1", [gone.id])?;
        desk::keep_apart(self.connection, survivor.id, gone.id, self.prepared.seq.0)?;
        let others: BTreeSet<i64> = before.earlier.iter().copied().chain([gone.id]).collect();
        for (row, side) in &placing.sides {
            if *side == Side::Other {
                self.connection.execute("UPDATE event SET child = ?2 WHERE id = ?1", [*row, gone.id])?;
                self.connection.execute("UPDATE debt SET child = ?2 WHERE event = ?1 AND state IN ('pending', 'held')", [*row, gone.id])?;
            }
            // What was rendered since may say of one what is the other's.
            let sql = "UPDATE debt SET state = 'withdrawn', why = 'un-merged', settled_us = ?2
                WHERE event = ?1 AND state IN ('pending', 'held') AND body IS NOT NULL";
            self.connection.execute(sql, [*row, clock::now().as_microsecond()])?;
        }
        let facts = self.give_back_facts(&survivor, gone.id, &others, &placing.sides, &mut unplaced)?;
        self.give_back_accounts(&survivor, gone, &before, &since, &placing.sides)?;
        let now = clock::now().as_microsecond();
        for seq in &unplaced {
            desk::ask(self.connection, "unmerge-unplaced", survivor.id, *seq, now)?;
        }
        // Every hub that had either record hears of both: of today, and of before the merge.
        let records = [&survivor.record, &gone.record, &before.survivor, &before.other];
        let hubs: Vec<HubAssignment> = records.iter().filter_map(|record| record.child.hub.clone()).collect();
        let said = self.said();
        let Placing { survivor: mine, other: theirs, sides, .. } = placing;
        let mut owed = self.put(Some(&survivor), mine, &said, evidence, &hubs)?;
        owed.extend(self.of_the_other()?.put(Some(gone), theirs, &said, evidence, &hubs)?);
        let placed = |side| sides.values().filter(|one| **one == side).count();
        let text = vec![
            format!(
                "child {} and child {} are two again, and a sender's merge of them is held from now on",
                ChildId(survivor.uuid),
                ChildId(gone.uuid)
            ),
            format!("{facts} facts go back to child {}", ChildId(gone.uuid)),
            format!(
                "of what came since, {} messages stay, {} go to child {} by their identifiers, {} need a look",
                placed(Side::Survivor),
                placed(Side::Other),
                ChildId(gone.uuid),
                unplaced.len()
            ),
        ];
        Ok(Parted { survivor, owed, text })
    }

    /// What both were, the survivor as it is now, and its version before the merge.
    fn before(&self, gone: &ChildRow) -> Result<(Before, ChildRow, i64), acts::Stopped> {
        let refuse = |text: String| acts::Stopped::Refused(desk::refused(64, text));
        let name = |row: i64| -> Result<String, acts::Stopped> {
            let row = Index(self.connection).by_row(row).map_err(unindexed)?;
            Ok(row.map(|row| ChildId(row.uuid).to_string()).unwrap_or_default())
        };
        let sql = "SELECT survivor, first_survivor FROM merged WHERE child = ?1";
        let merged: Option<(i64, i64)> = self.connection.query_row(sql, [gone.id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((survivor, first)) = merged else {
            return Err(refuse(format!("child {} is a part of no other record; there is nothing to take back", ChildId(gone.uuid))));
        };
        if survivor != first {
            return Err(refuse(format!("child {} went on into another record later; take that back first", name(first)?)));
        }
        let sql = "SELECT survivor_version, body FROM before_merge WHERE child = ?1";
        let kept: Option<(i64, Vec<u8>)> = self.connection.query_row(sql, [gone.id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((version, body)) = kept else {
            let text =
                "an older program made these records one and did not keep what they were; file its messages under the right child by hand";
            return Err(refuse(text.to_owned()));
        };
        let sql = "SELECT child FROM before_merge WHERE survivor = ?1 AND survivor_version > ?2 ORDER BY survivor_version DESC LIMIT 1";
        let later: Option<i64> = self.connection.query_row(sql, [survivor, version], |row| row.get(0)).optional()?;
        if let Some(later) = later {
            return Err(refuse(format!("child {} became a part of the same record later; take that back first", name(later)?)));
        }
        let before =
            serde_json::from_slice(&body).map_err(|_| refuse("what the records were cannot be read: restore a backup".to_owned()))?;
        let survivor = Index(self.connection).by_row(survivor).map_err(unindexed)?;
        let survivor = survivor.ok_or_else(|| refuse("the record that goes on is not there: restore a backup".to_owned()))?;
        if survivor.record.child.status == Some(crate::canon::ChildStatus::Sealed) {
            return Err(acts::Stopped::Refused(desk::refused(77, "the record is sealed: it stays as it is")));
        }
        Ok((before, survivor, version))
    }

    /// What was filed under the survivor since the merge, in the order of filing. Identifiers that were given up for it and are a third
    /// record's by now are not said again: their merge was taken back.
    fn since(&self, survivor: &ChildRow, gone: &ChildRow, version: i64) -> Result<Vec<Since>, Failure> {
        let mut since = self.events(survivor.id)?;
        // The merge itself made the next version.
        since.retain(|since| version + 1 < since.event.version);
        let index = Index(self.connection);
        let changes = since.iter_mut().flat_map(|since| &mut since.event.statement.identity_changes);
        // What was taken off stays off, whoever holds it by now.
        for change in changes.filter(|change| change.act != IdentityAct::Unlink) {
            let mut kept = Vec::with_capacity(change.prior.len());
            for id in &change.prior {
                let holder = index.holder(id).map_err(unindexed)?;
                if holder.is_none_or(|holder| [survivor.uuid, gone.uuid].contains(&holder.id.0)) {
                    kept.push(id.clone());
                }
            }
            change.prior = kept;
        }
        Ok(since)
    }

    /// Everything that was filed under a child, in the order in which its record grew; without what is being filed. All of it or nothing: what
    /// cannot be read may be what decides.
    pub(super) fn events(&self, child: i64) -> Result<Vec<Since>, Failure> {
        let sql = "SELECT id, at_us, body FROM event WHERE child = ?1 AND id <> ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([child, self.row], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut events = Vec::new();
        for row in rows {
            let (row, at_us, body): (i64, i64, Vec<u8>) = row?;
            let unread = |_| unindexed(IndexError("an event of this child cannot be read".to_owned()));
            events.push(Since { row, at_us, event: serde_json::from_slice(&body).map_err(unread)? });
        }
        events.sort_by_key(|one| one.event.version);
        Ok(events)
    }

    /// Identifiers that came since go with the messages that brought them; those that only the merge brought are nobody's again.
    fn give_back_identifiers(&self, survivor: &ChildRow, gone: &ChildRow, placing: &Placing) -> Result<(), Failure> {
        let has = |record: &Record, system: &str, value: &str| {
            record.child.identifiers.iter().any(|id| (id.system.as_str(), id.value.as_str()) == (system, value))
        };
        let sql = "SELECT system, value FROM identifier WHERE child = ?1";
        let ids: Vec<(String, String)> = self
            .connection
            .prepare(sql)?
            .query_map([survivor.id], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (system, value) in ids {
            if has(&placing.survivor, &system, &value) {
                continue;
            }
            if has(&placing.other, &system, &value) {
                let sql = "UPDATE identifier SET child = ?3 WHERE system = ?1 AND value = ?2";
                self.connection.execute(sql, params![system, value, gone.id])?;
            } else {
                self.connection.execute("DELETE FROM identifier WHERE system = ?1 AND value = ?2", [system, value])?;
            }
        }
        Ok(())
    }

    /// Facts go to the record that their newest version was said of. Gives how many went; what both records had a part in is for a person.
    fn give_back_facts(
        &self,
        survivor: &ChildRow,
        gone: i64,
        others: &BTreeSet<i64>,
        sides: &BTreeMap<i64, Side>,
        unplaced: &mut BTreeSet<i64>,
    ) -> Result<usize, Failure> {
        let side_of = |event: i64| -> rusqlite::Result<Side> {
            if let Some(side) = sides.get(&event) {
                return Ok(*side);
            }
            let child: Option<i64> =
                self.connection.prepare_cached("SELECT child FROM event WHERE id = ?1")?.query_row([event], |row| row.get(0)).optional()?;
            Ok(if child.is_some_and(|child| others.contains(&child)) { Side::Other } else { Side::Survivor })
        };
        let sql = "SELECT kind, publisher, key, parts FROM aggregate WHERE child = ?1";
        type Row = (String, String, String, String);
        let rows: Vec<Row> = self
            .connection
            .prepare(sql)?
            .query_map([survivor.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut moved = 0;
        for (kind, publisher, key, parts) in rows {
            let events: Vec<i64> = aggregates::read_parts(&parts).iter().map(|part| part.event).collect();
            let of: Vec<Side> = events.iter().map(|event| side_of(*event)).collect::<rusqlite::Result<_>>()?;
            if of.windows(2).any(|pair| matches!(pair, [a, b] if a != b)) {
                unplaced.extend(events.last().map(|event| event_row::entry(*event)));
            }
            if of.last() == Some(&Side::Other) {
                let sql = "UPDATE aggregate SET child = ?4 WHERE kind = ?1 AND publisher = ?2 AND key = ?3";
                moved += self.connection.execute(sql, params![kind, publisher, key, gone])?;
            }
        }
        // Child protection facts and reviews name the entry: theirs are those of an entry that was about the other.
        for table in ["safeguarding", "review"] {
            let sql = format!("SELECT DISTINCT seq FROM {table} WHERE child = ?1");
            let seqs: Vec<i64> =
                self.connection.prepare(&sql)?.query_map([survivor.id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            for seq in seqs {
                let sql = "SELECT id, child FROM event WHERE id >= ?1 AND id < ?2 ORDER BY id";
                let range = event_row::range(seq);
                let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                let events: Vec<(i64, i64)> =
                    self.connection.prepare_cached(sql)?.query_map(range, read)?.collect::<rusqlite::Result<_>>()?;
                // Of an entry about several children only those of the two count.
                let ours = events.into_iter().filter(|(_, child)| *child == survivor.id || others.contains(child));
                let of: Vec<Side> = ours.map(|(event, _)| side_of(event)).collect::<rusqlite::Result<_>>()?;
                let is_others = !of.is_empty() && of.iter().all(|side| *side == Side::Other);
                if is_others {
                    let sql = format!("UPDATE {table} SET child = ?3 WHERE child = ?1 AND seq = ?2");
                    self.connection.execute(&sql, [survivor.id, seq, gone])?;
                }
            }
        }
        Ok(moved)
    }

    fn accounts(&self, child: i64) -> rusqlite::Result<Vec<(String, i64, String)>> {
        let sql = "SELECT account, at_us, consent FROM proxy_consent WHERE child = ?1";
        self.connection.prepare_cached(sql)?.query_map([child], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
    }

    /// Accounts of the other follow the other alone; one that nobody can place follows nobody, until a person has looked.
    fn give_back_accounts(
        &self,
        survivor: &ChildRow,
        gone: &ChildRow,
        before: &Before,
        since: &[Since],
        sides: &BTreeMap<i64, Side>,
    ) -> Result<(), Failure> {
        let of_other: BTreeSet<String> = self.accounts(gone.id)?.into_iter().map(|(account, ..)| account).collect();
        for (account, at_us, consent) in self.accounts(survivor.id)? {
            if before.accounts.contains(&account) && !of_other.contains(&account) {
                continue;
            }
            let names = |since: &&Since| since.event.statement.proxy_consents.iter().any(|consent| consent.account_id == account);
            let said = since.iter().rev().find(names);
            let side = match said {
                _ if of_other.contains(&account) => Side::Other,
                Some(said) => sides.get(&said.row).copied().unwrap_or(Side::Unplaced),
                None => Side::Survivor,
            };
            if side == Side::Survivor {
                continue;
            }
            self.connection.execute("DELETE FROM proxy_consent WHERE child = ?1 AND account = ?2", params![survivor.id, account])?;
            if side == Side::Other {
                let sql = "INSERT INTO proxy_consent(child, account, at_us, consent) VALUES(?1, ?2, ?3, ?4)
                    ON CONFLICT(child, account) DO UPDATE SET at_us = excluded.at_us, consent = excluded.consent WHERE at_us <= excluded.at_us";
                self.connection.execute(sql, params![gone.id, account, at_us, consent])?;
                parents::give_back(self.connection, (survivor.id, gone.id), &account)?;
            }
        }
        Ok(())
    }

    /// A message asks to make one what a person said are two.
    pub(super) fn not_apart(&self, survivor: &ChildRow, other: &ChildRow, evidence: &[Evidence]) -> Result<(), Failure> {
        if desk::are_apart(self.connection, survivor.id, other.id)? {
            let text = "a person said that these two records are two children; `identity link` makes them one all the same".to_owned();
            return Err(Failure::Held(Held::Person { code: "identity-conflict".into(), text, evidence: evidence.to_vec() }));
        }
        Ok(())
    }
}

/// Something that was filed under a child.
pub(super) struct Since {
    pub(super) row: i64,
    at_us: i64,
    pub(super) event: FiledEvent,
}

/// Both records as they grow again, and whose each message was.
struct Placing {
    survivor: Record,
    other: Record,
    /// The precedence that each source had: an event does not keep it.
    ranks: BTreeMap<String, u8>,
    sides: BTreeMap<i64, Side>,
}

impl Placing {
    fn new(before: &Before, ranks: BTreeMap<String, u8>) -> Self {
        Self { survivor: before.survivor.clone(), other: before.other.clone(), ranks, sides: BTreeMap::new() }
    }

    fn place(&mut self, since: &Since) {
        let said = &since.event.statement;
        // What was taken off is on neither record again, whoever said so.
        if let Some(change) = said.identity_changes.iter().find(|change| change.act == IdentityAct::Unlink) {
            let by = Said { at_us: since.at_us, seq: since.event.seq.0, source: since.event.source.as_str().to_owned(), ..Said::default() };
            for record in [&mut self.survivor, &mut self.other] {
                let ids: Vec<Identifier> = change.prior.iter().filter(|id| has(&record.child.identifiers, id)).cloned().collect();
                *record = identity::detach(record, &ids, &by);
            }
            self.sides.insert(since.row, Side::Survivor);
            return;
        }
        // What the broker wrote itself names nobody: it stays, and there is nothing to ask.
        if OWN_SOURCES.contains(&since.event.source.as_str()) {
            self.sides.insert(since.row, Side::Survivor);
            return;
        }
        let prior = said.identity_changes.iter().flat_map(|change| &change.prior);
        let ids: Vec<&Identifier> = said.child.identifiers.iter().chain(prior).collect();
        let is_named = |record: &Record| ids.iter().any(|id| has(&record.child.identifiers, id));
        let side = match (is_named(&self.survivor), is_named(&self.other)) {
            (true, false) => Side::Survivor,
            (false, true) => Side::Other,
            _ => Side::Unplaced,
        };
        self.sides.insert(since.row, side);
        let is_of_the_person = super::speaks_of_the_person(said.event.kind) || !said.identity_changes.is_empty();
        if since.event.superseded || !is_of_the_person {
            return;
        }
        let record = match side {
            Side::Survivor => &mut self.survivor,
            Side::Other => &mut self.other,
            Side::Unplaced => return,
        };
        let alone = Statement {
            event: said.event.clone(),
            child: Child { identifiers: identity::identifiers_of(said), ..Child::default() },
            ..Statement::default()
        };
        let rank = if said.event.national { 3 } else { self.ranks.get(since.event.source.as_str()).copied().unwrap_or(0) };
        let by = Said {
            at_us: since.at_us,
            version: said.event.version.unwrap_or(0),
            seq: since.event.seq.0,
            rank,
            source: since.event.source.as_str().to_owned(),
        };
        let (merged, _) = identity::merge(Some(record), if said.identity_changes.is_empty() { said } else { &alone }, &by);
        *record = merged;
    }
}

/// Of each source the precedence with which it spoke: of a result's copy of the person's details it is less, so the greatest counts.
fn ranks(record: &Record) -> BTreeMap<String, u8> {
    let kept = record.kept.values().flatten().map(|kept| &kept.said);
    let mut ranks = BTreeMap::new();
    for said in record.said.values().chain(kept) {
        // The national record's own messages say so themselves.
        let rank: &mut u8 = ranks.entry(said.source.clone()).or_insert(0);
        *rank = (*rank).max(said.rank);
    }
    ranks
}

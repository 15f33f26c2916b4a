//! The nightly report of a hub: what is late, what is near, who was born and who moved; as CSV and as JSON (failsafe rules, section 6).
//!
//! # What always holds
//!
//! - Every row is there every night, also where its count is 0: a row that is missing would be silence.
//! - Children stand in it by our own ids, which say nothing of them; `chis-broker child ID` shows one.
//! - A file appears whole or not at all, under a name that the same night gives again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::Serialize;

use super::failsafe::Watching;
use super::laying::lay;
use crate::failsafe::day::start_of;
use crate::failsafe::{CLOCKS, ClockState, Rules};
use crate::names::{ChildId, HubName};
use crate::store::{DueRow, LedgerReader, StoreError};

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Stable name of the row.
    pub row: &'static str,
    /// The clock or the antigen; empty where the row has neither.
    pub of: String,
    /// How many.
    pub count: u64,
    /// Which children.
    pub children: Vec<String>,
}

/// What makes the reports of a night.
pub struct Nightly {
    /// Where reports are laid.
    pub folder: PathBuf,
    /// When.
    pub at: Time,
    /// Rules and hubs.
    pub watching: Watching,
}

impl Nightly {
    /// Its name among the daily jobs of the ledger; never changed.
    pub const JOB: &'static str = "failsafe";

    /// For whom.
    pub fn hubs(&self) -> Vec<HubName> {
        self.watching.directory.load().hubs().into_iter().map(|(hub, _)| hub).collect()
    }

    /// Writes the report of a hub for a day; done again, it writes the same files.
    ///
    /// # Errors
    ///
    /// It could not be read or written: it is tried again.
    pub fn write(&self, reader: &LedgerReader, hub: &HubName, day: Date, now: Timestamp) -> Result<(), StoreError> {
        let lines = lines(reader, &self.watching.rules.load(), hub, day, now)?;
        let name = format!("failsafe-{hub}-{day}");
        lay_report(&self.folder, &format!("{name}.csv"), &csv(hub, day, &lines))?;
        lay_report(&self.folder, &format!("{name}.json"), &json(hub, day, now, &lines))
    }
}

/// The rows of a report.
pub fn lines(reader: &LedgerReader, rules: &Rules, hub: &HubName, day: Date, now: Timestamp) -> Result<Vec<Line>, StoreError> {
    let open = reader.open_clocks(hub, None)?;
    let yesterday = day.yesterday().unwrap_or(day);
    let mut lines =
        vec![line("births_today", "", reader.born_on(hub, day)?), line("births_yesterday", "", reader.born_on(hub, yesterday)?)];
    let of = |kinds: &[&str], states: &[ClockState]| -> Vec<ChildId> {
        let is_one = |row: &&DueRow| kinds.contains(&row.clock.kind.as_str()) && states.contains(&row.clock.state);
        open.iter().filter(is_one).map(|row| row.child).collect()
    };
    use ClockState::{Breached, Pending, Unobservable};
    const FIXED: [(&str, &[&str], &[ClockState]); 9] = [
        ("nbs_no_result_warned", &["NBS_RESULT"], &[Pending]),
        ("nbs_no_result_late", &["NBS_RESULT"], &[Breached]),
        ("nbs_repeat_open", &["NBS_REPEAT"], &[Pending, Breached]),
        ("nbs_mover_no_result", &["NBS_MOVER"], &[Pending, Breached]),
        ("hearing_overdue", &["HEAR", "HEAR_REFER"], &[Breached]),
        ("nipe_overdue", &["NIPE_72", "NIPE_68"], &[Breached]),
        ("no_gp", &["GP_REG"], &[Pending, Breached]),
        ("no_nhs_number", &["NHSNO"], &[Pending, Breached]),
        ("new_birth_visit_overdue", &["HV_NBV"], &[Breached]),
    ];
    lines.extend(FIXED.into_iter().map(|(row, kinds, states)| line(row, "", of(kinds, states))));
    let told: BTreeSet<&str> = FIXED.iter().flat_map(|(_, kinds, _)| kinds.iter().copied()).collect();
    let others = CLOCKS.into_iter().filter(|kind| !told.contains(kind) && *kind != "HEAR_COMMUNITY");
    lines.extend(others.map(|kind| line("overdue", kind, of(&[kind], &[Breached]))));
    lines.extend(immunisations(&open, rules, now));
    // Which hub a message belongs to that nobody could file is not known: every hub is told of all of them.
    let held = reader.held_by_reason()?;
    let held_count = |unmatched: bool| held.iter().filter(|held| (held.reason == "unmatched") == unmatched).map(|held| held.count).sum();
    lines.push(Line { row: "messages_unmatched", of: "all hubs".to_owned(), count: held_count(true), children: Vec::new() });
    lines.push(Line { row: "messages_held", of: "all hubs".to_owned(), count: held_count(false), children: Vec::new() });
    let (from, to) = (start_of(yesterday), start_of(day));
    let moves = reader.moves_between(from, to)?;
    lines.push(line("transfers_in", "", moves.iter().filter(|one| one.to == *hub).map(|one| one.child).collect()));
    lines.push(line("transfers_out", "", moves.iter().filter(|one| one.from == *hub).map(|one| one.child).collect()));
    let hidden: BTreeSet<ChildId> = open.iter().filter(|row| row.clock.state == Unobservable).map(|row| row.child).collect();
    lines.push(line("unobservable", "", hidden.into_iter().collect()));
    Ok(lines)
}

fn line(row: &'static str, of: &str, children: Vec<ChildId>) -> Line {
    let count = children.len() as u64;
    Line { row, of: of.to_owned(), count, children: children.iter().map(ToString::to_string).collect() }
}

/// By antigen: due within the next 28 days (or due now and not late yet), and overdue.
fn immunisations(open: &[DueRow], rules: &Rules, now: Timestamp) -> Vec<Line> {
    let mut antigens: BTreeMap<&str, [BTreeSet<ChildId>; 3]> = BTreeMap::new();
    let mut of_row: BTreeMap<String, &[String]> = BTreeMap::new();
    for row in &rules.schedule.rows {
        of_row.insert(format!("IMM_{}", row.id), &row.antigens);
        for antigen in &row.antigens {
            antigens.entry(antigen).or_default();
        }
    }
    for DueRow { child, clock } in open {
        let place = match clock.state {
            ClockState::Breached => 2,
            ClockState::Pending if clock.due_at.is_some_and(|due| due <= now) => 1,
            ClockState::Pending => 0,
            _ => continue,
        };
        for antigen in of_row.get(&clock.kind).copied().unwrap_or_default() {
            if let Some(set) = antigens.get_mut(antigen.as_str()).and_then(|sets| sets.get_mut(place)) {
                set.insert(*child);
            }
        }
    }
    let rows = ["immunisations_due_in_28_days", "immunisations_due_now", "immunisations_overdue"];
    let lines = rows.into_iter().enumerate().flat_map(|(place, row)| {
        let of = |(antigen, sets): (&&str, &[BTreeSet<ChildId>; 3])| {
            line(row, antigen, sets.get(place).into_iter().flatten().copied().collect())
        };
        antigens.iter().map(of).collect::<Vec<_>>()
    });
    lines.collect()
}

fn csv(hub: &HubName, day: Date, lines: &[Line]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let _in_memory = writer.write_record(["day", "hub", "row", "of", "count", "children"]);
    for line in lines {
        let (count, children) = (line.count.to_string(), line.children.join(" "));
        let _in_memory = writer.write_record([&day.to_string(), hub.as_str(), line.row, &line.of, &count, &children]);
    }
    writer.into_inner().unwrap_or_default()
}

fn json(hub: &HubName, day: Date, now: Timestamp, lines: &[Line]) -> Vec<u8> {
    let report = serde_json::json!({ "day": day, "hub": hub, "made": now, "rows": lines });
    serde_json::to_vec_pretty(&report).unwrap_or_default()
}

fn lay_report(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    lay(folder, name, bytes, 0o640).map_err(|error| StoreError {
        text: format!("the report {} cannot be written: {error}; check [failsafe] reports", folder.join(name).display()),
        exit: 74,
    })
}

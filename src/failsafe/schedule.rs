//! The routine immunisation schedule as data, and which dose of a child counts for which row (failsafe rules, section 3).
//!
//! # How doses are counted
//!
//! Antigens are counted, not products. For each antigen the rows that hold for the child are filled in the order in which they are due, the
//! oldest dose first: a dose counts for a row when the child was old enough and the dose before it long enough ago. A row has what it
//! needs when each of its antigens has. What is not dated to the day is listed and not counted; what nobody knows, a person looks at.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, date as civil_date};
use serde::Deserialize;
use toml::Spanned;

use super::Said;
use super::day::{Holidays, Length, days_between, plus_days};
use super::rules::{Reading, some_date, yes};
use crate::canon::{Immunisation, ImmunisationStatus, Precision};
use crate::names::Seq;

/// When a row is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At this age.
    Age(Length),
    /// On the same day for all.
    On(Date),
    /// On 1 September of the year in which this year of school begins.
    SchoolYear(i16),
    /// Each year from the first to the second day, (month, day), for children of these ages on 31 August.
    Season {
        /// First day.
        from: (i8, i8),
        /// Last day.
        to: (i8, i8),
        /// Years of age.
        ages: (i16, i16),
    },
}

/// One dose that can be due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `6IN1_1`.
    pub id: String,
    /// In words.
    pub title: String,
    /// Words of antigens.
    pub antigens: Vec<String>,
    /// Place in the course.
    pub dose: i64,
    /// When.
    pub due: Due,
    /// A dose before does not count.
    pub min_age: Option<Length>,
    /// Not required after.
    pub max_age: Option<Length>,
    /// Since the dose before.
    pub min_interval: Option<i64>,
    /// First and last date of birth.
    pub born: (Option<Date>, Option<Date>),
    /// First and last day on which it can fall due.
    pub valid: (Option<Date>, Option<Date>),
    /// Late so long after it was due.
    pub overdue: Length,
    /// Late after this day.
    pub overdue_date: Option<Date>,
    /// A dose before this day does not count.
    pub counts_from: Option<Date>,
    /// So many doses whenever given: not required.
    pub enough: Option<usize>,
    /// Late is late: a task is raised.
    pub raises_task: bool,
}

/// The whole schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// In the order of the file.
    pub rows: Vec<Row>,
    /// Listed so long before it is due.
    pub early: Option<Length>,
    /// Codes of "declined".
    pub declined: BTreeSet<String>,
    /// Codes of "contraindicated".
    pub contraindicated: BTreeSet<String>,
    grace_days: i64,
    live: BTreeSet<String>,
    live_interval: i64,
    /// Code of a target disease to its word.
    words: BTreeMap<String, String>,
    /// Code of a procedure to its antigens.
    procedures: BTreeMap<String, Vec<String>>,
}

/// A row that holds for a child, and what is known of it.
#[derive(Clone, Debug)]
pub struct Planned<'s> {
    /// The row.
    pub row: &'s Row,
    /// The day it is due from.
    pub due: Date,
    /// The last day on which it is not late.
    pub overdue: Date,
    /// The last day on which it is required.
    pub last: Option<Date>,
    /// The doses that count, one for each antigen, and the day of the last of them.
    pub given: Option<(Date, Seq)>,
    /// It is not required: so many doses were given already.
    pub is_enough: bool,
    /// Not given, with a reason that ends it.
    pub not_given: Option<(&'static str, Seq)>,
}

/// A dose that was given on a known day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dose {
    /// The day.
    pub on: Date,
    /// Words of antigens.
    pub antigens: BTreeSet<String>,
    /// The message.
    pub seq: Seq,
    /// Too soon after another live vaccine.
    pub is_too_soon: bool,
}

/// What was said of vaccinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doses {
    /// Given and dated, in the order of their days.
    pub given: Vec<Dose>,
    /// Given, but not dated to the day.
    pub undated: Vec<Seq>,
    /// Given, and nobody knows what.
    pub unknown: Vec<Seq>,
    /// Not given for a reason that ends it: day, antigens, reason, message.
    not_given: Vec<(Date, BTreeSet<String>, &'static str, Seq)>,
}

impl Schedule {
    /// Sorts what was said of vaccinations.
    pub fn doses(&self, said: &[Said<Immunisation>]) -> Doses {
        let mut doses = Doses::default();
        for Said { seq, at, item } in said {
            let antigens = self.antigens(item);
            let day = item.occurrence.as_ref().filter(|on| Precision::Day <= on.precision).and_then(|on| on.date());
            match item.status {
                ImmunisationStatus::EnteredInError => {}
                ImmunisationStatus::NotDone => {
                    let code = item.reason_not_given.as_ref().map(|reason| reason.code.as_str()).unwrap_or_default();
                    let why = if self.contraindicated.contains(code) {
                        Some("contraindicated")
                    } else {
                        self.declined.contains(code).then_some("declined")
                    };
                    let day = day.unwrap_or_else(|| super::day::date_of(*at));
                    doses.not_given.extend(why.map(|why| (day, antigens, why, *seq)));
                }
                ImmunisationStatus::Completed if item.subpotent == Some(true) => {}
                ImmunisationStatus::Completed if antigens.is_empty() => doses.unknown.push(*seq),
                ImmunisationStatus::Completed => match day {
                    Some(on) => doses.given.push(Dose { on, antigens, seq: *seq, is_too_soon: false }),
                    None => doses.undated.push(*seq),
                },
            }
        }
        // The same dose told twice is one dose: its identity is its antigens and its day (code tables, immunisation).
        doses.given.sort_by(|a, b| (a.on, &a.antigens, a.seq).cmp(&(b.on, &b.antigens, b.seq)));
        doses.given.dedup_by(|b, a| a.on == b.on && a.antigens == b.antigens);
        doses.not_given.sort();
        self.mark_too_soon(&mut doses.given);
        doses
    }

    fn antigens(&self, said: &Immunisation) -> BTreeSet<String> {
        let by_product: BTreeSet<String> = said.antigens.iter().filter_map(|code| self.words.get(code)).cloned().collect();
        let procedure = || said.procedure.as_ref().and_then(|procedure| self.procedures.get(&procedure.code));
        if by_product.is_empty() { procedure().into_iter().flatten().cloned().collect() } else { by_product }
    }

    fn mark_too_soon(&self, given: &mut [Dose]) {
        let mut last: Option<Date> = None;
        for dose in given.iter_mut().filter(|dose| dose.antigens.iter().any(|antigen| self.live.contains(antigen))) {
            let since = last.map(|last| days_between(last, dose.on));
            dose.is_too_soon = since.is_some_and(|days| 0 < days && days < self.live_interval);
            if !dose.is_too_soon {
                last = Some(dose.on);
            }
        }
    }

    /// The rows that hold for a child born on `born`, in the order in which they are due, with the doses that count for them.
    pub fn plan(&self, born: Date, today: Date, doses: &Doses) -> Vec<Planned<'_>> {
        let none = Holidays::default();
        let mut planned: Vec<Planned<'_>> = Vec::new();
        let holds = |row: &&Row| is_within(born, row.born);
        for row in self.rows.iter().filter(holds) {
            let Some(due) = row.due_on(born, today) else { continue };
            if !is_within(due, row.valid) {
                continue;
            }
            let overdue = row.overdue_date.unwrap_or_else(|| row.overdue.after(due, &none));
            let season_ends = row.season_end(due);
            let last = season_ends.or_else(|| row.max_age.map(|age| age.after(born, &none)));
            planned.push(Planned { row, due, overdue, last, given: None, is_enough: false, not_given: None });
        }
        planned.sort_by_key(|one| (one.due, one.row.dose));
        // Of several rows for the same dose of the same antigens the first holds.
        let mut seen = BTreeSet::new();
        planned.retain(|one| seen.insert((one.row.antigens.clone(), one.row.dose)));
        self.fill(&mut planned, born, doses);
        planned
    }

    /// The last day before a row of the coming years begins to hold for the child: the end of the season before its first.
    pub fn next_season(&self, born: Date, today: Date) -> Option<Date> {
        let begins = |row: &Row| {
            let Due::Season { from, to, ages } = row.due else { return None };
            let after_august = i16::from(civil_date(2024, 8, 31) < civil_date(2024, born.month(), born.day()));
            let before = born.year() + ages.0 + after_august - 1;
            Date::new(before + i16::from(to < from), to.0, to.1).ok().filter(|ends| today <= *ends)
        };
        self.rows.iter().filter(|row| is_within(born, row.born)).filter_map(begins).min()
    }

    fn fill(&self, planned: &mut [Planned<'_>], born: Date, doses: &Doses) {
        let antigens: BTreeSet<String> = planned.iter().flat_map(|one| one.row.antigens.iter().cloned()).collect();
        // Row and antigen to the dose that counts.
        let mut filled: BTreeMap<(usize, &str), (Date, Seq)> = BTreeMap::new();
        for antigen in &antigens {
            let mut rest = doses.given.iter().filter(|dose| dose.antigens.contains(antigen) && !dose.is_too_soon).collect::<Vec<_>>();
            let mut before: Option<Date> = None;
            // A booster that comes on top of a whole course is filled after it.
            let mut order: Vec<usize> = (0..planned.len()).collect();
            order.sort_by_key(|place| planned.get(*place).map(|one| (one.row.dose, one.due)));
            for place in order {
                let Some(one) = planned.get(place).filter(|one| one.row.antigens.contains(antigen)) else { continue };
                let fits = |dose: &&Dose| self.counts(one, born, before, dose.on);
                let Some(at) = rest.iter().position(fits) else { continue };
                let dose = rest.remove(at);
                rest.drain(..at);
                before = Some(dose.on);
                filled.insert((place, antigen), (dose.on, dose.seq));
            }
        }
        for (place, one) in planned.iter_mut().enumerate() {
            let found: Option<Vec<(Date, Seq)>> =
                one.row.antigens.iter().map(|antigen| filled.get(&(place, antigen.as_str())).copied()).collect();
            one.given = found.and_then(|found| found.into_iter().max());
            let total = |antigen: &String| doses.given.iter().filter(|dose| dose.antigens.contains(antigen)).count();
            one.is_enough = one.row.enough.is_some_and(|enough| one.row.antigens.iter().all(|antigen| enough <= total(antigen)));
            // A refusal ends what was due when it was said, or is due within four weeks of it; of one part it does not end the others.
            let ends = |(day, said, _, _): &&(Date, BTreeSet<String>, &'static str, Seq)| {
                one.due <= plus_days(*day, 28) && one.row.antigens.iter().all(|antigen| said.contains(antigen))
            };
            one.not_given = doses.not_given.iter().rfind(ends).map(|(_, _, why, seq)| (*why, *seq));
        }
    }

    fn counts(&self, one: &Planned<'_>, born: Date, before: Option<Date>, on: Date) -> bool {
        let none = Holidays::default();
        let earliest = one.row.min_age.map(|age| plus_days(age.after(born, &none), -self.grace_days));
        let spaced = match (before, one.row.min_interval) {
            (Some(before), Some(days)) => days - self.grace_days <= days_between(before, on),
            (Some(before), None) => before < on,
            (None, _) => true,
        };
        let season_begins = matches!(one.row.due, Due::Season { .. }).then_some(one.due);
        born <= on
            && earliest.is_none_or(|earliest| earliest <= on)
            && one.last.is_none_or(|last| on <= last)
            && one.row.counts_from.max(season_begins).is_none_or(|from| from <= on)
            && spaced
    }
}

impl Row {
    fn due_on(&self, born: Date, today: Date) -> Option<Date> {
        match self.due {
            Due::Age(age) => Some(age.after(born, &Holidays::default())),
            Due::On(date) => Some(date),
            Due::SchoolYear(year) => Date::new(school_begins(born) + year, 9, 1).ok(),
            Due::Season { from, to, ages } => {
                // The season that is on, or the next one.
                let starts = |year: i16| Date::new(year, from.0, from.1).ok();
                let ends = |year: i16| Date::new(year + i16::from(to < from), to.0, to.1).ok();
                let year = [today.year() - 1, today.year(), today.year() + 1].into_iter().find(|year| ends(*year) >= Some(today))?;
                let on = civil_date(year, 8, 31);
                let age = on.year() - born.year() - i16::from((on.month(), on.day()) < (born.month(), born.day()));
                (ages.0 <= age && age <= ages.1).then(|| starts(year)).flatten()
            }
        }
    }

    fn season_end(&self, due: Date) -> Option<Date> {
        let Due::Season { from, to, .. } = self.due else { return None };
        Date::new(due.year() + i16::from(to < from), to.0, to.1).ok()
    }
}

/// The calendar year in which a child born on this day begins school (reception); year n of school begins n years later.
fn school_begins(born: Date) -> i16 {
    born.year() + if born.month() < 9 { 4 } else { 5 }
}

fn is_within(date: Date, (from, to): (Option<Date>, Option<Date>)) -> bool {
    from.is_none_or(|from| from <= date) && to.is_none_or(|to| date <= to)
}

// ---- the file ----------------------------------------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleFile {
    overdue: Spanned<String>,
    grace_days: i64,
    early: Spanned<String>,
    declined: BTreeSet<String>,
    contraindicated: BTreeSet<String>,
    live: LiveTable,
    antigens: BTreeMap<String, String>,
    procedure: Vec<ProcedureRow>,
    dose: Vec<Spanned<DoseRow>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LiveTable {
    antigens: Vec<Spanned<String>>,
    interval: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcedureRow {
    codes: Vec<String>,
    antigens: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DoseRow {
    id: Spanned<String>,
    title: String,
    antigens: Vec<Spanned<String>>,
    dose: i64,
    due_age: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "some_date")]
    due_date: Option<Date>,
    due_school_year: Option<i16>,
    season: Option<Spanned<SeasonTable>>,
    #[serde(default)]
    age_from: i16,
    #[serde(default)]
    age_to: i16,
    min_age: Option<Spanned<String>>,
    max_age: Option<Spanned<String>>,
    min_interval: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "some_date")]
    dob_from: Option<Date>,
    #[serde(default, deserialize_with = "some_date")]
    dob_to: Option<Date>,
    #[serde(default, deserialize_with = "some_date")]
    valid_from: Option<Date>,
    #[serde(default, deserialize_with = "some_date")]
    valid_to: Option<Date>,
    overdue: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "some_date")]
    overdue_date: Option<Date>,
    #[serde(default, deserialize_with = "some_date")]
    counts_from: Option<Date>,
    enough: Option<usize>,
    #[serde(default = "yes")]
    task: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeasonTable {
    from: String,
    to: String,
}

impl Schedule {
    /// Reads `schedule.toml`; what is wrong is noted in `reading`.
    pub(super) fn read(reading: &mut Reading<'_>) -> Option<Self> {
        let file: ScheduleFile = reading.parse()?;
        let known: BTreeSet<String> = file.antigens.keys().cloned().collect();
        let overdue = reading.length(&file.overdue);
        let procedures = file.procedure.iter().flat_map(|row| {
            let antigens: Vec<String> = words(reading, &known, &row.antigens);
            row.codes.iter().map(move |code| (code.clone(), antigens.clone())).collect::<Vec<_>>()
        });
        let procedures: BTreeMap<String, Vec<String>> = procedures.collect();
        let rows = file.dose.iter().filter_map(|row| read_row(reading, &known, overdue, row)).collect();
        Some(Self {
            rows,
            early: Some(reading.length(&file.early)),
            declined: file.declined,
            contraindicated: file.contraindicated,
            grace_days: file.grace_days,
            live: words(reading, &known, &file.live.antigens).into_iter().collect(),
            live_interval: in_days(reading, &file.live.interval),
            words: file.antigens.into_iter().map(|(word, code)| (code, word)).collect(),
            procedures,
        })
    }
}

fn words(reading: &mut Reading<'_>, known: &BTreeSet<String>, written: &[Spanned<String>]) -> Vec<String> {
    for word in written.iter().filter(|word| !known.contains(word.get_ref())) {
        let list: Vec<&str> = known.iter().map(String::as_str).collect();
        reading.error(word.span(), format!("[antigens] has no `{}`; it has: {}", word.get_ref(), list.join(", ")));
    }
    written.iter().map(|word| word.get_ref().clone()).collect()
}

pub(super) fn in_days(reading: &mut Reading<'_>, written: &Spanned<String>) -> i64 {
    match reading.length(written) {
        Length::Days(days) => days,
        _ => {
            reading.error(written.span(), "an interval is counted in days or weeks: 28 d, 4 wk");
            0
        }
    }
}

fn read_row(reading: &mut Reading<'_>, known: &BTreeSet<String>, overdue: Length, row: &Spanned<DoseRow>) -> Option<Row> {
    let (span, row) = (row.span(), row.get_ref());
    let season = row.season.as_ref().map(|season| {
        let day = |text: &str| {
            let (month, day) = text.split_once('-')?;
            Some((month.parse().ok()?, day.parse().ok()?)).filter(|(month, day)| Date::new(2024, *month, *day).is_ok())
        };
        match (day(&season.get_ref().from), day(&season.get_ref().to)) {
            (Some(from), Some(to)) => Due::Season { from, to, ages: (row.age_from, row.age_to) },
            _ => {
                reading.error(season.span(), "a season has month and day: { from = \"09-01\", to = \"03-31\" }");
                Due::SchoolYear(0)
            }
        }
    });
    let age = row.due_age.as_ref().map(|age| Due::Age(reading.length(age)));
    let ways: Vec<Due> = [age, row.due_date.map(Due::On), row.due_school_year.map(Due::SchoolYear), season].into_iter().flatten().collect();
    let [due] = ways.as_slice() else {
        let message = format!("`{}` needs exactly one of due_age, due_date, due_school_year, season", row.id.get_ref());
        reading.error(span, message);
        return None;
    };
    if row.antigens.is_empty() {
        reading.error(row.id.span(), format!("`{}` names no antigens", row.id.get_ref()));
    }
    let interval = row.min_interval.as_ref().map(|interval| in_days(reading, interval));
    Some(Row {
        id: row.id.get_ref().clone(),
        title: row.title.clone(),
        antigens: words(reading, known, &row.antigens),
        dose: row.dose,
        due: *due,
        min_age: reading.length_of(&row.min_age),
        max_age: reading.length_of(&row.max_age),
        min_interval: interval,
        born: (row.dob_from, row.dob_to),
        valid: (row.valid_from, row.valid_to),
        overdue: reading.length_of(&row.overdue).unwrap_or(overdue),
        overdue_date: row.overdue_date,
        counts_from: row.counts_from,
        enough: row.enough,
        raises_task: row.task,
    })
}

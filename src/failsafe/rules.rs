//! What is watched and by which limits: `failsafe.toml`, `schedule.toml` and `holidays.toml`, whole, or refused whole.
//!
//! # What always holds
//!
//! - Every mistake has its file, line, column and bytes, and says what would help.
//! - Each clock that the program knows has exactly one row, so that none is forgotten by an edit.
//!
//! # Not here
//!
//! No files are opened: the caller gives their text. What starts and ends a clock is code (`newborn`, `services`, `doses`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::civil::Date;
use serde::Deserialize;
use toml::Spanned;

use super::day::{Holidays, Length};
use super::schedule::{Schedule, in_days};
use crate::names::HubName;

/// A mistake in one of the files, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct RulesError {
    /// The file as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Bytes of the file.
    pub span: Range<usize>,
    /// What is wrong, and what would help.
    pub message: String,
}

/// The three files.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'t> {
    /// `failsafe.toml`.
    pub failsafe: &'t str,
    /// `schedule.toml`.
    pub schedule: &'t str,
    /// `holidays.toml`.
    pub holidays: &'t str,
}

/// Clocks of `failsafe.toml`, in the order in which they are shown. `HEAR_COMMUNITY` and `IMM` are rows, not clocks.
pub const CLOCKS: [&str; 27] = [
    "NBS_SAMPLE",
    "NBS_RECEIPT",
    "NBS_RESULT",
    "NBS_ALL",
    "NBS_REPEAT",
    "NBS_MOVER",
    "NBS_DECLINE",
    "HEAR",
    "HEAR_COMMUNITY",
    "HEAR_REFER",
    "NIPE_72",
    "NIPE_68",
    "HV_ANTENATAL",
    "HV_NBV",
    "HV_68",
    "HV_12M",
    "HV_2Y",
    "GP_REG",
    "HV_ALLOC",
    "CHO_ALLOC",
    "NHSNO",
    "BIRTH_NOTIF",
    "HEPB_0",
    "HEPB_4W",
    "HEPB_12M",
    "HEPB_TEST",
    "BCG",
];

/// The row that says who owns the clocks of `schedule.toml`.
pub const IMM: &str = "IMM";

/// Who is asked to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Owner {
    /// Maternity while the baby is young, then health visiting.
    #[serde(rename = "newborn")]
    Newborn,
    /// Maternity.
    #[serde(rename = "maternity")]
    Maternity,
    /// Health visiting.
    #[serde(rename = "HV")]
    HealthVisiting,
    /// The child health organisation: the hub itself.
    #[serde(rename = "CHO")]
    ChildHealth,
    /// School nursing.
    #[serde(rename = "school_nursing")]
    SchoolNursing,
}

impl Owner {
    /// The word of the service in tasks and listings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Newborn | Self::Maternity => "maternity",
            Self::HealthVisiting => "HV",
            Self::ChildHealth => "CHO",
            Self::SchoolNursing => "school_nursing",
        }
    }
}

/// The limits of one clock.
#[derive(Clone, Debug)]
pub struct ClockRule {
    /// What is watched, in words.
    pub title: String,
    /// From then on it is listed as near.
    pub warn: Option<Length>,
    /// The target.
    pub due: Option<Length>,
    /// Late after this.
    pub breach: Option<Length>,
    /// Late and missed after this.
    pub missed: Option<Length>,
    /// Nobody can mend it after this.
    pub closes: Option<Length>,
    /// Listed as long as it is open.
    pub is_always_listed: bool,
    /// Who is asked.
    pub owner: Owner,
    /// Failsafe alert: reason.
    pub reason: Option<String>,
    /// Failsafe alert: reason, where the child moved.
    pub reason_moved: Option<String>,
    /// Failsafe alert: action required.
    pub action: Option<String>,
    /// Failsafe alert: severity.
    pub severity: String,
    /// Encounter types that satisfy it.
    pub reviews: Vec<String>,
    /// Where the rule comes from.
    pub source: String,
}

/// Conditions that babies are screened for.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// `PKU`, …
    pub names: Vec<String>,
    /// First date of birth.
    pub dob_from: Option<Date>,
    /// Last date of birth.
    pub dob_to: Option<Date>,
    /// Only where one of these hubs is responsible; empty: everywhere.
    pub hubs: Vec<HubName>,
}

/// When a repeat sample is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatDue {
    /// At this age of the baby.
    Age(Length),
    /// So long after it was asked for.
    After(Length),
}

/// Newborn blood spot.
#[derive(Clone, Debug)]
pub struct Nbs {
    /// Status that is a result.
    pub final_status: BTreeSet<String>,
    /// Status or sub-status that ends screening without one.
    pub closing: BTreeSet<String>,
    /// Sub-status that ends it for CF alone.
    pub cf_too_old: String,
    /// A first sample after this age is not tested for CF.
    pub cf_age_max: Length,
    /// Known after this age without a birth here: a mover-in.
    pub mover_first_known_after: Length,
    /// Which conditions, by date of birth and hub.
    pub conditions: Vec<Conditions>,
    /// When a repeat is due, by sub-status; `default` is there.
    pub repeat: BTreeMap<String, RepeatDue>,
    /// Sub-status to conditions for which no repeat is asked.
    pub no_repeat: BTreeMap<String, Vec<String>>,
}

/// Newborn hearing: which summaries mean what.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hearing {
    /// The screen is complete.
    pub complete: BTreeSet<String>,
    /// The parents declined.
    pub declined: BTreeSet<String>,
    /// It ended for another reason.
    pub ended: BTreeSet<String>,
    /// Audiology must see the child.
    pub referred: BTreeSet<String>,
    /// Birth sites whose babies are screened in the community.
    pub community_sites: BTreeSet<String>,
    /// Services of appointments that answer a referral.
    pub audiology: Vec<String>,
}

/// Hepatitis B.
#[derive(Clone, Debug)]
pub struct HepB {
    /// Observations that say that the mother has it.
    pub flag_codes: BTreeSet<String>,
    /// Observations that are the child's test.
    pub test_codes: BTreeSet<String>,
    /// A dose sooner than so many days after the first one is not the second.
    pub min_interval: i64,
    /// Born before: the old schedule.
    pub new_schedule_from: Date,
}

/// ASQ-3 in the two-year review.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asq3 {
    /// Questionnaires of this age and more.
    pub months_min: i64,
    /// Domains of a whole set.
    pub domains: usize,
}

/// All of it, checked.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Limits by clock.
    pub clocks: BTreeMap<String, ClockRule>,
    /// Breaches before this date raise no task.
    pub tasks_from: Option<Date>,
    /// Maternity owns newborn clocks until this age.
    pub maternity_until: Length,
    /// Days after a breach at which a manager, and then a lead, is told.
    pub escalation: [Length; 2],
    /// Levels of neonatal care in which a baby cannot be examined.
    pub neonatal_care_levels: BTreeSet<String>,
    /// The age until which that suspends.
    pub suspended_until: Length,
    /// Blood spot.
    pub nbs: Nbs,
    /// Hearing.
    pub hearing: Hearing,
    /// Observations whose value is the expected date of delivery.
    pub due_date_codes: BTreeSet<String>,
    /// Hepatitis B.
    pub hepb: HepB,
    /// ASQ-3.
    pub asq3: Asq3,
    /// Routine doses.
    pub schedule: Schedule,
    /// No working days.
    pub holidays: Holidays,
    /// Years of which holidays are known.
    pub holiday_years: BTreeSet<i16>,
    /// Changes when any of the three files does.
    pub fingerprint: String,
}

impl Rules {
    /// Reads the three files.
    ///
    /// # Errors
    ///
    /// Every mistake that was found, with its place.
    pub fn load(texts: Texts<'_>) -> Result<Self, Vec<RulesError>> {
        let mut reading = Reading { file: "failsafe.toml", text: texts.failsafe, errors: Vec::new() };
        let rules = reading.rules();
        let mut errors = reading.errors;
        let mut reading = Reading { file: "schedule.toml", text: texts.schedule, errors: Vec::new() };
        let schedule = Schedule::read(&mut reading);
        errors.extend(reading.errors);
        let mut reading = Reading { file: "holidays.toml", text: texts.holidays, errors: Vec::new() };
        let holidays = reading.holidays();
        errors.extend(reading.errors);
        let (Some(mut rules), Some(schedule), Some((holidays, years)), true) = (rules, schedule, holidays, errors.is_empty()) else {
            return Err(errors);
        };
        (rules.schedule, rules.holidays, rules.holiday_years) = (schedule, holidays, years);
        rules.fingerprint = fingerprint(&[texts.failsafe, texts.schedule, texts.holidays]);
        Ok(rules)
    }

    /// What good counting lacks on this day.
    pub fn degraded(&self, today: Date) -> Vec<String> {
        if self.holiday_years.contains(&today.year()) {
            return Vec::new();
        }
        vec![format!("holidays.toml has no year {}: Monday to Friday count as working days", today.year())]
    }
}

/// FNV-1a over all texts: it only has to change when they do.
fn fingerprint(texts: &[&str]) -> String {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// One file while it is read.
pub(super) struct Reading<'t> {
    pub(super) file: &'static str,
    pub(super) text: &'t str,
    pub(super) errors: Vec<RulesError>,
}

impl Reading<'_> {
    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        self.errors.push(RulesError { file: self.file.to_owned(), line, column, span, message: message.into() });
    }

    /// The file's structure; none where it is not as it has to be.
    pub(super) fn parse<T: for<'de> Deserialize<'de>>(&mut self) -> Option<T> {
        match toml::from_str(self.text) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.error(error.span().unwrap_or(0..0), error.message().trim().to_owned());
                None
            }
        }
    }

    /// A length; where it is none the mistake is noted.
    pub(super) fn length(&mut self, written: &Spanned<String>) -> Length {
        Length::read(written.get_ref()).unwrap_or_else(|| {
            let text = format!("`{}` is no length; write 72 h, 17 d, 8 wk, 12 m, 3 y 4 m or 3 wd", written.get_ref());
            self.error(written.span(), text);
            Length::Days(0)
        })
    }

    pub(super) fn length_of(&mut self, written: &Option<Spanned<String>>) -> Option<Length> {
        written.as_ref().map(|written| self.length(written))
    }

    fn rules(&mut self) -> Option<Rules> {
        let file: FailsafeFile = self.parse()?;
        let mut clocks = BTreeMap::new();
        for row in &file.clock {
            let id = row.get_ref().id.get_ref().clone();
            if !CLOCKS.contains(&id.as_str()) && id != IMM {
                let message = format!("there is no clock `{id}`; known: {}, {IMM}", CLOCKS.join(", "));
                self.error(row.get_ref().id.span(), message);
                continue;
            }
            let rule = self.clock(row.get_ref());
            if clocks.insert(id.clone(), rule.filter(|_| row.get_ref().watched)).is_some() {
                self.error(row.get_ref().id.span(), format!("the clock `{id}` is described twice; make it one [[clock]]"));
            }
        }
        for id in CLOCKS.iter().chain(&[IMM]).filter(|id| !clocks.contains_key(**id)) {
            let message = format!("the clock `{id}` is missing; write its [[clock]], with watched = false where it is not to be kept");
            self.error(0..0, message);
        }
        let nbs = self.nbs(&file.nbs);
        let escalation = [self.length(&file.escalation.manager), self.length(&file.escalation.lead)];
        Some(Rules {
            clocks: clocks.into_iter().filter_map(|(id, rule)| Some((id, rule?))).collect(),
            tasks_from: file.tasks_from,
            maternity_until: self.length(&file.maternity_until),
            escalation,
            neonatal_care_levels: file.suspend.neonatal_care_levels,
            suspended_until: self.length(&file.suspend.longest),
            nbs,
            hearing: file.hearing,
            due_date_codes: file.antenatal.due_date_codes,
            hepb: HepB {
                min_interval: in_days(self, &file.hepb.min_interval),
                flag_codes: file.hepb.flag_codes,
                test_codes: file.hepb.test_codes,
                new_schedule_from: file.hepb.new_schedule_from,
            },
            asq3: file.asq3,
            schedule: Schedule::default(),
            holidays: Holidays::default(),
            holiday_years: BTreeSet::new(),
            fingerprint: String::new(),
        })
    }

    fn clock(&mut self, row: &ClockRow) -> Option<ClockRule> {
        let listed = row.listed.as_ref();
        if let Some(listed) = listed.filter(|listed| listed.get_ref() != "start") {
            self.error(listed.span(), format!("`listed = \"{}\"` means nothing; write \"start\", or leave it out", listed.get_ref()));
        }
        Some(ClockRule {
            title: row.title.clone(),
            warn: self.length_of(&row.warn),
            due: self.length_of(&row.due),
            breach: self.length_of(&row.breach),
            missed: self.length_of(&row.missed),
            closes: self.length_of(&row.closes),
            is_always_listed: listed.is_some(),
            owner: row.owner,
            reason: row.reason.clone(),
            reason_moved: row.reason_moved.clone(),
            action: row.action.clone(),
            severity: row.severity.clone().unwrap_or_else(|| "001".to_owned()),
            reviews: row.reviews.clone(),
            source: row.source.clone(),
        })
    }

    fn nbs(&mut self, file: &NbsTable) -> Nbs {
        let mut repeat = BTreeMap::new();
        for (code, row) in &file.repeat {
            let due = match (&row.get_ref().age, &row.get_ref().after) {
                (Some(age), None) => RepeatDue::Age(self.length(age)),
                (None, Some(after)) => RepeatDue::After(self.length(after)),
                _ => {
                    self.error(row.span(), format!("the repeat of `{code}` needs either `age` or `after`"));
                    continue;
                }
            };
            repeat.insert(code.clone(), due);
        }
        if !repeat.contains_key("default") {
            self.error(0..0, "[nbs.repeat] needs `default`: when a repeat is due for every other sub-status");
        }
        let conditions = file.conditions.iter().map(|row| Conditions {
            names: row.names.clone(),
            dob_from: row.dob_from,
            dob_to: row.dob_to,
            hubs: row.hubs.clone(),
        });
        Nbs {
            final_status: file.final_status.clone(),
            closing: file.closing.clone(),
            cf_too_old: file.cf_too_old.clone(),
            cf_age_max: self.length(&file.cf_age_max),
            mover_first_known_after: self.length(&file.mover_first_known_after),
            conditions: conditions.collect(),
            repeat,
            no_repeat: file.no_repeat.clone(),
        }
    }

    fn holidays(&mut self) -> Option<(Holidays, BTreeSet<i16>)> {
        let file: HolidayFile = self.parse()?;
        let (mut days, mut years) = (BTreeSet::new(), BTreeSet::new());
        for row in &file.year {
            let HolidayYear { year, days: named } = row.get_ref();
            if !years.insert(*year) {
                self.error(row.span(), format!("the year {year} is there twice; make it one [[year]]"));
            }
            if let Some(other) = named.0.iter().find(|day| day.year() != *year) {
                self.error(row.span(), format!("{other} is no day of {year}"));
            }
            days.extend(named.0.iter().copied());
        }
        Some((Holidays { days }, years))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailsafeFile {
    #[serde(default, deserialize_with = "some_date")]
    tasks_from: Option<Date>,
    maternity_until: Spanned<String>,
    escalation: EscalationTable,
    suspend: SuspendTable,
    nbs: NbsTable,
    hearing: Hearing,
    antenatal: AntenatalTable,
    hepb: HepBTable,
    asq3: Asq3,
    clock: Vec<Spanned<ClockRow>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EscalationTable {
    manager: Spanned<String>,
    lead: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuspendTable {
    neonatal_care_levels: BTreeSet<String>,
    longest: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AntenatalTable {
    due_date_codes: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HepBTable {
    flag_codes: BTreeSet<String>,
    test_codes: BTreeSet<String>,
    min_interval: Spanned<String>,
    #[serde(deserialize_with = "date")]
    new_schedule_from: Date,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NbsTable {
    #[serde(rename = "final")]
    final_status: BTreeSet<String>,
    closing: BTreeSet<String>,
    cf_too_old: String,
    cf_age_max: Spanned<String>,
    mover_first_known_after: Spanned<String>,
    conditions: Vec<ConditionRow>,
    repeat: BTreeMap<String, Spanned<RepeatRow>>,
    #[serde(default)]
    no_repeat: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionRow {
    names: Vec<String>,
    #[serde(default, deserialize_with = "some_date")]
    dob_from: Option<Date>,
    #[serde(default, deserialize_with = "some_date")]
    dob_to: Option<Date>,
    #[serde(default)]
    hubs: Vec<HubName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepeatRow {
    age: Option<Spanned<String>>,
    after: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockRow {
    id: Spanned<String>,
    title: String,
    warn: Option<Spanned<String>>,
    due: Option<Spanned<String>>,
    breach: Option<Spanned<String>>,
    missed: Option<Spanned<String>>,
    closes: Option<Spanned<String>>,
    listed: Option<Spanned<String>>,
    owner: Owner,
    reason: Option<String>,
    reason_moved: Option<String>,
    action: Option<String>,
    severity: Option<String>,
    #[serde(default)]
    reviews: Vec<String>,
    source: String,
    #[serde(default = "yes")]
    watched: bool,
}

pub(super) fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HolidayFile {
    year: Vec<Spanned<HolidayYear>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HolidayYear {
    year: i16,
    days: Days,
}

struct Days(Vec<Date>);

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written: Vec<toml::value::Datetime> = Vec::deserialize(from)?;
        written.into_iter().map(civil::<D::Error>).collect::<Result<_, _>>().map(Self)
    }
}

/// A date as TOML writes it.
pub(super) fn date<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Date, D::Error> {
    civil(toml::value::Datetime::deserialize(from)?)
}

/// A date that may be absent.
pub(super) fn some_date<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Date>, D::Error> {
    date(from).map(Some)
}

fn civil<E: serde::de::Error>(written: toml::value::Datetime) -> Result<Date, E> {
    let text = written.to_string();
    text.parse().map_err(|_| E::custom(format!("`{text}` is no date; write 2026-01-05 without quotation marks")))
}

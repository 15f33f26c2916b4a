//! What should have come and did not: the clocks of a child, as a pure function of what is known, of the rules and of `now`.
//!
//! # In this folder
//!
//! - [`Facts`]: all that is known of a child: record, what stands of every screen, vaccination and review, hubs it was with.
//! - [`Rules`]: limits and schedule, data that a site can change.
//! - [`clocks`]: every clock that is kept for the child, where it stands, and why. [`Watched::next_change`] says when any of that
//!   changes by time alone.
//! - [`task_of`]: whom a late clock is a task of.
//! - `day`: dates, ages and deadlines; `newborn`, `services`, `doses`: what starts and ends each clock.
//!
//! # What always holds
//!
//! - Nothing is counted down: the same facts and the same `now` give the same answer, after a restart, for late messages, in
//!   whatever order they came (failsafe rules, section 1).
//! - Between two calls of [`clocks`] nothing changes before the earlier one's [`Watched::next_change`].
//! - Where no message can be expected, silence is not taken for "not done": [`ClockState::Unobservable`] (A32).
//!
//! # Not here
//!
//! No store, no clock, no hub directory: who acts for the child is a fact. Tasks are made and closed by the store.

pub mod day;
mod doses;
mod newborn;
mod rules;
mod schedule;
mod services;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::day::{Length, Start, date_of, start_of};
use crate::canon::{
    Appointment, BloodSpotResult, ChildStatus, EpisodeOfCare, HearingScreen, Immunisation, NipeExam, ObservationSet, Review,
};
use crate::identity::Record;
use crate::names::{HubName, Seq};

pub use rules::{CLOCKS, ClockRule, Owner, Rules, RulesError, Texts};
pub use schedule::{Dose, Doses, Schedule};

/// Something that stands on record, and the message that said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Said<T> {
    /// The message.
    pub seq: Seq,
    /// Event time.
    pub at: Timestamp,
    /// What was said.
    pub item: T,
}

/// A birth as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BirthTold {
    /// The message.
    pub seq: Seq,
    /// Event time.
    pub at: Timestamp,
    /// By the Spine.
    pub is_national: bool,
}

/// A time with one hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// `NE`; `OUT` and `UNKNOWN` too.
    pub hub: HubName,
    /// When the broker was told.
    pub from: Timestamp,
}

/// A clock that a person ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The clock.
    pub kind: String,
    /// It had begun at this moment: the same clock begun later is another matter.
    pub started: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// All that is known of a child and matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The merged record.
    pub record: Record,
    /// When the broker first heard of the child.
    pub first_known: Timestamp,
    /// Births told.
    pub births: Vec<BirthTold>,
    /// Hubs, oldest first; a hub that is still responsible stands last.
    pub stays: Vec<Stay>,
    /// The hub that works on the child now; none: nobody does.
    pub acting: Option<HubName>,
    /// Hubs whose store acknowledged the record, and when.
    pub acknowledged: Vec<(HubName, Timestamp)>,
    /// Blood spot samples.
    pub blood_spots: Vec<Said<BloodSpotResult>>,
    /// Hearing screens.
    pub hearing: Vec<Said<HearingScreen>>,
    /// Physical examinations.
    pub nipe: Vec<Said<NipeExam>>,
    /// Vaccinations.
    pub immunisations: Vec<Said<Immunisation>>,
    /// Reviews.
    pub reviews: Vec<Said<Review>>,
    /// Appointments.
    pub appointments: Vec<Said<Appointment>>,
    /// Services.
    pub episodes: Vec<Said<EpisodeOfCare>>,
    /// Other facts.
    pub observations: Vec<Said<ObservationSet>>,
    /// What persons closed.
    pub closings: Vec<Closing>,
}

/// Where a clock stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    /// Running.
    #[default]
    Pending,
    /// What was due has come.
    Satisfied,
    /// Does not apply to this child, or cannot be mended any more.
    Excluded,
    /// Too late.
    Breached,
    /// Stopped for a reason that may end.
    Suspended,
    /// Too late, as far as anybody can see: but no message could have come. A person looks (A32).
    Unobservable,
}

impl ClockState {
    /// The word in listings and in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Satisfied => "satisfied",
            Self::Excluded => "excluded",
            Self::Breached => "breached",
            Self::Suspended => "suspended",
            Self::Unobservable => "unobservable",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Satisfied, Self::Excluded, Self::Breached, Self::Suspended, Self::Unobservable];
        all.into_iter().find(|state| state.word() == word)
    }

    /// Somebody must do something.
    pub fn needs_somebody(self) -> bool {
        matches!(self, Self::Breached | Self::Unobservable)
    }
}

/// A clock of one child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// `NBS_RESULT`, `IMM_6IN1_1`.
    pub kind: String,
    /// What is watched, in words.
    pub title: String,
    /// When it began.
    pub started: Timestamp,
    /// From when on it is listed.
    pub listed_at: Option<Timestamp>,
    /// From when on it is near.
    pub warn_at: Option<Timestamp>,
    /// The first moment after the target.
    pub due_at: Option<Timestamp>,
    /// The first moment at which it is late.
    pub breach_at: Option<Timestamp>,
    /// The first moment at which it is late and missed.
    pub missed_at: Option<Timestamp>,
    /// The first moment at which nobody can mend it.
    pub closes_at: Option<Timestamp>,
    /// Where it stands.
    pub state: ClockState,
    /// Why it stands there.
    pub reason: String,
    /// The message that satisfied or excluded it.
    pub satisfied_by: Option<Seq>,
    /// Whom it is a task of.
    pub owner: &'static str,
    /// A task is raised where it is late.
    pub raises_task: bool,
    /// Where the rule comes from.
    pub source: String,
}

impl Clock {
    /// It is shown in lists: it needs somebody, or soon will.
    pub fn is_listed(&self, now: Timestamp) -> bool {
        let is_near = self.listed_at.is_some_and(|at| at <= now);
        self.state.needs_somebody() || (self.state == ClockState::Pending && is_near)
    }
}

/// The clocks of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// In the order of [`CLOCKS`], then those of the schedule.
    pub clocks: Vec<Clock>,
    /// The earliest moment after `now` at which a state, a listing or a task changes by time alone.
    pub next_change: Option<Timestamp>,
}

/// Every clock that is kept for a child, as it stands at `now`.
pub fn clocks(facts: &Facts, rules: &Rules, now: Timestamp) -> Watched {
    let born = facts.record.child.birth.date.as_ref().and_then(|date| date.civil());
    let Some(born) = born else { return without_birth(facts, rules, now) };
    let hour = facts.record.child.birth.time.as_ref().filter(|time| crate::canon::Precision::Minute <= time.precision);
    // A time of another day is somebody's mistake; the date is what the record stands by.
    let hour = hour.and_then(|time| time.timestamp()).filter(|at| date_of(*at) == born);
    let watch = Watch { facts, rules, now, today: date_of(now), born, birth: Start { date: born, at: hour } };
    let mut courses = newborn::courses(&watch);
    courses.extend(services::courses(&watch));
    courses.extend(doses::courses(&watch));
    let place = |course: &Course| CLOCKS.iter().position(|kind| *kind == course.kind).unwrap_or(CLOCKS.len());
    courses.sort_by_key(place);
    let mut next_change: Option<Timestamp> = doses::next_row(&watch);
    let clocks = courses.into_iter().map(|course| {
        let (clock, next) = watch.judge(course);
        next_change = [next_change, next].into_iter().flatten().min();
        clock
    });
    let clocks = clocks.collect();
    Watched { clocks, next_change }
}

/// Nothing can be counted from a birth that is not known to the day: a person looks.
fn without_birth(facts: &Facts, rules: &Rules, now: Timestamp) -> Watched {
    let today = date_of(now);
    let watch = Watch { facts, rules, now, today, born: today, birth: Start::on(today) };
    let course = Course {
        kind: "BIRTH_DATE".to_owned(),
        title: "date of birth known to the day".to_owned(),
        started: facts.first_known,
        listed: Some(facts.first_known),
        warn: None,
        due: None,
        breach: Some(facts.first_known),
        missed: None,
        closes: None,
        owner: Owner::ChildHealth,
        raises_task: true,
        source: "our".to_owned(),
        end: None,
        lacks: String::new(),
        turns: Vec::new(),
    };
    let why = "without a date of birth to the day nothing can be watched";
    let (clock, next_change) = watch.judge(course.ends(ClockState::Unobservable, why, None));
    Watched { clocks: vec![clock], next_change }
}

/// What a clock is judged by.
struct Watch<'a> {
    facts: &'a Facts,
    rules: &'a Rules,
    now: Timestamp,
    today: Date,
    born: Date,
    birth: Start,
}

/// How a clock ended, or why it stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    state: ClockState,
    reason: String,
    by: Option<Seq>,
}

/// A clock before it is judged.
#[derive(Clone, Debug)]
struct Course {
    kind: String,
    title: String,
    started: Timestamp,
    listed: Option<Timestamp>,
    warn: Option<Timestamp>,
    due: Option<Timestamp>,
    breach: Option<Timestamp>,
    missed: Option<Timestamp>,
    closes: Option<Timestamp>,
    owner: Owner,
    raises_task: bool,
    source: String,
    end: Option<End>,
    /// Why it is late or open, for people.
    lacks: String,
    /// Other moments at which it changes by itself.
    turns: Vec<Timestamp>,
}

impl Course {
    fn ends(mut self, state: ClockState, reason: impl Into<String>, by: Option<Seq>) -> Self {
        self.end = Some(End { state, reason: reason.into(), by });
        self
    }

    fn satisfied(self, reason: impl Into<String>, by: Seq) -> Self {
        self.ends(ClockState::Satisfied, reason, Some(by))
    }

    fn excluded(self, reason: impl Into<String>, by: Option<Seq>) -> Self {
        self.ends(ClockState::Excluded, reason, by)
    }

    fn lacking(mut self, what: impl Into<String>) -> Self {
        self.lacks = what.into();
        self
    }
}

impl Watch<'_> {
    /// The limits of a clock; none where it is not kept.
    fn rule(&self, kind: &str) -> Option<&ClockRule> {
        self.rules.clocks.get(kind)
    }

    /// A clock with the limits of its row, counted from `start`; `closes` is counted from birth.
    fn course(&self, kind: &str, start: Start) -> Option<Course> {
        self.course_like(kind, kind, start)
    }

    /// A clock with the limits of another row.
    fn course_like(&self, kind: &str, row: &str, start: Start) -> Option<Course> {
        let rule = self.rule(row)?;
        let holidays = &self.rules.holidays;
        let ends = |length: Option<Length>| length.map(|length| length.ends(start, holidays));
        let warn = rule.warn.map(|warn| warn.opens(start, holidays));
        Some(Course {
            kind: kind.to_owned(),
            title: rule.title.clone(),
            started: start.moment(),
            listed: if rule.is_always_listed { Some(start.moment()) } else { warn },
            warn,
            due: ends(rule.due),
            breach: ends(rule.breach),
            missed: ends(rule.missed),
            closes: rule.closes.map(|closes| closes.ends(self.birth, holidays)),
            owner: rule.owner,
            raises_task: true,
            source: rule.source.clone(),
            end: None,
            lacks: "nothing came".to_owned(),
            turns: Vec::new(),
        })
    }

    /// The first moment after the day at which the child is so old.
    fn age_ends(&self, age: Length) -> Timestamp {
        age.ends(self.birth, &self.rules.holidays)
    }

    fn judge(&self, course: Course) -> (Clock, Option<Timestamp>) {
        let Course { breach, closes, missed, .. } = course;
        let has_come = |at: Option<Timestamp>| at.is_some_and(|at| at <= self.now);
        let closed = self.facts.closings.iter().find(|closing| closing.kind == course.kind && closing.started == course.started);
        let satisfied = course.end.clone().filter(|end| end.state == ClockState::Satisfied);
        let by_person = closed.map(|_| End { state: ClockState::Satisfied, reason: "closed by a person".to_owned(), by: None });
        let by_time = || {
            let (state, reason) = if has_come(closes) {
                (ClockState::Excluded, "too late to be mended".to_owned())
            } else if has_come(breach) && course.raises_task {
                let missed = if has_come(missed) { "missed: " } else { "" };
                match self.unobservable() {
                    Some(why) => (ClockState::Unobservable, format!("{}; {why}", course.lacks)),
                    None => (ClockState::Breached, format!("{missed}{}", course.lacks)),
                }
            } else {
                (ClockState::Pending, course.lacks.clone())
            };
            End { state, reason, by: None }
        };
        let end = satisfied.or(by_person).or_else(|| self.stopped()).or_else(|| course.end.clone()).unwrap_or_else(by_time);
        let owner = self.owner(course.owner);
        let mut turns: Vec<Timestamp> = course.turns;
        if matches!(end.state, ClockState::Pending | ClockState::Breached | ClockState::Unobservable) {
            turns.extend([course.listed, course.warn, breach, missed, closes].into_iter().flatten());
            turns.extend(breach.into_iter().flat_map(|breach| self.escalations(breach)));
            if course.owner == Owner::Newborn {
                turns.push(self.age_ends(self.rules.maternity_until));
            }
        }
        let next = turns.into_iter().filter(|at| self.now < *at && *at < Timestamp::MAX).min();
        let clock = Clock {
            kind: course.kind,
            title: course.title,
            started: course.started,
            listed_at: course.listed,
            warn_at: course.warn,
            due_at: course.due,
            breach_at: breach,
            missed_at: missed,
            closes_at: closes,
            state: end.state,
            reason: end.reason,
            satisfied_by: end.by,
            owner,
            raises_task: course.raises_task,
            source: course.source,
        };
        (clock, next)
    }

    /// Who is asked now.
    fn owner(&self, owner: Owner) -> &'static str {
        match owner {
            Owner::Newborn if self.age_ends(self.rules.maternity_until) <= self.now => Owner::HealthVisiting.word(),
            other => other.word(),
        }
    }

    fn escalations(&self, breach: Timestamp) -> Vec<Timestamp> {
        self.rules.escalation.iter().map(|after| later(breach, *after)).collect()
    }

    /// Why nothing is counted for this child at all (identity rules, section 7; failsafe rules, section 2).
    fn stopped(&self) -> Option<End> {
        let child = &self.facts.record.child;
        let death = child.death.as_ref();
        let stop = |state, reason: &str| Some(End { state, reason: reason.to_owned(), by: None });
        if child.birth.is_stillbirth() || death.is_some_and(|death| death.stillbirth) || child.status == Some(ChildStatus::Stillborn) {
            return stop(ClockState::Excluded, "stillbirth");
        }
        match death.filter(|death| death.is_told()) {
            Some(death) if death.status.as_deref() == Some("formal") => return stop(ClockState::Excluded, "died"),
            Some(_) => return stop(ClockState::Suspended, "a death was told"),
            None => {}
        }
        match child.status {
            Some(ChildStatus::Merged) => return stop(ClockState::Suspended, "another record goes on in the place of this one"),
            Some(ChildStatus::Invalidated) => return stop(ClockState::Suspended, "the record was invalidated"),
            Some(ChildStatus::Sealed) => return stop(ClockState::Suspended, "the record is sealed"),
            _ if child.flags.sensitivity.as_deref() == Some("invalid") => return stop(ClockState::Suspended, "the record was invalidated"),
            _ => {}
        }
        if self.facts.acting.is_none() {
            return stop(ClockState::Suspended, "outside the area of all hubs");
        }
        None
    }

    /// Why silence says nothing: no event comes for a child with an S-flag (STU3 events, section 1).
    fn unobservable(&self) -> Option<&'static str> {
        let sensitivity = self.facts.record.child.flags.sensitivity.as_deref();
        matches!(sensitivity, Some("restricted" | "very_restricted")).then_some("no event comes for a restricted child: look by hand")
    }

    /// The child is in neonatal care as far as is known, until the age at which that is taken to be over; with that moment.
    fn in_neonatal_care(&self) -> Option<Timestamp> {
        let level = self.facts.record.child.birth.neonatal_care_level.as_ref()?;
        let over = self.age_ends(self.rules.suspended_until);
        (self.rules.neonatal_care_levels.contains(level) && self.now < over).then_some(over)
    }

    /// Stands still while the child is in neonatal care; what is late by then is late from then on.
    fn waiting_for_discharge(&self, mut course: Course) -> Course {
        let Some(over) = self.in_neonatal_care().filter(|_| course.end.is_none()) else { return course };
        course.turns.push(over);
        course.ends(ClockState::Suspended, "in neonatal care", None)
    }
}

/// A moment so much later: days and months by local dates at the same first moment of the day, hours as they pass.
fn later(at: Timestamp, length: Length) -> Timestamp {
    match length {
        Length::Hours(hours) => at.saturating_add(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MAX),
        other => {
            let zoned = at.to_zoned(day::london());
            let date = other.after(zoned.date(), &day::Holidays::default());
            day::local(date, zoned.time())
        }
    }
}

/// Whom a late clock is a task of, and how urgent it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskNow {
    /// `maternity`, `HV`, `CHO`, `school_nursing`.
    pub owner: &'static str,
    /// 001 service, 002 manager, 003 lead.
    pub escalation: &'static str,
    /// 001 warning, 002 resource, 003 directive.
    pub severity: String,
    /// Failsafe alert: reason.
    pub reason: Option<String>,
    /// Failsafe alert: action required.
    pub action: Option<String>,
}

/// The task of a clock, where it needs somebody now (failsafe rules, section 2: escalation 001 at breach, 002 and 003 later).
pub fn task_of(clock: &Clock, facts: &Facts, rules: &Rules, now: Timestamp) -> Option<TaskNow> {
    let breach = clock.breach_at.filter(|_| clock.state.needs_somebody() && clock.raises_task)?;
    if rules.tasks_from.is_some_and(|from| breach < start_of(from)) {
        return None;
    }
    let [manager, lead] = rules.escalation.map(|after| later(breach, after));
    let escalation = if lead <= now {
        "003"
    } else if manager <= now {
        "002"
    } else {
        "001"
    };
    let row = if clock.kind.starts_with("IMM_") { "IMM" } else { clock.kind.as_str() };
    let rule = rules.clocks.get(row);
    let has_moved = 1 < facts.stays.len();
    let reason = rule.and_then(|rule| rule.reason_moved.clone().filter(|_| has_moved).or_else(|| rule.reason.clone()));
    Some(TaskNow {
        owner: clock.owner,
        escalation,
        severity: rule.map_or_else(|| "001".to_owned(), |rule| rule.severity.clone()),
        reason,
        action: rule.and_then(|rule| rule.action.clone()),
    })
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_schedule;

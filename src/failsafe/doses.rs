//! The clocks of the routine schedule: one for each dose that holds for the child (failsafe rules, section 3).

use super::day::{Length, end_of, plus_days, start_of};
use super::schedule::{Due, Planned};
use super::{ClockState, Course, Owner, Watch};

pub(super) fn courses(watch: &Watch<'_>) -> Vec<Course> {
    let Some(rule) = watch.rule("IMM") else { return Vec::new() };
    let schedule = &watch.rules.schedule;
    let doses = schedule.doses(&watch.facts.immunisations);
    let planned = schedule.plan(watch.born, watch.today, &doses);
    let early = schedule.early.unwrap_or(Length::Days(0));
    let mut courses: Vec<Course> = planned.iter().map(|one| course(watch, one, &planned, early, (rule.owner, &rule.source))).collect();
    // What nobody knows is not counted, and must not look as if nothing had been given.
    for (seqs, what) in [(&doses.unknown, "a vaccination whose product nobody knows"), (&doses.undated, "a vaccination without a date")] {
        // It begins at the newest one: what a person closed before it came was another matter.
        let Some(newest) = seqs.iter().max() else { continue };
        let at = watch.facts.immunisations.iter().find(|said| said.seq == *newest).map_or(watch.facts.first_known, |said| said.at);
        let kind = if what.ends_with("knows") { "IMM_UNKNOWN" } else { "IMM_UNDATED" };
        let is_known = kind == "IMM_UNDATED";
        let review = Course {
            kind: kind.to_owned(),
            title: what.to_owned(),
            started: at,
            listed: Some(at),
            warn: None,
            due: None,
            breach: Some(at),
            missed: None,
            closes: None,
            owner: rule.owner,
            raises_task: !is_known,
            source: rule.source.clone(),
            end: None,
            lacks: format!("{what}: it is listed and not counted"),
            turns: Vec::new(),
        };
        courses.push(if is_known {
            review
        } else {
            review.ends(ClockState::Unobservable, format!("{what}: a person must look"), Some(*newest))
        });
    }
    courses
}

/// When a row begins to hold that does not hold yet.
pub(super) fn next_row(watch: &Watch<'_>) -> Option<jiff::Timestamp> {
    watch.rule("IMM")?;
    watch.rules.schedule.next_season(watch.born, watch.today).map(end_of)
}

fn course(watch: &Watch<'_>, one: &Planned<'_>, all: &[Planned<'_>], early: Length, (owner, source): (Owner, &str)) -> Course {
    let days = if let Length::Days(days) = early { days } else { 0 };
    let due = start_of(one.due);
    let mut course = Course {
        kind: format!("IMM_{}", one.row.id),
        title: one.row.title.clone(),
        started: watch.birth.moment(),
        listed: Some(start_of(plus_days(one.due, -days))),
        warn: Some(due),
        due: Some(due),
        breach: Some(end_of(one.overdue)),
        missed: None,
        closes: one.last.map(end_of),
        owner,
        raises_task: one.row.raises_task,
        source: source.to_owned(),
        end: None,
        lacks: "not given, as far as is known".to_owned(),
        turns: Vec::new(),
    };
    if let Some((_, seq)) = one.given {
        course = course.satisfied("given", seq);
    } else if one.is_enough {
        course = course.ends(ClockState::Excluded, "so many doses were given that it is not required", None);
    } else if let Some((why, seq)) = one.not_given {
        course = course.excluded(why, Some(seq));
    } else if let Some(begun_by) = not_begun(one, all).map(end_of).filter(|over| *over <= watch.now) {
        course.turns.push(begun_by);
        course = course.excluded("not_required_age: the course was not begun in time", None);
    } else if one.last.map(end_of).is_some_and(|over| over <= watch.now) {
        course = course.excluded("not_required_age: too old for it", None);
    } else {
        course.turns.extend(not_begun(one, all).map(end_of));
    }
    // A new season is another one: the dose of the last one says nothing of it.
    if let (Due::Season { .. }, Some(last)) = (one.row.due, one.last) {
        course.turns.push(end_of(last));
        course.started = due;
    }
    course
}

/// The last day on which an earlier dose of the same course, which was not given, could have been.
fn not_begun(one: &Planned<'_>, all: &[Planned<'_>]) -> Option<jiff::civil::Date> {
    let is_earlier =
        |other: &&Planned<'_>| other.row.antigens == one.row.antigens && other.row.dose < one.row.dose && other.given.is_none();
    all.iter().filter(is_earlier).filter_map(|other| other.last).max()
}

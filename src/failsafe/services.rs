//! Who looks after the child, and what they do for it: health visiting, practice, hub, NHS number, birth notification, and the
//! selective vaccines (failsafe rules, sections 2 and 4).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;

use super::day::{Start, date_of, days_between, end_of};
use super::newborn::Spots;
use super::{ClockState, Course, Dose, Said, Watch};
use crate::canon::{EpisodeOfCare, GpRegistration, Observation, Review};
use crate::names::Seq;

pub(super) fn courses(watch: &Watch<'_>) -> Vec<Course> {
    let mut courses = Vec::new();
    courses.extend(antenatal(watch));
    courses.extend(new_birth_visit(watch));
    courses.extend(["HV_68", "HV_12M"].into_iter().filter_map(|kind| review(watch, kind)));
    courses.extend(two_years(watch));
    courses.extend(practice(watch));
    courses.extend(allocated(watch));
    courses.extend(acknowledged(watch));
    courses.extend(number(watch));
    courses.extend(notified(watch));
    courses.extend(hepatitis_b(watch));
    courses.extend(bcg(watch));
    courses
}

// ---- health visiting ---------------------------------------------------------------------------------------------------

fn attended(said: &&Said<Review>) -> bool {
    !matches!(said.item.attended.as_deref(), Some("dna" | "cancelled"))
}

/// The first attended review of the clock's types.
fn reviewed<'w>(watch: &'w Watch<'_>, kind: &str) -> Option<&'w Said<Review>> {
    let types = &watch.rule(kind)?.reviews;
    let is_one = |said: &&Said<Review>| said.item.kind.as_ref().is_some_and(|kind| types.contains(kind)) && attended(said);
    watch.facts.reviews.iter().filter(is_one).min_by_key(|said| said.seq)
}

fn review(watch: &Watch<'_>, kind: &str) -> Option<Course> {
    let course = watch.course(kind, watch.birth)?.lacking("no review of this kind");
    Some(match reviewed(watch, kind) {
        Some(said) => course.satisfied("the review took place", said.seq),
        None => course,
    })
}

/// G-HV: from 28 weeks, 84 days before the expected date. Kept only where a booking is known.
fn antenatal(watch: &Watch<'_>) -> Option<Course> {
    let codes = &watch.rules.due_date_codes;
    let date = |item: &Observation| {
        let is_due_date = item.code.as_ref().is_some_and(|code| codes.contains(&code.code));
        let text = item.text.as_deref().or(item.value.as_ref().map(|value| value.code.as_str())).filter(|_| is_due_date)?;
        text.trim().parse::<Date>().ok()
    };
    let expected = items(watch).find_map(|(_, item)| date(item))?;
    let mut course = watch.course("HV_ANTENATAL", Start::on(super::day::plus_days(expected, -84)))?.lacking("no antenatal visit");
    course.listed = Some(course.started);
    course.breach = Some(watch.birth.moment());
    // After the birth it is the new birth visit that matters.
    course.closes = watch.rule("HV_NBV").and_then(|rule| rule.due).map(|due| due.ends(watch.birth, &watch.rules.holidays));
    let before = |said: &&Said<Review>| said.item.at.as_ref().and_then(|at| at.date()).is_some_and(|on| on <= watch.born);
    Some(match reviewed(watch, "HV_ANTENATAL").filter(before) {
        Some(said) => course.satisfied("the visit took place", said.seq),
        None => course,
    })
}

/// G-HV: 10 to 14 days; still in neonatal care it waits.
fn new_birth_visit(watch: &Watch<'_>) -> Option<Course> {
    review(watch, "HV_NBV").map(|course| watch.waiting_for_discharge(course))
}

/// G-HV: the review and at least one whole set of ASQ-3 scores.
fn two_years(watch: &Watch<'_>) -> Option<Course> {
    let course = watch.course("HV_2Y", watch.birth)?;
    let rule = watch.rules.asq3;
    let mut sets: BTreeMap<(Seq, i64), BTreeSet<&str>> = BTreeMap::new();
    for said in watch.facts.reviews.iter().filter(attended) {
        for score in said.item.scores.iter().filter(|score| score.instrument == "ASQ-3") {
            let (Some(months), Some(domain)) = (score.months, score.domain.as_deref()) else { continue };
            sets.entry((said.seq, months)).or_default().insert(domain);
        }
    }
    let set = sets.iter().find(|((_, months), domains)| rule.months_min <= *months && rule.domains <= domains.len());
    Some(match (reviewed(watch, "HV_2Y"), set) {
        (Some(said), Some(_)) => course.satisfied("the review took place, with ASQ-3", said.seq),
        (Some(_), None) => course.lacking("reviewed, but no whole set of ASQ-3 scores"),
        (None, _) => course.lacking("no review of this kind"),
    })
}

// ---- who looks after the child -----------------------------------------------------------------------------------------

/// NEMS reason 003: a registered practice, from birth or from de-registration on.
fn practice(watch: &Watch<'_>) -> Option<Course> {
    let gp = watch.facts.record.child.gp.as_ref();
    let practice = gp.and_then(GpRegistration::practice);
    let said = watch.facts.record.said.get("gp.practice_ods");
    // Absent is unknown and counted from birth; cleared is a de-registration on that day. A code for "none" is said again with every
    // message, which must not begin the clock anew: it counts from its start where that is told, else from birth.
    let coded = gp.filter(|gp| gp.practice_ods.is_some());
    let ended = match coded {
        Some(gp) => gp.from.as_ref().and_then(|from| from.timestamp()),
        None => said.and_then(|said| Timestamp::from_microsecond(said.at_us).ok()),
    };
    let ended = ended.filter(|at| practice.is_none() && watch.birth.moment() < *at);
    let course = watch.course("GP_REG", ended.map_or(watch.birth, Start::at))?;
    Some(match (practice, said) {
        (Some(_), said) => course.ends(ClockState::Satisfied, "registered", said.map(|said| Seq(said.seq))),
        (None, _) if coded.is_some() => course.lacking("not registered with any practice, by its code"),
        (None, Some(_)) => course.lacking("de-registered, and not registered since"),
        (None, None) => course.lacking("no practice is known"),
    })
}

/// From when a service is to be found: the birth, or the newest move.
fn since_birth_or_move(watch: &Watch<'_>) -> Start {
    match watch.facts.stays.as_slice() {
        [.., _, last] => Start::at(last.from),
        _ => watch.birth,
    }
}

/// NEMS reasons 001 and 006: a health visiting team has the child.
fn allocated(watch: &Watch<'_>) -> Option<Course> {
    let start = since_birth_or_move(watch);
    let course = watch.course("HV_ALLOC", start)?.lacking("no health visiting team");
    let has_moved = 1 < watch.facts.stays.len();
    let stands = |said: &&Said<EpisodeOfCare>| {
        let episode = &said.item;
        let is_open = episode.to.as_ref().and_then(|to| to.date()).is_none_or(|to| watch.today <= to)
            && !matches!(episode.status.as_deref(), Some("finished" | "cancelled" | "entered-in-error"));
        // The team of the place that was left is none of the new one.
        let from = episode.from.as_ref().and_then(|from| from.date()).unwrap_or_else(|| date_of(said.at));
        episode.service.as_deref() == Some("HV") && is_open && (!has_moved || start.date <= from)
    };
    let mut ends = watch.facts.episodes.iter().filter_map(|said| said.item.to.as_ref()?.date()).map(end_of).collect::<Vec<_>>();
    let found = watch.facts.episodes.iter().filter(stands).min_by_key(|said| said.seq);
    let mut course = match found {
        Some(said) => course.satisfied("a health visiting team has the child", said.seq),
        None => course,
    };
    course.turns.append(&mut ends);
    Some(course)
}

/// NEMS reasons 002, 007, 008: the hub has the record; its store said so.
fn acknowledged(watch: &Watch<'_>) -> Option<Course> {
    let acting = watch.facts.acting.as_ref()?;
    let stay = watch.facts.stays.last()?;
    let course = watch.course("CHO_ALLOC", Start::at(stay.from))?.lacking(format!("the store of {acting} has not acknowledged the record"));
    let has = watch.facts.acknowledged.iter().any(|(hub, at)| hub == acting && stay.from <= *at);
    Some(if has { course.ends(ClockState::Satisfied, "the hub's store has the record", None) } else { course })
}

/// (our): an NHS number with status 01, soon after the first record.
fn number(watch: &Watch<'_>) -> Option<Course> {
    let course = watch.course("NHSNO", Start::at(watch.facts.first_known))?;
    Some(match watch.facts.record.child.nhs_number() {
        Some((_, Some("01"))) => course.ends(ClockState::Satisfied, "the NHS number is verified", None),
        Some(_) => course.lacking("the NHS number is not verified"),
        None => course.lacking("no NHS number"),
    })
}

/// (our; legal duty of 36 hours, mem): a birth that a hospital told is told by the Spine too.
fn notified(watch: &Watch<'_>) -> Option<Course> {
    let births = &watch.facts.births;
    births.iter().find(|birth| !birth.is_national)?;
    let course = watch.course("BIRTH_NOTIF", watch.birth)?.lacking("the hospital told the birth, the Spine did not");
    Some(match births.iter().filter(|birth| birth.is_national).min_by_key(|birth| birth.seq) {
        Some(told) => course.satisfied("the Spine told the birth", told.seq),
        None => course,
    })
}

// ---- selective vaccines ------------------------------------------------------------------------------------------------

/// Facts that were said one by one: in sets, and beside reviews.
fn items<'w>(watch: &'w Watch<'_>) -> impl Iterator<Item = (Seq, &'w Observation)> {
    let sets = watch.facts.observations.iter().flat_map(|said| said.item.items.iter().map(|item| (said.seq, item)));
    let beside = watch.facts.reviews.iter().flat_map(|said| said.item.observations.iter().map(|item| (said.seq, item)));
    sets.chain(beside)
}

/// "No" in the ways in which senders say it: nothing is concluded from such a value.
fn denies(item: &Observation) -> bool {
    let said = item.text.as_deref().or(item.value.as_ref().map(|value| value.code.as_str())).unwrap_or_default();
    ["n", "no", "false", "0", "neg", "negative"].contains(&said.trim().to_ascii_lowercase().as_str())
}

fn coded<'w>(watch: &'w Watch<'_>, codes: &'w BTreeSet<String>) -> impl Iterator<Item = (Seq, &'w Observation)> {
    items(watch).filter(|(_, item)| item.code.as_ref().is_some_and(|code| codes.contains(&code.code)))
}

/// G-IMM: mother with hepatitis B. Doses of the antigen are counted, whatever the product.
fn hepatitis_b(watch: &Watch<'_>) -> Vec<Course> {
    let rules = &watch.rules.hepb;
    if !coded(watch, &rules.flag_codes).any(|(_, item)| !denies(item)) {
        return Vec::new();
    }
    let doses = watch.rules.schedule.doses(&watch.facts.immunisations);
    let mut given: Vec<&Dose> = doses.given.iter().filter(|dose| dose.antigens.contains("hepatitis_b")).collect();
    given.sort_by_key(|dose| (dose.on, dose.seq));
    let nth = |course: Course, dose: Option<&&Dose>, lacks: &str| match dose {
        Some(dose) => course.satisfied("given", dose.seq),
        None => course.lacking(lacks),
    };
    let year_old = date_of(super::day::Length::Months(12).opens(watch.birth, &watch.rules.holidays));
    let mut courses = Vec::new();
    courses.extend(watch.course("HEPB_0", watch.birth).map(|course| {
        let mut course = nth(course, given.first(), "no dose of hepatitis B vaccine");
        course.listed = Some(course.started);
        course
    }));
    // One dose that two senders tell with some days between is one dose.
    let apart = |first: &&Dose| given.iter().find(|dose| rules.min_interval <= days_between(first.on, dose.on));
    let second = given.first().and_then(apart);
    courses.extend(watch.course("HEPB_4W", watch.birth).map(|course| nth(course, second, "no second dose of hepatitis B vaccine")));
    let is_old_schedule = watch.born < rules.new_schedule_from;
    if is_old_schedule {
        let at_a_year = given.iter().find(|dose| year_old <= dose.on);
        courses.extend(watch.course("HEPB_12M", watch.birth).map(|course| nth(course, at_a_year, "no dose at 12 months")));
    }
    let tested = coded(watch, &rules.test_codes).map(|(seq, _)| seq).min();
    courses.extend(watch.course("HEPB_TEST", watch.birth).map(|mut course| {
        if is_old_schedule {
            let year = super::day::Length::Months(12);
            course.warn = Some(year.opens(watch.birth, &watch.rules.holidays));
        }
        match tested {
            Some(seq) => course.satisfied("tested", seq),
            None => course.lacking("no HBsAg test"),
        }
    }));
    courses
}

/// G-IMM: BCG at about 28 days for eligible babies, after the SCID result where SCID is screened for.
fn bcg(watch: &Watch<'_>) -> Option<Course> {
    let by_exam = watch.facts.nipe.iter().any(|said| said.item.bcg_eligible == Some(true));
    if !by_exam && watch.facts.record.child.flags.bcg_eligible != Some(true) {
        return None;
    }
    let course = watch.course("BCG", watch.birth)?.lacking("eligible, and not given");
    let doses = watch.rules.schedule.doses(&watch.facts.immunisations);
    if let Some(dose) = doses.given.iter().find(|dose| dose.antigens.contains("tuberculosis")) {
        return Some(course.satisfied("given", dose.seq));
    }
    let spots = Spots::of(watch);
    let scid = spots.by_condition.get("SCID").map(Vec::as_slice).unwrap_or_default();
    let suspected = scid.iter().rfind(|one| one.status() == "08");
    let ended = spots.ended("SCID");
    let cleared = ended.as_ref().filter(|end| end.is_final && end.by.status() == "04").map(|end| end.by);
    Some(match (suspected, cleared) {
        (Some(one), Some(clear)) if one.order() < clear.order() => {
            course.lacking("SCID was suspected and a later sample says otherwise: a doctor decides")
        }
        (Some(one), _) => course.excluded("contraindicated: SCID is suspected", Some(one.seq())),
        (None, Some(_)) => course,
        (None, None) if scid.is_empty() && !spots.conditions().contains(&"SCID") => course,
        (None, None) => waiting_for_scid(watch, course, ended.is_some()),
    })
}

/// A result that will not come any more is not waited for, and one that may come not longer than until the vaccine is late: a clock that
/// waits for ever is silence.
fn waiting_for_scid(watch: &Watch<'_>, mut course: Course, is_over: bool) -> Course {
    let late = course.breach.unwrap_or(Timestamp::MAX);
    if is_over || late <= watch.now {
        return course.lacking("no SCID result: a doctor decides");
    }
    course.turns.push(late);
    course.ends(ClockState::Suspended, "waits for the SCID result", None)
}

//! Newborn screening: blood spot, hearing, physical examination (failsafe rules, section 2, rows NBS_*, HEAR*, NIPE_*).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::day::{Start, date_of, plus_days};
use super::rules::RepeatDue;
use super::{ClockState, Course, Said, Watch};
use crate::canon::{BloodSpotResult, ConditionOutcome, HearingScreen, NipeExam, NipeFinding, ObservationSet, ResultStatus, Sex};
use crate::names::{HubName, Seq};

/// An outcome of a condition, with the moment of its sample.
pub(super) struct Outcome<'a> {
    sampled: Timestamp,
    said: &'a Said<BloodSpotResult>,
    outcome: &'a ConditionOutcome,
}

impl Outcome<'_> {
    pub(super) fn status(&self) -> &str {
        self.outcome.nbs_status.as_deref().unwrap_or_default()
    }

    pub(super) fn seq(&self) -> Seq {
        self.said.seq
    }

    /// Its place among the samples of a condition.
    pub(super) fn order(&self) -> (Timestamp, Timestamp, Seq) {
        (self.sampled, self.said.at, self.said.seq)
    }
}

/// How a condition's screening ended.
pub(super) struct Ended<'o, 'a> {
    /// What ended it.
    pub(super) by: &'o Outcome<'a>,
    /// With a result; otherwise for a reason.
    pub(super) is_final: bool,
}

/// Events that say where a card is.
const TAKEN: &str = "blood-spot-sample-taken";
const RECEIVED: &str = "blood-spot-card-received";

pub(super) fn courses(watch: &Watch<'_>) -> Vec<Course> {
    let spots = Spots::of(watch);
    let mut courses = Vec::new();
    courses.extend(spots.sample());
    courses.extend(spots.receipt());
    courses.extend(spots.result());
    courses.extend(spots.all());
    courses.extend(spots.repeat());
    courses.extend(spots.mover());
    courses.extend(spots.decline());
    courses.extend(hearing(watch));
    courses.extend(referral(watch));
    courses.extend(examination(watch, "NIPE_72", "newborn_72h"));
    courses.extend(examination(watch, "NIPE_68", "infant_6_8w"));
    courses
}

/// Blood spot samples of a child.
pub(super) struct Spots<'a> {
    watch: &'a Watch<'a>,
    /// Cards of this child: without an outcome so far, or with one that stands. A card of which every outcome was taken back was another
    /// child's, or nobody's.
    cards: Vec<&'a Said<BloodSpotResult>>,
    /// Outcomes that stand, by condition, oldest sample first.
    pub(super) by_condition: BTreeMap<&'a str, Vec<Outcome<'a>>>,
}

impl<'a> Spots<'a> {
    pub(super) fn of(watch: &'a Watch<'a>) -> Self {
        let stands = |outcome: &&ConditionOutcome| !outcome.result_status.takes_back();
        let is_own = |said: &&Said<BloodSpotResult>| said.item.outcomes.is_empty() || said.item.outcomes.iter().any(|one| stands(&one));
        let cards: Vec<&Said<BloodSpotResult>> = watch.facts.blood_spots.iter().filter(is_own).collect();
        let mut by_condition: BTreeMap<&str, Vec<Outcome<'_>>> = BTreeMap::new();
        for said in cards.iter().copied() {
            for outcome in said.item.outcomes.iter().filter(stands) {
                by_condition.entry(outcome.condition.as_str()).or_default().push(Outcome { sampled: sampled(said), said, outcome });
            }
        }
        for outcomes in by_condition.values_mut() {
            outcomes.sort_by_key(Outcome::order);
        }
        Self { watch, cards, by_condition }
    }

    /// Every outcome that stands.
    fn outcomes(&self) -> impl Iterator<Item = &Outcome<'a>> {
        self.by_condition.values().flatten()
    }

    /// What is told of a card without its outcomes (Digital Child Health: blood-spot-sample-taken, blood-spot-card-received).
    fn told(&self, kinds: &'static [&'static str]) -> impl Iterator<Item = &'a Said<ObservationSet>> {
        self.watch.facts.observations.iter().filter(|said| said.item.kind.as_deref().is_some_and(|kind| kinds.contains(&kind)))
    }

    /// The first message that proves a sample: one with an outcome that stands, or one that says when it was taken or received.
    fn evidence(&self) -> Option<Seq> {
        let has_sample = |said: &&&Said<BloodSpotResult>| !said.item.outcomes.is_empty() || said.item.sample.taken.is_some();
        let first = self.cards.iter().filter(has_sample).min_by_key(|said| (sampled(said), said.seq));
        let told = || self.told(&[TAKEN, RECEIVED]).map(|said| said.seq).min();
        first.map(|said| said.seq).or_else(told)
    }

    /// G-NBS: sample on day 5, at the latest day 8.
    fn sample(&self) -> Option<Course> {
        let course = self.watch.course("NBS_SAMPLE", self.watch.birth)?.lacking("no sample, no outcome, no decline");
        Some(match self.evidence() {
            Some(seq) => course.satisfied("a sample or an outcome is on record", seq),
            None if self.is_for_mover() => course.excluded("moved in: see NBS_MOVER", None),
            None => course,
        })
    }

    /// G-NBS: received by the laboratory within three working days of the sample. 01 or any outcome says so.
    fn receipt(&self) -> Option<Course> {
        let taken = |said: &&Said<BloodSpotResult>| Some((said.item.sample.taken.as_ref()?.date()?, said.seq));
        let told = |said: &Said<ObservationSet>| Some((said.item.at.as_ref()?.date()?, said.seq));
        let of_laboratory = self.cards.iter().filter_map(taken);
        let (on, _) = of_laboratory.chain(self.told(&[TAKEN]).filter_map(told)).max()?;
        let course = self.watch.course("NBS_RECEIPT", Start::on(on))?.lacking("taken, and not received by the laboratory");
        let has_it = |said: &&&Said<BloodSpotResult>| {
            let is_this = date_of(sampled(said)) >= on;
            is_this && (said.item.sample.received.is_some() || !said.item.outcomes.is_empty())
        };
        let laboratory = self.cards.iter().filter(has_it).map(|said| said.seq);
        let card = self.told(&[RECEIVED]).filter(|said| on <= date_of(said.at)).map(|said| said.seq);
        Some(match laboratory.chain(card).min() {
            Some(seq) => course.satisfied("the laboratory has it", seq),
            None => course,
        })
    }

    /// How screening for a condition ended: a final outcome of any sample, else what the newest sample says.
    pub(super) fn ended(&self, condition: &str) -> Option<Ended<'_, 'a>> {
        let nbs = &self.watch.rules.nbs;
        let outcomes = self.by_condition.get(condition)?;
        let is_final = |one: &&Outcome<'_>| {
            let counts = matches!(one.outcome.result_status, ResultStatus::Final | ResultStatus::Corrected);
            counts && one.outcome.nbs_status.as_ref().is_some_and(|status| nbs.final_status.contains(status))
        };
        if let Some(by) = outcomes.iter().rev().find(is_final) {
            return Some(Ended { by, is_final: true });
        }
        let newest = outcomes.last()?;
        let code = newest.outcome.nbs_substatus.as_ref().or(newest.outcome.nbs_status.as_ref())?;
        let closes = nbs.closing.contains(code) || (condition == "CF" && *code == nbs.cf_too_old);
        closes.then_some(Ended { by: newest, is_final: false })
    }

    /// G-NBS S01a: a conclusive PKU result by day 17; 03 is none.
    fn result(&self) -> Option<Course> {
        let course = self.watch.course("NBS_RESULT", self.watch.birth)?.lacking(self.lacks_of("PKU"));
        Some(match self.ended("PKU") {
            Some(end) if end.is_final => course.satisfied("PKU has a conclusive outcome", end.by.seq()),
            Some(end) => course.satisfied("PKU is not screened for, with a reason that ends it", end.by.seq()),
            None if self.is_for_mover() => course.excluded("moved in: see NBS_MOVER", None),
            None => course,
        })
    }

    fn lacks_of(&self, condition: &str) -> String {
        let newest = self.by_condition.get(condition).and_then(|outcomes| outcomes.last());
        let code = newest.and_then(|one| one.outcome.nbs_substatus.as_deref().or(one.outcome.nbs_status.as_deref()));
        code.map_or_else(|| format!("no outcome of {condition}"), |code| format!("{condition} stands at {code}"))
    }

    /// A39: what this baby is screened for, by date of birth and hub.
    pub(super) fn conditions(&self) -> Vec<&'a str> {
        let (born, acting) = (self.watch.born, self.watch.facts.acting.as_ref());
        let holds = |row: &&super::rules::Conditions| {
            let in_time = row.dob_from.is_none_or(|from| from <= born) && row.dob_to.is_none_or(|to| born <= to);
            in_time && (row.hubs.is_empty() || acting.is_some_and(|acting| row.hubs.contains(acting)))
        };
        let rows = self.watch.rules.nbs.conditions.iter().filter(holds);
        rows.flat_map(|row| row.names.iter().map(String::as_str)).collect()
    }

    /// G-NBS S02: none of the conditions may stay without a final outcome.
    fn all(&self) -> Option<Course> {
        let mut course = self.watch.course("NBS_ALL", self.watch.birth)?;
        let conditions = self.conditions();
        let cf_limit = self.watch.age_ends(self.watch.rules.nbs.cf_age_max);
        let first = self.cards.iter().map(|said| sampled(said)).min();
        // A first sample after eight weeks is not tested for CF; without a sample it can be no other.
        let without_cf = first.map_or(cf_limit <= self.watch.now, |first| cf_limit <= first);
        if first.is_none() {
            course.turns.push(cf_limit);
        }
        let missing: Vec<&str> =
            conditions.iter().copied().filter(|condition| !(without_cf && *condition == "CF") && self.ended(condition).is_none()).collect();
        if !missing.is_empty() {
            let course = course.lacking(format!("no final outcome of {}", missing.join(", ")));
            let moved = self.is_for_mover() && self.evidence().is_none();
            return Some(if moved { course.excluded("moved in: see NBS_MOVER", None) } else { course });
        }
        let last = self.outcomes().max_by_key(|one| (one.sampled, one.said.seq)).map(|one| one.said.seq);
        Some(course.ends(ClockState::Satisfied, "every condition has a final outcome", last))
    }

    /// G-STAT: 03 asks for another sample, at a time that depends on why (A21).
    fn repeat(&self) -> Option<Course> {
        let nbs = &self.watch.rules.nbs;
        let mut open: Option<(Timestamp, Course)> = None;
        let mut answered: Option<(Timestamp, Course)> = None;
        for (condition, outcomes) in &self.by_condition {
            for (place, one) in outcomes.iter().enumerate().filter(|(_, one)| one.outcome.nbs_status.as_deref() == Some("03")) {
                let code = one.outcome.nbs_substatus.as_deref().unwrap_or("03");
                if nbs.no_repeat.get(code).is_some_and(|conditions| conditions.iter().any(|other| other == condition)) {
                    continue;
                }
                let later = outcomes.get(place + 1..).unwrap_or_default();
                // "Newer accession with a final outcome or 01"; one that asks again has a clock of its own.
                let answers = |code: &str| code == "01" || code == "03" || nbs.final_status.contains(code) || nbs.closing.contains(code);
                let is_newer = |other: &&Outcome<'_>| {
                    let is_later = other.sampled > one.sampled && other.said.item.key != one.said.item.key;
                    is_later && other.outcome.nbs_status.as_deref().is_some_and(answers)
                };
                let Some(course) = self.repeat_course(one, condition, code) else { continue };
                let started = course.started;
                match later.iter().find(is_newer).map(|other| other.said.seq).or_else(|| self.received_after(one)) {
                    Some(seq) => {
                        let course = course.satisfied("a newer sample is on record", seq);
                        if answered.as_ref().is_none_or(|(at, _)| *at < started) {
                            answered = Some((started, course));
                        }
                    }
                    None => {
                        let breach = course.breach.unwrap_or(Timestamp::MAX);
                        if open.as_ref().is_none_or(|(at, _)| breach < *at) {
                            open = Some((breach, course));
                        }
                    }
                }
            }
        }
        open.or(answered).map(|(_, course)| course)
    }

    /// A newer card that the laboratory has, whatever it says.
    fn received_after(&self, one: &Outcome<'_>) -> Option<Seq> {
        let newer = |other: &&Outcome<'_>| {
            let received = other.outcome.nbs_status.as_deref() == Some("01");
            received && other.sampled > one.sampled && other.said.item.key != one.said.item.key
        };
        self.outcomes().filter(newer).map(|other| other.said.seq).min()
    }

    fn repeat_course(&self, one: &Outcome<'_>, condition: &str, code: &str) -> Option<Course> {
        let (rules, watch) = (self.watch.rules, self.watch);
        let asked = one.said.item.received_at.as_ref().and_then(|at| at.timestamp()).unwrap_or(one.said.at);
        let start = Start::at(asked);
        let due = rules.nbs.repeat.get(code).or_else(|| rules.nbs.repeat.get("default"))?;
        let (due_start, due_length) = match due {
            RepeatDue::Age(age) => (watch.birth, *age),
            RepeatDue::After(after) => (start, *after),
        };
        let due = due_length.ends(due_start, &rules.holidays);
        let mut course =
            watch.course("NBS_REPEAT", start)?.lacking(format!("{condition} stands at {code} and no newer sample is on record"));
        course.due = Some(due);
        course.breach = course.breach.max(Some(due));
        course.warn = course.warn.max(Some(due_length.opens(due_start, &rules.holidays)));
        Some(course)
    }

    /// Since when the child has another hub than before, or is one of ours at all.
    fn moved_in(&self) -> Option<Timestamp> {
        if let Some(since) = self.came_from_outside() {
            return Some(since);
        }
        let stays = &self.watch.facts.stays;
        let now = stays.last().filter(|stay| ![HubName::OUT, HubName::UNKNOWN].contains(&stay.hub.as_str()))?;
        let before = stays.iter().rev().skip(1).find(|stay| stay.hub.as_str() != HubName::UNKNOWN)?;
        (before.hub != now.hub).then_some(now.from)
    }

    /// Since when the child is one of ours, where it was none in the weeks in which newborns are screened: for it NBS_MOVER takes the
    /// place of the clocks that are counted from birth. Who was one of ours in those weeks keeps these, wherever it was between (identity
    /// rules, section 10), and so does a newborn who came from outside in time.
    fn came_from_outside(&self) -> Option<Timestamp> {
        let facts = self.watch.facts;
        // The default hub works on a child of nobody, and all clocks run.
        let place = facts.stays.iter().position(|stay| stay.hub.as_str() != HubName::OUT)?;
        let since = match place.checked_sub(1) {
            Some(_outside) => facts.stays.get(place)?.from,
            None if facts.births.is_empty() => facts.first_known,
            None => return None,
        };
        (self.watch.age_ends(self.watch.rules.nbs.mover_first_known_after) <= since).then_some(since)
    }

    /// NBS_MOVER waits in the place of the clocks that are counted from birth.
    fn is_for_mover(&self) -> bool {
        self.came_from_outside().is_some() && self.mover().is_some()
    }

    /// G-MOV: a baby who moved in before its first birthday has a result within 21 days of the notification (A20).
    fn mover(&self) -> Option<Course> {
        let at = self.moved_in()?;
        let year_old = self.watch.age_ends(super::day::Length::Months(12));
        let course = self.watch.course("NBS_MOVER", Start::at(at))?.lacking(format!("moved in, and {}", self.lacks_of("PKU")));
        if year_old <= at {
            return None;
        }
        // A result that was there before it moved is a result.
        let mut evidence = self.by_condition.get("PKU").into_iter().flatten().filter(|one| {
            let code = one.outcome.nbs_substatus.as_deref();
            matches!(code, Some("0203" | "0906"))
        });
        Some(match self.ended("PKU") {
            Some(end) => course.satisfied("PKU has a conclusive outcome", end.by.seq()),
            None => match evidence.next() {
                Some(one) => course.satisfied("evidence of screening elsewhere", one.said.seq),
                None => course,
            },
        })
    }

    /// A declined test has a letter to parent, practice and health visitor; whether it was sent, a person says.
    fn decline(&self) -> Option<Course> {
        let screened = |one: &Outcome<'_>| self.ended(one.outcome.condition.as_str()).filter(|end| end.is_final);
        let declined = || self.outcomes().filter(|one| one.status() == "02");
        // What was declined and is still without a result, before what was screened after all.
        let newest = declined().max_by_key(|one| (screened(one).is_none(), one.order()))?;
        let at = newest.said.item.received_at.as_ref().and_then(|at| at.timestamp()).unwrap_or(newest.said.at);
        let course = self.watch.course("NBS_DECLINE", Start::at(at))?.lacking("declined; nobody has noted that the letters went");
        // A final outcome of what was declined: the parents thought better of it.
        Some(match screened(newest) {
            Some(end) => course.satisfied("screened after all", end.by.seq()),
            None => course,
        })
    }
}

/// When a sample was taken; else received, reported, told.
fn sampled(said: &Said<BloodSpotResult>) -> Timestamp {
    let sample = &said.item.sample;
    let known = [&sample.taken, &sample.received, &said.item.received_at];
    known.into_iter().find_map(|at| at.as_ref()?.timestamp()).unwrap_or(said.at)
}

/// The newest of several screens: by when it was done.
fn newest<T>(said: &[Said<T>], at: impl Fn(&T) -> Option<Timestamp>) -> Option<&Said<T>> {
    said.iter().max_by_key(|said| (at(&said.item).unwrap_or(said.at), said.at, said.seq))
}

fn screened(screen: &HearingScreen) -> Option<Timestamp> {
    [&screen.summary_at, &screen.at].into_iter().find_map(|at| at.as_ref()?.timestamp())
}

/// G-HEAR: complete by four weeks of corrected age, five where it is done in the community.
fn hearing(watch: &Watch<'_>) -> Option<Course> {
    let birth = &watch.facts.record.child.birth;
    // Corrected age = age - (40 weeks - gestation), where gestation is known and shorter.
    let early = birth.gestation_weeks.map_or(0, |weeks| (280 - weeks * 7 - birth.gestation_days.unwrap_or(0)).max(0));
    let is_community = birth.place_ods.as_ref().is_some_and(|site| watch.rules.hearing.community_sites.contains(site));
    let row = if is_community { "HEAR_COMMUNITY" } else { "HEAR" };
    let corrected = Start::on(plus_days(watch.born, early));
    let mut course = watch.course_like("HEAR", row, corrected)?.lacking("no complete hearing screen");
    course.started = watch.birth.moment();
    // "Over three months" is counted from the corrected date as well: an early baby must not be given up before it is due.
    course.closes = watch.rule(row).and_then(|rule| rule.closes).map(|closes| closes.ends(corrected, &watch.rules.holidays));
    let words = &watch.rules.hearing;
    let summary = |said: &&Said<HearingScreen>| said.item.summary_status.is_some();
    let complete = |said: &&Said<HearingScreen>| said.item.summary_status.as_ref().is_some_and(|word| words.complete.contains(word));
    if let Some(said) = watch.facts.hearing.iter().filter(complete).max_by_key(|said| (screened(&said.item), said.seq)) {
        return Some(course.satisfied("the screen is complete", said.seq));
    }
    let with_summary: Vec<Said<HearingScreen>> = watch.facts.hearing.iter().filter(summary).cloned().collect();
    let Some(last) = newest(&with_summary, screened) else { return Some(course) };
    let word = last.item.summary_status.as_deref().unwrap_or_default();
    Some(if words.declined.contains(word) {
        course.excluded("declined or withdrawn", Some(last.seq))
    } else if words.ended.contains(word) {
        course.excluded(format!("the screen ended: {word}"), Some(last.seq))
    } else {
        course.lacking(format!("the screen stands at {word}"))
    })
}

/// No clear response: an appointment with audiology within four weeks.
fn referral(watch: &Watch<'_>) -> Option<Course> {
    let words = &watch.rules.hearing;
    let referred = |said: &&Said<HearingScreen>| said.item.summary_status.as_ref().is_some_and(|word| words.referred.contains(word));
    let complete = |said: &&Said<HearingScreen>| said.item.summary_status.as_ref().is_some_and(|word| words.complete.contains(word));
    let screens: Vec<Said<HearingScreen>> = watch.facts.hearing.iter().filter(complete).cloned().collect();
    let last = newest(&screens, screened).filter(|said| referred(said))?;
    let at = screened(&last.item).unwrap_or(last.at);
    let course = watch.course("HEAR_REFER", Start::at(at))?.lacking("no clear response, and no appointment with audiology");
    let answers = |said: &&Said<crate::canon::Appointment>| {
        let service = said.item.service.as_deref().unwrap_or_default();
        let is_audiology = words.audiology.iter().any(|known| known.eq_ignore_ascii_case(service.trim()));
        let stands = !matches!(said.item.status.as_deref(), Some("cancelled" | "dna"));
        let after = said.item.start.as_ref().and_then(|start| start.timestamp()).is_none_or(|start| at <= start);
        is_audiology && stands && after
    };
    Some(match watch.facts.appointments.iter().filter(answers).min_by_key(|said| said.seq) {
        Some(said) => course.satisfied("an appointment with audiology is made", said.seq),
        None => course,
    })
}

/// G-NIPE: every part was examined.
fn examination(watch: &Watch<'_>, kind: &str, exam: &str) -> Option<Course> {
    let course = watch.course(kind, watch.birth)?.lacking("no complete examination");
    let exams = || watch.facts.nipe.iter().filter(|said| said.item.kind.as_deref() == Some(exam));
    let male = watch.facts.record.child.sex == Some(Sex::Male);
    if let Some(said) = exams().filter(|said| is_whole(&said.item, male)).max_by_key(|said| said.seq) {
        return Some(course.satisfied("every part was examined", said.seq));
    }
    // A part that is still to be done is waited for, whatever was declined beside it.
    let declined = |said: &&Said<NipeExam>| {
        let parts = parts(&said.item, male);
        parts.iter().filter(|part| !is_done(part)).all(|part| part.and_then(status) == Some("declined"))
    };
    let at = |exam: &NipeExam| exam.at.as_ref().and_then(|at| at.timestamp());
    let last = exams().max_by_key(|said| (at(&said.item).unwrap_or(said.at), said.seq));
    Some(match last {
        Some(said) if declined(&said) => course.excluded("declined", Some(said.seq)),
        Some(_) => watch.waiting_for_discharge(course.lacking("the examination is not complete")),
        None => watch.waiting_for_discharge(course),
    })
}

fn parts(exam: &NipeExam, male: bool) -> Vec<Option<&NipeFinding>> {
    let mut parts = vec![exam.eyes.as_ref(), exam.heart.as_ref(), exam.hips.as_ref()];
    if male {
        parts.push(exam.testes.as_ref());
    }
    parts
}

fn status(part: &NipeFinding) -> Option<&str> {
    part.status.as_deref()
}

fn is_done(part: &Option<&NipeFinding>) -> bool {
    part.and_then(status).is_some_and(|word| !matches!(word, "not_done" | "incomplete" | "declined" | "unclassified"))
}

fn is_whole(exam: &NipeExam, male: bool) -> bool {
    parts(exam, male).iter().all(is_done)
}

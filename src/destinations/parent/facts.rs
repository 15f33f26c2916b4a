//! What of an event may be shown at all, as facts of our own making: each has a class (`list`), and the class says whether it is shown.
//!
//! # Blood spot, hearing and physical examination are held back as a whole
//!
//! A result with one outcome that is not to be shown yet (suspected, carrier, repeat, follow-up, unclassified, no clear response) is
//! withheld whole, the clear outcomes too. To send the others would show nine conditions where every other child has ten, and the one
//! that is missing is the news. The laboratory and the clinicians tell the family first; then a hub notes that they did.

use fhir_r4::{AppointmentStatus, Concept, Identifier, Measured, Name, ProcedureStatus, Quantity, ReportStatus, When, url};
use jiff::Timestamp;

use super::list::{CLASSES, ParentRules, Showing};
use super::{Withheld, refuse_if, withheld};
use crate::canon::{self, Action, EventKind, ImmunisationStatus, ResultStatus, Statement};
use crate::destinations::render;
use crate::outbox::FiledEvent;

/// Sub-status of 09: not screened because the baby died.
const SUBSTATUS_DIED: &str = "0905";
/// "Did not attend", among the reasons for which a vaccine is not given (code tables, "Not given").
const DID_NOT_ATTEND: [&str; 2] = ["201741000000102", "3"];
/// Services whose name may be shown beside an appointment.
const SERVICES: [&str; 5] = ["HV", "CHO", "school_nursing", "GP", "maternity"];
/// Domains of ASQ-3.
const ASQ3: [(&str, &str); 5] = [
    ("communication", "communication"),
    ("gross_motor", "gross motor"),
    ("fine_motor", "fine motor"),
    ("problem_solving", "problem solving"),
    ("personal_social", "personal-social"),
];
/// Outcomes of the hearing screen: our word, SNOMED CT, words for people, class.
const HEARING: [(&str, &str, &str, &str); 4] = [
    ("clear_no_followup", "276781000000109", "clear response, no follow-up required", "hearing.clear"),
    ("clear_targeted_followup", "276791000000106", "clear response, targeted follow-up required", "hearing.targeted"),
    ("no_clear_one", "276801000000105", "no clear response in one ear, follow-up required", "hearing.no-clear"),
    ("no_clear_both", "276811000000107", "no clear response in both ears, follow-up required", "hearing.no-clear"),
];

/// Something that can be shown. There is no field for anything else.
pub(super) struct Fact {
    /// What it is, for its id: an account sees each once, as it was said last.
    pub(super) what: String,
    pub(super) class: &'static str,
    pub(super) says: Says,
    /// Where it stands in time; none of what the merged record says, which is always its newest word.
    pub(super) order: Option<Order>,
}

/// Of two results of one thing the later counts, whichever arrived last: when it was so, when that was said, when it was filed.
pub(super) type Order = (Timestamp, Timestamp, Timestamp);

/// `at`: when it was so, where anybody said it. Of a day alone the moment of saying counts as far as it lies on that day.
fn order(event: &FiledEvent, at: Option<&canon::Instant>) -> Order {
    let said = event.statement.event.at.as_ref().and_then(canon::Instant::timestamp).unwrap_or(event.filed);
    let on_that_day = |at: &canon::Instant| {
        let day = at.date()?;
        let start = |day: jiff::civil::Date| day.in_tz("Europe/London").map(|at| at.timestamp()).ok();
        Some(said.clamp(start(day)?, start(day.tomorrow().ok()?)?))
    };
    let so = at.and_then(|at| at.value.parse().ok().or_else(|| on_that_day(at)));
    (so.unwrap_or(said), said, event.filed)
}

fn screened_at(spot: &canon::BloodSpotResult) -> Option<&canon::Instant> {
    spot.sample.taken.as_ref()
}

fn heard_at(screen: &canon::HearingScreen) -> Option<&canon::Instant> {
    screen.summary_at.as_ref().or(screen.at.as_ref())
}

pub(super) enum Says {
    /// A number or an outcome.
    Measured {
        code: Concept,
        value: Measured,
        on: Option<When>,
        status: ReportStatus,
    },
    Immunisation(Box<fhir_r4::Immunization>),
    Appointment(Box<fhir_r4::Appointment>),
}

/// By what a fact is judged.
#[derive(Clone, Copy)]
pub(super) struct Judge<'r> {
    pub(super) rules: &'r ParentRules,
    /// A hub noted that a person told the parents of this very result.
    pub(super) informed: bool,
}

impl Judge<'_> {
    pub(super) fn shows(&self, class: &str) -> bool {
        match self.rules.showing(class) {
            Showing::Send => true,
            Showing::AfterInformed => self.informed,
            Showing::Never => false,
        }
    }

    /// Of a result that is shown whole or not at all.
    fn admits(&self, class: &str) -> Result<(), Withheld> {
        let most = CLASSES.iter().find(|(known, _)| *known == class).map_or(Showing::Never, |(_, most)| *most);
        match self.shows(class) {
            true => Ok(()),
            // What the site took away is not held back for anything.
            false if self.rules.showing(class) == Showing::Never && most != Showing::Never => Err(withheld("not-on-allow-list")),
            false => Err(withheld("hold-back")),
        }
    }
}

/// The kinds of event that say something that may be shown.
pub(super) fn is_shown(kind: EventKind) -> bool {
    use EventKind::*;
    matches!(kind, Person | Birth | BloodSpot | Hearing | Nipe | Immunisation | Review | Appointment | ProxyConsent)
}

/// Precondition 6, the allow-list by kind of event. Empty where the event says nothing itself: a consent, a name.
pub(super) fn facts(event: &FiledEvent, judge: Judge<'_>) -> Result<Vec<Fact>, Withheld> {
    let kind = event.statement.event.kind;
    refuse_if(!is_shown(kind), "not-on-allow-list")?;
    refuse_if(event.statement.event.action == Action::Delete, "delete-not-sent")?;
    let facts = match kind {
        EventKind::Birth => birth(event),
        EventKind::BloodSpot => blood_spots(event, judge)?,
        EventKind::Hearing => hearing(event, judge)?,
        EventKind::Nipe => physical_examinations(event, judge)?,
        EventKind::Immunisation => immunisations(event, judge)?,
        EventKind::Review => reviews(event),
        EventKind::Appointment => appointments(event, judge),
        EventKind::ProxyConsent => return Ok(Vec::new()),
        _ => return person(event).map(|()| Vec::new()),
    };
    let some = !facts.is_empty();
    let shown: Vec<Fact> = facts.into_iter().filter(|fact| judge.shows(fact.class)).collect();
    // A birth tells of the child even where no number of it may be shown.
    refuse_if(shown.is_empty() && kind != EventKind::Birth, if some { "not-on-allow-list" } else { "nothing-to-show" })?;
    Ok(shown)
}

/// True where a result has an outcome that a person tells first.
pub(in crate::destinations) fn is_told_by_a_person(said: &Statement) -> bool {
    has_news(said, |_| true)
}

/// True where other results of its kind wait for such a result too. A repeat that was asked for (03) keeps nothing else back: the next sample
/// answers it.
pub(in crate::destinations) fn keeps_others_back(said: &Statement) -> bool {
    has_news(said, |class| class != "blood-spot.03")
}

fn has_news(said: &Statement, counts: impl Fn(&str) -> bool) -> bool {
    let first = |class: &str| counts(class) && CLASSES.iter().any(|(known, most)| *known == class && *most == Showing::AfterInformed);
    let spots = said.blood_spots.iter().flat_map(|spot| &spot.outcomes).filter(|outcome| !outcome.result_status.takes_back());
    let unclassified = |screen: &canon::HearingScreen| screen.summary_status.as_deref() == Some("unclassified");
    let exams = said.nipe_exams.iter().flat_map(organs);
    spots.filter_map(|outcome| outcome.nbs_status.as_deref()).any(|nbs| nbs == "unclassified" || first(&format!("blood-spot.{nbs}")))
        || said.hearing_screens.iter().any(|screen| unclassified(screen) || first(heard(screen).2))
        || exams.into_iter().any(|(_, _, found)| found.status.as_deref() == Some("unclassified") || first(found_class(found)))
}

/// True where a statement takes back what it said before.
pub fn takes_back(said: &Statement) -> bool {
    said.event.action == Action::Delete
        || said.event.kind == EventKind::BloodSpot
            && said.blood_spots.iter().flat_map(|spot| &spot.outcomes).any(|outcome| outcome.result_status.takes_back())
        || said.event.kind == EventKind::Immunisation
            && said.immunisations.iter().any(|given| given.status == ImmunisationStatus::EnteredInError)
}

/// Of what a statement takes back something, by the words of [`Fact::what`].
pub(super) fn taken_back(event: &FiledEvent) -> Vec<String> {
    let said = &event.statement;
    let mut whats: Vec<String> = Vec::new();
    if said.event.action == Action::Delete {
        whats.extend(self::said(event).into_iter().map(|(what, _)| what));
    }
    let outcomes = said.blood_spots.iter().flat_map(|spot| &spot.outcomes).filter(|outcome| outcome.result_status.takes_back());
    whats.extend(outcomes.map(|outcome| format!("blood-spot/{}", outcome.condition)));
    whats
}

/// Whatever a standing result says, shown or not, and where that stands in time: what stays on record is not taken back from an account.
pub(super) fn said(event: &FiledEvent) -> Vec<(String, Option<Order>)> {
    let said = &event.statement;
    let of = |at| Some(order(event, at));
    let mut whats: Vec<(String, Option<Order>)> = birth(event).into_iter().map(|fact| (fact.what, fact.order)).collect();
    for spot in &said.blood_spots {
        let standing = spot.outcomes.iter().filter(|outcome| !outcome.result_status.takes_back());
        whats.extend(standing.map(|outcome| (format!("blood-spot/{}", outcome.condition), of(screened_at(spot)))));
    }
    whats.extend(said.hearing_screens.iter().map(|screen| (HEARING_WHAT.to_owned(), of(heard_at(screen)))));
    for exam in &said.nipe_exams {
        whats.extend(organs(exam).into_iter().map(|(organ, ..)| (examined(exam, organ), of(exam.at.as_ref()))));
    }
    let given = said.immunisations.iter().filter(|given| given.status != ImmunisationStatus::EnteredInError);
    whats.extend(given.map(|given| (keyed(event, "immunisation", given.publisher.as_deref(), given.key.as_deref()), of(None))));
    whats.extend(reviews(event).into_iter().map(|fact| (fact.what, fact.order)));
    whats.extend(said.appointments.iter().map(|booked| (keyed(event, "appointment", None, booked.key.as_deref()), of(None))));
    whats
}

/// What is said under a publisher's key, without words of the message: a hash stands in for both.
fn keyed(event: &FiledEvent, list: &str, publisher: Option<&str>, key: Option<&str>) -> String {
    let header = &event.statement.event;
    let publisher = publisher.or(header.publisher.as_deref()).unwrap_or(event.source.as_str());
    let own = event.event.to_string();
    let key = key.or(header.key.as_deref()).unwrap_or(&own);
    format!("{list}/{}", render::id(event.child_id, &format!("{publisher}\u{1f}{key}")))
}

fn measured(what: String, class: &'static str, code: Concept, value: Measured, (on, order): (Option<When>, Option<Order>)) -> Fact {
    Fact { what, class, says: Says::Measured { code, value, on, status: ReportStatus::Final }, order }
}

/// Person details are worth telling only where they say something that may be shown.
fn person(event: &FiledEvent) -> Result<(), Withheld> {
    let said = &event.statement.child;
    let other = said.sex.is_some() || said.birth.date.is_some();
    refuse_if(!other && said.names.is_empty(), "nothing-to-show")?;
    refuse_if(!other && shown_name(&said.names).is_none(), "placeholder-name")
}

/// The one name a parent knows the child by: never one that stands in for a name, never a former, birth or alias name
/// (which could link to an earlier identity), no titles, no dates.
pub(super) fn shown_name(names: &[canon::Name]) -> Option<Name> {
    let real = |name: &&canon::Name| {
        let ended = name.period.as_ref().is_some_and(|period| period.end.is_some());
        !name.placeholder && !ended && !name.given.is_empty()
    };
    let of = |usage: Option<&str>| names.iter().filter(real).find(|name| name.usage.as_deref() == usage);
    let name = of(Some("usual")).or_else(|| of(Some("official"))).or_else(|| of(None))?;
    Some(Name { family: name.family.clone(), given: name.given.clone(), ..Name::default() })
}

/// What the event said of the birth, as the record now has it: another source may know better.
fn birth(event: &FiledEvent) -> Vec<Fact> {
    if event.statement.event.kind != EventKind::Birth {
        return Vec::new();
    }
    let (said, birth) = (&event.statement.child.birth, &event.record.birth);
    let on = render::date(birth.date.as_ref());
    let fact = |what: &str, class, code: Concept, value: Measured| measured(format!("birth/{what}"), class, code, value, (on, None));
    let mut facts = Vec::new();
    if let (Some(_), Some(grams)) = (said.weight_g, birth.weight_g) {
        facts.push(fact("weight", "birth.weight", render::snomed("364589006", "birth weight"), quantity(grams.to_string(), "g")));
    }
    if let (Some(_), Some(weeks)) = (said.gestation_weeks, birth.gestation_weeks) {
        let value = gestation(weeks, birth.gestation_days);
        facts.push(fact("gestation", "birth.gestation", render::snomed("268477000", "gestation at birth"), value));
    }
    for apgar in render::apgar(said, birth) {
        facts.push(fact(apgar.what, "birth.apgar", render::snomed(apgar.code, apgar.words), Measured::Integer(apgar.score)));
    }
    for measurement in event.statement.reviews.iter().flat_map(|review| &review.measurements) {
        let (what, class, code) = match measurement.kind.as_str() {
            "length" => ("length", "birth.length", render::snomed("248334005", "length at birth")),
            "head_circumference" => ("head", "birth.head", render::snomed("169876006", "head circumference at birth")),
            _ => continue,
        };
        // The unit comes from a message: only the two that a length is given in are written.
        if let (Ok(_), "cm" | "mm") = (measurement.qty.value.parse::<f64>(), measurement.qty.unit.as_str()) {
            let value = quantity(measurement.qty.value.clone(), &measurement.qty.unit);
            facts.push(Fact { order: Some(order(event, None)), ..fact(what, class, code, value) });
        }
    }
    facts
}

fn quantity(value: String, unit: &str) -> Measured {
    Measured::Quantity(Quantity { value, unit: unit.to_owned() })
}

/// Completed weeks, or days in all where the days over are known.
pub(in crate::destinations) fn gestation(weeks: i64, days: Option<i64>) -> Measured {
    match days {
        Some(days) => quantity(weeks.saturating_mul(7).saturating_add(days).to_string(), "d"),
        None => quantity(weeks.to_string(), "wk"),
    }
}

fn blood_spots(event: &FiledEvent, judge: Judge<'_>) -> Result<Vec<Fact>, Withheld> {
    let mut facts = Vec::new();
    for result in &event.statement.blood_spots {
        let on = (render::day(screened_at(result)), Some(order(event, screened_at(result))));
        for outcome in &result.outcomes {
            facts.push(blood_spot(outcome, on, judge)?);
        }
    }
    Ok(facts)
}

/// One outcome, or the rule that withholds the whole event (see above). Its id is by condition, so that an account
/// sees one outcome for each condition, the last.
fn blood_spot(outcome: &canon::ConditionOutcome, (on, order): (Option<When>, Option<Order>), judge: Judge<'_>) -> Result<Fact, Withheld> {
    let status = match outcome.result_status {
        ResultStatus::Final => ReportStatus::Final,
        ResultStatus::Corrected => ReportStatus::Corrected,
        ResultStatus::Deleted => return Err(withheld("delete-not-sent")),
        ResultStatus::WrongPatient => return Err(withheld("wrong-patient")),
        ResultStatus::Prelim | ResultStatus::CannotObtain => return Err(withheld("not-final")),
    };
    let died = outcome.nbs_substatus.as_deref() == Some(SUBSTATUS_DIED);
    let doubtful = outcome.flags.iter().any(|flag| flag == "invalid_for_condition");
    let nbs = outcome.nbs_status.as_deref().filter(|_| !died && !doubtful);
    let known = nbs.and_then(|nbs| CLASSES.iter().find(|(class, _)| class.strip_prefix("blood-spot.") == Some(nbs)));
    let class = known.map_or("blood-spot.other", |(class, _)| class);
    judge.admits(class)?;
    let known = render::CONDITIONS.iter().find(|(word, ..)| *word == outcome.condition);
    let Some((condition, ..)) = known else { return Err(withheld("unknown-condition")) };
    let nbs = class.strip_prefix("blood-spot.").unwrap_or_default();
    let says = Says::Measured { code: render::screening(condition), value: Measured::Concept(render::nbs(nbs)), on, status };
    Ok(Fact { what: format!("blood-spot/{condition}"), class, says, order })
}

/// An account sees one outcome of the hearing screen, the last.
const HEARING_WHAT: &str = "hearing";

/// SNOMED CT, words and class of the outcome of a hearing screen: by our word for it, where no sender's mapping gives one by its code.
fn heard(screen: &canon::HearingScreen) -> (&'static str, &'static str, &'static str) {
    let coded = screen.summary.as_ref().filter(|code| code.system.as_deref() == Some(url::SNOMED)).map(|code| code.code.as_str());
    let known = match screen.summary_status.as_deref() {
        Some(said) => HEARING.iter().find(|(word, ..)| *word == said),
        None => HEARING.iter().find(|(_, code, ..)| Some(*code) == coded),
    };
    known.map_or(("", "", "hearing.other"), |(_, code, words, class)| (code, words, class))
}

fn hearing(event: &FiledEvent, judge: Judge<'_>) -> Result<Vec<Fact>, Withheld> {
    let mut facts = Vec::new();
    for screen in &event.statement.hearing_screens {
        let (code, words, class) = heard(screen);
        judge.admits(class)?;
        let on = (render::day(heard_at(screen)), Some(order(event, heard_at(screen))));
        let outcome = render::snomed("276771000000107", "newborn hearing screening outcome");
        facts.push(measured(HEARING_WHAT.to_owned(), class, outcome, Measured::Concept(render::snomed(code, words)), on));
    }
    Ok(facts)
}

fn organs(exam: &canon::NipeExam) -> Vec<(&'static str, &'static str, &canon::NipeFinding)> {
    let all = [
        ("eyes", "988361000000105", &exam.eyes),
        ("heart", "988351000000107", &exam.heart),
        ("hips", "985531000000102", &exam.hips),
        ("testes", "988371000000103", &exam.testes),
    ];
    all.into_iter().filter_map(|(organ, code, found)| Some((organ, code, found.as_ref()?))).collect()
}

fn found_class(found: &canon::NipeFinding) -> &'static str {
    match found.status.as_deref() {
        Some("no_abnormality") => "physical-examination.no-abnormality",
        Some("abnormality_suspected") => "physical-examination.suspected",
        _ => "physical-examination.other",
    }
}

fn examination(exam: &canon::NipeExam) -> &'static str {
    match exam.kind.as_deref() {
        Some("newborn_72h") => "newborn physical examination",
        Some("infant_6_8w") => "infant physical examination",
        _ => "physical examination",
    }
}

fn examined(exam: &canon::NipeExam, organ: &str) -> String {
    format!("{}/{organ}", examination(exam).replace(' ', "-"))
}

/// What was found, in words of ours: the sender's code says also whether there is a risk in the family.
fn physical_examinations(event: &FiledEvent, judge: Judge<'_>) -> Result<Vec<Fact>, Withheld> {
    let mut facts = Vec::new();
    for exam in &event.statement.nipe_exams {
        let on = (render::day(exam.at.as_ref()), Some(order(event, exam.at.as_ref())));
        for (organ, code, found) in organs(exam) {
            let class = found_class(found);
            judge.admits(class)?;
            let words = if class == "physical-examination.suspected" { "abnormality suspected" } else { "no abnormality" };
            let code = render::snomed(code, &format!("{}: {organ}", examination(exam)));
            facts.push(measured(examined(exam, organ), class, code, Measured::Concept(Concept::words(words)), on));
        }
    }
    Ok(facts)
}

/// A SNOMED CT code: digits, so that no word of a message comes along.
fn sct(code: Option<&canon::Code>) -> Option<Concept> {
    let code = code?;
    let is_sct = code.system.as_deref() == Some(url::SNOMED) && (6..=18).contains(&code.code.len());
    (is_sct && code.code.bytes().all(|byte| byte.is_ascii_digit())).then(|| Concept::coded(url::SNOMED, &code.code, ""))
}

/// A batch as manufacturers print it.
fn is_batch(text: &str) -> bool {
    (1..=20).contains(&text.len())
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'.'))
}

fn immunisations(event: &FiledEvent, judge: Judge<'_>) -> Result<Vec<Fact>, Withheld> {
    let mut facts = Vec::new();
    for given in &event.statement.immunisations {
        let missed = given.reason_not_given.as_ref().is_some_and(|reason| DID_NOT_ATTEND.contains(&reason.code.as_str()));
        let (class, status) = match given.status {
            // Taken back by a delivery of its own.
            ImmunisationStatus::EnteredInError => continue,
            ImmunisationStatus::Completed => ("immunisation.given", ProcedureStatus::Completed),
            ImmunisationStatus::NotDone if missed => ("immunisation.not-attended", ProcedureStatus::NotDone),
            ImmunisationStatus::NotDone => ("immunisation.not-given", ProcedureStatus::NotDone),
        };
        if !judge.shows(class) {
            continue;
        }
        // A product that no code names cannot be told without words of the message.
        let Some(vaccine) = sct(given.vaccine.as_ref()).or_else(|| sct(given.procedure.as_ref())) else {
            return Err(withheld("no-code"));
        };
        let codes = given.antigens.iter().filter(|word| 6 <= word.len() && word.bytes().all(|byte| byte.is_ascii_digit()));
        let target_diseases: Vec<Concept> = codes.map(|word| render::antigen(word)).collect();
        let missed = Concept { text: Some("did not attend".to_owned()), ..Concept::coded(url::SNOMED, DID_NOT_ATTEND[0], "") };
        let is_given = status == ProcedureStatus::Completed;
        let shown = fhir_r4::Immunization {
            status,
            status_reason: (!is_given).then_some(missed),
            vaccine,
            occurrence: render::day(given.occurrence.as_ref()),
            batch: given.batch.clone().filter(|batch| is_given && is_batch(batch)),
            site: sct(given.site.as_ref()).filter(|_| is_given),
            dose_number: given.dose_number.filter(|_| is_given).and_then(|number| u32::try_from(number).ok()),
            target_diseases,
            ..fhir_r4::Immunization::default()
        };
        let what = keyed(event, "immunisation", given.publisher.as_deref(), given.key.as_deref());
        facts.push(Fact { what, class, says: Says::Immunisation(Box::new(shown)), order: Some(order(event, None)) });
    }
    let gone = event.statement.immunisations.iter().any(|given| given.status == ImmunisationStatus::EnteredInError);
    refuse_if(facts.is_empty() && gone, "delete-not-sent")?;
    refuse_if(facts.is_empty() && !event.statement.immunisations.is_empty(), "not-on-allow-list")?;
    Ok(facts)
}

/// Measurements, ASQ-3 scores and how the baby is fed; no word that somebody wrote.
fn reviews(event: &FiledEvent) -> Vec<Fact> {
    if event.statement.event.kind != EventKind::Review {
        return Vec::new();
    }
    let mut facts = Vec::new();
    for review in &event.statement.reviews {
        let own = keyed(event, "review", None, review.key.as_deref());
        let (on, order) = (render::day(review.at.as_ref()), Some(order(event, None)));
        for measurement in &review.measurements {
            let units: &[&str] = match measurement.kind.as_str() {
                "weight" => &["g", "kg"],
                "length" | "height" | "head_circumference" => &["mm", "cm", "m"],
                _ => continue,
            };
            let qty = &measurement.qty;
            if qty.value.parse::<f64>().is_ok() && units.contains(&qty.unit.as_str()) {
                let code = render::measured(&measurement.kind);
                let on = render::day(measurement.at.as_ref()).or(on);
                let value = quantity(qty.value.clone(), &qty.unit);
                facts.push(measured(format!("{own}/{}", measurement.kind), "review.measurement", code, value, (on, order)));
            }
        }
        for score in review.scores.iter().filter(|score| score.instrument == "ASQ-3") {
            let domain = ASQ3.iter().find(|(domain, _)| score.domain.as_deref() == Some(domain));
            let months = score.months.filter(|months| (1..=72).contains(months));
            if let (Some((domain, words)), Some(months), Ok(value)) = (domain, months, i32::try_from(score.value))
                && (0..=60).contains(&value)
            {
                let code = Concept::words(&format!("ASQ-3, {months} months: {words}"));
                facts.push(measured(format!("{own}/asq3/{domain}"), "review.score", code, Measured::Integer(value), (on, order)));
            }
        }
        let fed = match review.feeding.as_deref() {
            Some("01") => "totally breast milk fed",
            Some("02") => "partially breast milk fed",
            Some("03") => "not at all breast milk fed",
            _ => continue,
        };
        let value = Measured::Concept(Concept::words(fed));
        facts.push(measured(format!("{own}/feeding"), "review.feeding", Concept::words("feeding"), value, (on, order)));
    }
    facts
}

fn appointments(event: &FiledEvent, judge: Judge<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    for booked in &event.statement.appointments {
        let status = match booked.status.as_deref() {
            Some("booked" | "moved") => AppointmentStatus::Booked,
            Some("cancelled") => AppointmentStatus::Cancelled,
            Some("dna") => AppointmentStatus::NoShow,
            Some("attended") => AppointmentStatus::Fulfilled,
            _ => continue,
        };
        let service = booked.service.as_deref().filter(|service| SERVICES.contains(service));
        let is_ods = |code: &&String| (3..=10).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let site = booked.site.as_ref().filter(is_ods).filter(|_| judge.shows("appointment.site"));
        let shown = fhir_r4::Appointment {
            status,
            service: service.map(|service| Concept::coded(render::SERVICE_SYSTEM, service, "")),
            start: render::when(booked.start.as_ref()),
            location: site.map(|site| Identifier {
                system: url::ODS_ORGANISATION.to_owned(),
                value: site.clone(),
                ..Identifier::default()
            }),
            ..fhir_r4::Appointment::default()
        };
        let what = keyed(event, "appointment", None, booked.key.as_deref());
        facts.push(Fact { what, class: "appointment", says: Says::Appointment(Box::new(shown)), order: Some(order(event, None)) });
    }
    facts
}

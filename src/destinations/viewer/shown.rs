//! What a shared-care viewer may be told of an event: picked out before any template sees it (destination rules, sections 4 and 5).
//!
//!     FiledEvent ──▶ refusals, in order ──▶ a tree of our own words ──▶ templates
//!
//! # Invariants
//!
//! - A template sees the tree and nothing else, and the tree is made of named fields only: what has no name here cannot be sent,
//!   whatever a template says.
//! - No relation of the child, no identifier of another person, no comment, no score, no professional's name, no task and no
//!   parents' account has a name here. A review is its kind, day, place and attendance, with what was weighed and measured.
//! - Of a restricted child there is the death status and nothing else; of a child whose sharing was dissented from, nothing.

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::canon::{
    self, Action, BloodSpotResult, Child, ChildStatus, Death, EventKind, HearingScreen, IdentifierUse, IdentityAct, Immunisation,
    ImmunisationStatus, Instant, NipeExam, NipeFinding, Precision, ResultStatus, Review,
};
use crate::names::ChildId;
use crate::outbox::FiledEvent;

/// Why nothing is said to a viewer, with what each word means. Stable: they stand in traces and in `messages_withheld_total{rule}`.
pub const VIEWER_RULES: [(&str, &str); 12] = [
    ("superseded", "something later was known when it was filed"),
    ("sealed", "the record is sealed: nothing goes out"),
    ("dissent", "sharing was dissented from"),
    ("restricted", "restricted or hidden: only a death would be said"),
    ("stillborn", "born dead"),
    ("invalidated", "the national record says that the number is invalid"),
    ("identity-unknown", "a pseudo-person"),
    ("adoption-barrier", "nothing may link to an earlier record"),
    ("merged", "another record goes on in its place"),
    ("not-for-viewer", "this kind of event is not shown"),
    ("confidential", "a document that its author marked as confidential"),
    ("nothing-to-say", "says nothing of what may be shown"),
];

/// Lengths and weights that are shown, and their units; a kind or unit of the sender's own words is not.
const MEASURED: [&str; 4] = ["weight", "length", "height", "head_circumference"];
const UNITS: [&str; 5] = ["g", "kg", "cm", "mm", "m"];

/// On which occasion a template is used: one word for each kind of message.
pub(super) const OCCASIONS: [&str; 9] =
    ["demographics", "death", "merge", "birth", "blood-spot", "hearing", "nipe", "immunisation", "review"];
/// Documents: the tenth occasion, whose content is read when it is sent.
pub(super) const DOCUMENT: &str = "document";

/// What may be said, for the templates.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Occasions in the order of their messages, each with its items: one message for each.
    pub(super) occasions: Vec<(&'static str, Vec<Value>)>,
    /// `event` and `child`.
    pub(super) tree: Value,
    /// What the sender said to be none, in the words of the tree.
    pub(super) cleared: Vec<String>,
    /// True where this is the first that is said of the child.
    pub(super) is_first: bool,
    /// True where it takes something back.
    pub(super) is_delete: bool,
}

/// What may be said of `event`, or the rule that forbids it. Pure.
pub(super) fn shown(event: &FiledEvent) -> Result<Shown, &'static str> {
    refuse(event)?;
    let is_delete = event.statement.event.action == Action::Delete;
    if is_restricted(event) {
        let death = death_status(event).ok_or("restricted")?;
        let tree = json!({ "event": header(event), "child": keep(json!({ "id": event.child_id.to_string(), "identifiers": [own_id(event.child_id)], "death": death })) });
        return Ok(Shown { occasions: vec![("death", vec![Value::Null])], tree, cleared: Vec::new(), is_first: false, is_delete: false });
    }
    let occasions = occasions(event)?;
    let mut child = person(event);
    if let Some(survivor) = event.record.merged_into {
        child.insert("merged_into".to_owned(), own_id(survivor));
    }
    let tree = json!({ "event": header(event), "child": child });
    Ok(Shown { occasions, tree, cleared: cleared(&event.statement.clears), is_first: event.version == 1, is_delete })
}

fn refuse(event: &FiledEvent) -> Result<(), &'static str> {
    let (record, said) = (&event.record, &event.statement.child);
    let both = [record, said];
    let any = |is_so: &dyn Fn(&Child) -> bool| both.iter().any(|child| is_so(child));
    let rules: [(&str, bool); 7] = [
        ("superseded", event.superseded),
        ("sealed", any(&|child| child.status == Some(ChildStatus::Sealed))),
        ("dissent", any(&|child| child.flags.share_consent.as_deref() == Some("dissent"))),
        ("stillborn", any(&|child| child.birth.is_stillbirth() || child.death.as_ref().is_some_and(|death| death.stillbirth))),
        ("stillborn", record.status == Some(ChildStatus::Stillborn)),
        ("invalidated", record.status == Some(ChildStatus::Invalidated)),
        ("identity-unknown", any(&|child| child.flags.identity_unknown == Some(true))),
    ];
    rules.iter().find(|(_, is_so)| *is_so).map_or(Ok(()), |(rule, _)| Err(rule))
}

/// A sensitivity that is not known here is taken for a restriction.
pub(super) fn is_restricted_child(child: &Child) -> bool {
    child.flags.is_restricted() || !matches!(child.flags.sensitivity.as_deref(), None | Some("unrestricted"))
}

fn is_restricted(event: &FiledEvent) -> bool {
    is_restricted_child(&event.record) || is_restricted_child(&event.statement.child)
}

/// `Y` where the child died, `N` where a death was taken back; none where nothing was said of a death. Hospitals say "not dead" of
/// every child; that is no news.
fn death_status(event: &FiledEvent) -> Option<&'static str> {
    match (&event.record.death, &event.statement.child.death) {
        (Some(death), _) if death.is_told() => Some("Y"),
        (Some(death), Some(_)) if death.status.as_deref() == Some("removed") && death.ground.as_deref() != Some(Death::INDICATOR) => {
            Some("N")
        }
        _ => None,
    }
}

/// The messages of an event: what each is about, and the items of which each gets one.
fn occasions(event: &FiledEvent) -> Result<Vec<(&'static str, Vec<Value>)>, &'static str> {
    let (statement, kind) = (&event.statement, event.statement.event.kind);
    let is_merged = event.record.merged_into.is_some() || event.record.status == Some(ChildStatus::Merged);
    let is_change = !statement.identity_changes.is_empty();
    if is_merged {
        let is_merge = statement.identity_changes.iter().any(|change| change.act == IdentityAct::Merge) || kind == EventKind::Merge;
        if event.record.flags.adoption_barrier {
            return Err("adoption-barrier");
        }
        return if is_merge && event.record.merged_into.is_some() { Ok(vec![("merge", vec![Value::Null])]) } else { Err("merged") };
    }
    let of_the_person =
        matches!(kind, EventKind::Person | EventKind::Birth | EventKind::Gp | EventKind::Address | EventKind::Death | EventKind::Merge);
    let mut occasions = Vec::new();
    if (of_the_person && statement.event.action != Action::Delete) || is_change || event.version == 1 {
        occasions.push(("demographics", vec![Value::Null]));
    }
    let items: (&'static str, Vec<Value>) = match kind {
        EventKind::Birth => ("birth", birth(event).into_iter().collect()),
        EventKind::BloodSpot => {
            ("blood-spot", with_deleted(event, "blood-spot", statement.blood_spots.iter().map(|one| blood_spot(event, one)).collect()))
        }
        EventKind::Hearing => {
            ("hearing", with_deleted(event, "hearing", statement.hearing_screens.iter().map(|one| hearing(event, one)).collect()))
        }
        EventKind::Nipe => ("nipe", with_deleted(event, "nipe", statement.nipe_exams.iter().map(|one| nipe(event, one)).collect())),
        EventKind::Immunisation => (
            "immunisation",
            with_deleted(event, "immunisation", statement.immunisations.iter().map(|one| immunisation(event, one)).collect()),
        ),
        EventKind::Review => ("review", with_deleted(event, "review", statement.reviews.iter().map(|one| review(event, one)).collect())),
        EventKind::Document => {
            let usual = |document: &&canon::Document| matches!(document.confidential.as_deref(), None | Some("U" | "N"));
            if !statement.documents.iter().all(|document| usual(&document)) {
                return Err("confidential");
            }
            (DOCUMENT, with_deleted(event, DOCUMENT, statement.documents.iter().map(|one| document(event, one)).collect()))
        }
        _ if of_the_person => ("", Vec::new()),
        // Not in the matrix, or "no" there: tasks, parents' accounts, appointments, services, sets of other facts.
        _ if occasions.is_empty() => return Err("not-for-viewer"),
        _ => ("", Vec::new()),
    };
    if !items.1.is_empty() {
        occasions.push(items);
    }
    if occasions.is_empty() { Err("nothing-to-say") } else { Ok(occasions) }
}

/// A deletion that names only the key has one item without facts.
fn with_deleted(event: &FiledEvent, aggregate: &str, items: Vec<Value>) -> Vec<Value> {
    if items.is_empty() && event.statement.event.action == Action::Delete {
        return vec![keep(json!({ "id": id(event, aggregate, None, None, 0), "status": "D" }))];
    }
    items
}

/// The broker's own id of a child: it never changes, and no sender gave it.
fn own_id(child: ChildId) -> Value {
    json!({ "value": child.to_string(), "authority": "CHIS", "type": "PI" })
}

fn header(event: &FiledEvent) -> Value {
    let action = match event.statement.event.action {
        Action::New => "A",
        Action::Update => "U",
        Action::Delete => "D",
    };
    keep(json!({
        "at": event.statement.event.at.as_ref().and_then(moment),
        "filed": moment(&Instant::of(event.filed)),
        "version": event.version,
        "action": action,
    }))
}

fn person(event: &FiledEvent) -> Map<String, Value> {
    let record = &event.record;
    let current = record.identifiers.iter().filter(|id| id.usage == IdentifierUse::Current);
    let local = current.filter(|id| id.system != canon::NHS_NUMBER_SYSTEM).map(|id| {
        let authority = id.system.rsplit(':').next().unwrap_or_default();
        keep(json!({ "value": id.value, "authority": authority, "type": id.kind }))
    });
    let number = record.nhs_number();
    let nhs = number.as_ref().map(|(number, _)| json!({ "value": number.to_string(), "authority": "NHS", "type": "NH" }));
    let identifiers: Vec<Value> = [own_id(event.child_id)].into_iter().chain(nhs).chain(local).collect();
    let names = record.names.iter().filter(|name| !record.flags.adoption_barrier || is_present_name(name)).map(|name| {
        keep(json!({
            "family": name.family, "given": name.given.first(), "middle": joined(name.given.get(1..).unwrap_or_default()),
            "suffix": joined(&name.suffix), "prefix": joined(&name.prefix), "use": name.usage.clone().unwrap_or_else(|| "usual".to_owned()),
        }))
    });
    let places = record.addresses.iter().filter(|place| !record.flags.adoption_barrier || place.usage.as_deref() == Some("home"));
    let addresses = places.map(|place| {
        let line = |at: usize| place.lines.get(at);
        keep(json!({
            "line1": line(0), "line2": line(1), "line3": line(2), "line4": line(3), "postcode": place.postcode,
            "use": place.usage.clone().unwrap_or_else(|| "home".to_owned()),
        }))
    });
    let telecoms =
        record.telecoms.iter().map(|telecom| keep(json!({ "value": telecom.value, "use": telecom.usage, "system": telecom.system })));
    let birth = &record.birth;
    let gp = record.gp.as_ref().map(|gp| keep(json!({ "practice_ods": gp.practice(), "practitioner_code": gp.practitioner_code })));
    let order = birth.birth_order.filter(|order| (1..=7).contains(order) && birth.is_multiple());
    let person = keep(json!({
        "id": event.child_id.to_string(),
        "nhs_number": number.as_ref().map(|(number, _)| number.to_string()),
        "nhs_status": number.as_ref().and_then(|(_, status)| *status),
        "identifiers": identifiers,
        "names": names.collect::<Vec<_>>(),
        "birth_date": birth.time.as_ref().and_then(moment).or_else(|| birth.date.as_ref().map(|date| date.value.clone())),
        "sex": record.sex,
        "addresses": addresses.collect::<Vec<_>>(),
        "telecoms": telecoms.collect::<Vec<_>>(),
        "gp": gp,
        "ethnic_category": record.ethnic_category,
        "language": record.language,
        "religion": record.religion,
        "multiple": birth.is_multiple().then_some("Y"),
        "birth_order": order,
        "death": death_status(event),
    }));
    match person {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Behind an adoption barrier a former name would link to the earlier record.
fn is_present_name(name: &canon::Name) -> bool {
    matches!(name.usage.as_deref(), None | Some("usual" | "official" | "preferred")) && name.period.as_ref().is_none_or(|p| p.end.is_none())
}

/// Birth facts of which the event speaks, with the values that the record has.
fn birth(event: &FiledEvent) -> Option<Value> {
    let (said, now) = (&event.statement.child.birth, &event.record.birth);
    let both = |said: Option<i64>, now: Option<i64>| said.and(now);
    let facts = keep(json!({
        "weight_g": both(said.weight_g, now.weight_g),
        "gestation_weeks": both(said.gestation_weeks, now.gestation_weeks),
        "gestation_days": both(said.gestation_days, now.gestation_days),
        "apgar_1": both(said.apgar_1, now.apgar_1),
        "apgar_5": both(said.apgar_5, now.apgar_5),
        "apgar_10": both(said.apgar_10, now.apgar_10),
    }));
    let Value::Object(mut facts) = facts else { return None };
    if facts.is_empty() {
        return None;
    }
    facts.insert("id".to_owned(), json!(Uuid::new_v5(&event.child_id.0, b"birth").to_string()));
    facts.insert("status".to_owned(), json!("F"));
    let at = now.time.as_ref().and_then(moment).or_else(|| now.date.as_ref().map(|date| date.value.clone()));
    facts.extend(at.map(|at| ("at".to_owned(), json!(at))));
    Some(Value::Object(facts))
}

/// The id of an aggregate: of its publisher's key alone, so that it stays when two records turn out to be one child.
fn id(event: &FiledEvent, aggregate: &str, publisher: Option<&str>, key: Option<&str>, place: usize) -> String {
    let header = &event.statement.event;
    let publisher = publisher.or(header.publisher.as_deref()).unwrap_or(event.source.as_str());
    let key = key.or(header.key.as_deref()).map_or_else(|| format!("@{}.{place}", event.event), str::to_owned);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{aggregate}\u{1f}{publisher}\u{1f}{key}").as_bytes()).to_string()
}

/// OBX-11 of a whole aggregate.
fn status(event: &FiledEvent) -> &'static str {
    match event.statement.event.action {
        Action::New => "F",
        Action::Update => "C",
        Action::Delete => "D",
    }
}

fn blood_spot(event: &FiledEvent, result: &BloodSpotResult) -> Value {
    let outcomes = result.outcomes.iter().map(|outcome| {
        let said = match outcome.result_status {
            _ if event.statement.event.action == Action::Delete => "D",
            ResultStatus::Final => status(event),
            ResultStatus::Corrected => "C",
            ResultStatus::Deleted => "D",
            ResultStatus::WrongPatient => "W",
            ResultStatus::Prelim => "P",
            ResultStatus::CannotObtain => "X",
        };
        keep(json!({
            "condition": outcome.condition, "procedure": outcome.procedure_code, "nbs_status": outcome.nbs_status,
            "nbs_substatus": outcome.nbs_substatus, "code": outcome.outcome_code, "status": said, "at": outcome.at.as_ref().and_then(moment),
        }))
    });
    keep(json!({
        "id": id(event, "blood-spot", result.publisher.as_deref(), result.key.as_deref(), 0),
        "status": status(event),
        "card": result.sample.card_no, "lab_ods": ods(result.sample.lab_ods.as_deref()),
        "taken": result.sample.taken.as_ref().and_then(moment), "received": result.sample.received.as_ref().and_then(moment),
        "outcomes": outcomes.collect::<Vec<_>>(),
    }))
}

fn hearing(event: &FiledEvent, screen: &HearingScreen) -> Value {
    let mut counts = [0_u8; 2];
    let tests = screen.tests.iter().map(|test| {
        let (place, letter) = if test.ear.as_deref() == Some("left") { (0, "L") } else { (1, "R") };
        let count = counts.get_mut(place).map(|count| {
            *count = count.saturating_add(1);
            *count
        });
        let sub_id = test.ear.as_ref().and(count).map(|count| format!("{letter}{count}"));
        keep(json!({
            "kind": test.kind, "ear": test.ear, "sub_id": sub_id, "result": test.result.as_ref().map(|code| &code.code), "outcome": test.status,
            "at": test.at.as_ref().and_then(moment),
        }))
    });
    let tests: Vec<Value> = tests.collect();
    keep(json!({
        "id": id(event, "hearing", None, screen.key.as_deref(), 0),
        "status": status(event), "at": screen.at.as_ref().and_then(moment), "site": ods(screen.site.as_deref()), "tests": tests,
        "summary": screen.summary.as_ref().map(|code| &code.code), "summary_outcome": screen.summary_status,
        "summary_at": screen.summary_at.as_ref().or(screen.at.as_ref()).and_then(moment),
    }))
}

fn nipe(event: &FiledEvent, exam: &NipeExam) -> Value {
    let organs = [("eyes", &exam.eyes), ("heart", &exam.heart), ("hips", &exam.hips), ("testes", &exam.testes)];
    let found = organs.into_iter().filter_map(|(organ, finding)| {
        let NipeFinding { status, side, code, .. } = finding.as_ref()?;
        Some(keep(json!({ "organ": organ, "code": code.as_ref().map(|code| &code.code), "outcome": status, "side": side })))
    });
    keep(json!({
        "id": id(event, "nipe", None, exam.key.as_deref(), 0),
        "status": status(event), "kind": exam.kind, "at": exam.at.as_ref().and_then(moment), "site": ods(exam.site.as_deref()),
        "findings": found.collect::<Vec<_>>(), "bcg_eligible": exam.bcg_eligible.map(|yes| if yes { "Y" } else { "N" }),
    }))
}

fn immunisation(event: &FiledEvent, given: &Immunisation) -> Value {
    let is_deleted = event.statement.event.action == Action::Delete || given.status == ImmunisationStatus::EnteredInError;
    let completion = match given.status {
        ImmunisationStatus::NotDone => "NA",
        _ if given.subpotent == Some(true) => "PA",
        _ => "CP",
    };
    let action = match event.statement.event.action {
        _ if is_deleted => "D",
        Action::New => "A",
        Action::Update => "U",
        Action::Delete => "D",
    };
    let vaccine = given.vaccine.as_ref().or(given.procedure.as_ref());
    keep(json!({
        "id": id(event, "immunisation", given.publisher.as_deref(), given.key.as_deref(), 0),
        "status": if is_deleted { "D" } else { status(event) },
        "action": action, "completion": completion, "at": given.occurrence.as_ref().and_then(moment),
        "vaccine": vaccine.map(|code| &code.code), "vaccine_name": vaccine.and_then(|code| code.display.as_ref()),
        "procedure": given.procedure.as_ref().map(|code| &code.code), "dose_number": given.dose_number,
        "dose": given.dose_qty.as_ref().map(|dose| &dose.value), "dose_unit": given.dose_qty.as_ref().map(|dose| &dose.unit),
        "batch": given.batch, "expiry": given.expiry.as_ref().map(|date| date.value.clone()), "manufacturer": given.manufacturer,
        "site": given.site.as_ref().map(|code| &code.code), "route": given.route.as_ref().map(|code| &code.code),
        "location_ods": ods(given.location_ods.as_deref()),
        "source": given.primary_source.map(|primary| if primary { "00" } else { "01" }),
        "reason_not_given": given.reason_not_given.as_ref().map(|code| &code.code),
    }))
}

fn review(event: &FiledEvent, review: &Review) -> Value {
    let measured = review.measurements.iter().filter(|one| {
        let number = one.qty.value.parse::<f64>().is_ok();
        number && MEASURED.contains(&one.kind.as_str()) && UNITS.contains(&one.qty.unit.as_str())
    });
    let measurements = measured.map(|one| {
        keep(json!({ "kind": one.kind, "value": one.qty.value, "unit": one.qty.unit, "at": one.at.as_ref().or(review.at.as_ref()).and_then(moment) }))
    });
    let kind = review.kind.as_deref().filter(|kind| kind.len() <= 8 && kind.bytes().all(|byte| byte.is_ascii_digit()));
    let attended = review.attended.as_deref().filter(|word| matches!(*word, "attended" | "dna" | "cancelled"));
    keep(json!({
        "id": id(event, "review", None, review.key.as_deref(), 0),
        "status": status(event), "kind": kind, "at": review.at.as_ref().and_then(moment), "site": ods(review.site.as_deref()),
        "attended": attended, "measurements": measurements.collect::<Vec<_>>(),
    }))
}

fn document(event: &FiledEvent, document: &canon::Document) -> Value {
    let replaces = document.replaces.as_deref().map(|key| id(event, DOCUMENT, None, Some(key), 0));
    keep(json!({
        "id": id(event, DOCUMENT, None, document.key.as_deref(), 0),
        "status": status(event), "type": document.kind.as_ref().map(|code| &code.code),
        "type_name": document.kind.as_ref().and_then(|code| code.display.as_ref()), "at": document.at.as_ref().and_then(moment),
        "mime": document.mime, "replaces": replaces, "sha256": document.sha256,
    }))
}

/// A code of an organisation or site; a place in words is not one.
fn ods(text: Option<&str>) -> Option<&str> {
    text.filter(|text| (3..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn joined(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(" "))
}

/// A moment as precise as it was said, in London: `2026`, `2026-04-01`, `2026-04-01T10:00+01:00`.
fn moment(at: &Instant) -> Option<String> {
    let Ok(timestamp) = at.value.parse::<jiff::Timestamp>() else {
        let is_date = matches!(at.value.len(), 4 | 7 | 10) && at.value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        return is_date.then(|| at.value.clone());
    };
    let local = timestamp.to_zoned(TimeZone::get("Europe/London").ok()?);
    let pattern = match at.precision {
        Precision::Hour => "%Y-%m-%dT%H%:z",
        Precision::Minute => "%Y-%m-%dT%H:%M%:z",
        _ => "%Y-%m-%dT%H:%M:%S%:z",
    };
    Some(local.strftime(pattern).to_string())
}

/// What was cleared, in the words of the tree.
fn cleared(clears: &[String]) -> Vec<String> {
    let word = |path: &String| match path.as_str() {
        "birth.date" | "birth.time" => "birth_date".to_owned(),
        "birth.multiple" => "multiple".to_owned(),
        "birth.birth_order" => "birth_order".to_owned(),
        other => other.to_owned(),
    };
    clears.iter().map(word).map(|path| format!("child.{path}")).collect()
}

/// The tree without what is null or empty.
fn keep(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name, keep(value)))
                .filter(|(_, value)| {
                    !matches!(value, Value::Null) && value.as_str() != Some("") && value.as_array().is_none_or(|list| !list.is_empty())
                })
                .collect(),
        ),
        other => other,
    }
}

/// Every word that a template may use on an occasion, with a value of its kind: what `check` holds templates against.
pub(super) fn vocabulary(occasion: &str) -> Value {
    let time = "2026-04-01T10:00:00+01:00";
    let item = match occasion {
        "birth" => {
            json!({ "id": "x", "status": "F", "at": time, "weight_g": 1, "gestation_weeks": 1, "gestation_days": 1, "apgar_1": 1, "apgar_5": 1, "apgar_10": 1 })
        }
        "blood-spot" => json!({ "id": "x", "status": "F", "card": "x", "lab_ods": "x", "taken": time, "received": time, "outcomes": [
            { "condition": "x", "procedure": "x", "nbs_status": "x", "nbs_substatus": "x", "code": "x", "status": "F", "at": time } ] }),
        "hearing" => json!({ "id": "x", "status": "F", "at": time, "site": "x", "summary": "x", "summary_outcome": "x", "summary_at": time,
            "tests": [ { "kind": "x", "ear": "x", "sub_id": "x", "result": "x", "outcome": "x", "at": time } ] }),
        "nipe" => json!({ "id": "x", "status": "F", "kind": "x", "at": time, "site": "x", "bcg_eligible": "Y",
            "findings": [ { "organ": "x", "code": "x", "outcome": "x", "side": "x" } ] }),
        "immunisation" => {
            json!({ "id": "x", "status": "F", "action": "A", "completion": "CP", "at": time, "vaccine": "x", "vaccine_name": "x",
            "procedure": "x", "dose_number": 1, "dose": "x", "dose_unit": "x", "batch": "x", "expiry": "2026-04-01", "manufacturer": "x",
            "site": "x", "route": "x", "location_ods": "x", "source": "00", "reason_not_given": "x" })
        }
        "review" => json!({ "id": "x", "status": "F", "kind": "x", "at": time, "site": "x", "attended": "x",
            "measurements": [ { "kind": "x", "value": "1", "unit": "x", "at": time } ] }),
        DOCUMENT => {
            json!({ "id": "x", "status": "F", "type": "x", "type_name": "x", "at": time, "mime": "x", "replaces": "x", "sha256": "x",
            "media": "application", "format": "pdf", "content": "x" })
        }
        _ => Value::Null,
    };
    let identifier = json!({ "value": "x", "authority": "x", "type": "x" });
    let mut child = json!({ "id": "x", "identifiers": [identifier], "death": "Y" });
    if occasion != "death" {
        child = json!({
            "id": "x", "nhs_number": "x", "nhs_status": "01", "identifiers": [identifier],
            "names": [ { "family": "x", "given": "x", "middle": "x", "suffix": "x", "prefix": "x", "use": "x" } ],
            "birth_date": "2026-04-01", "sex": "1",
            "addresses": [ { "line1": "x", "line2": "x", "line3": "x", "line4": "x", "postcode": "x", "use": "x" } ],
            "telecoms": [ { "value": "x", "use": "x", "system": "x" } ],
            "gp": { "practice_ods": "x", "practitioner_code": "x" }, "ethnic_category": "x", "language": "x", "religion": "x",
            "multiple": "Y", "birth_order": 1, "death": "Y", "merged_into": identifier,
        });
    }
    json!({ "event": { "at": time, "filed": time, "version": 1, "action": "A" }, "child": child, "item": item })
}

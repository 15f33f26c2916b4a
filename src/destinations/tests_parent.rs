//! Claims about a parents' record beside the never-list: each precondition by itself, each kind of event, what is held back, what an
//! account has already, what is taken back, and that nothing is written but what the file names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::fixture::{consent, event, moment, nhs, on, outcome};
use super::parent::{leaves_of, takes_back};
use super::*;
use crate::canon::*;
use crate::outbox::FiledEvent;

static RULES_FILE: LazyLock<ParentRules> = LazyLock::new(ParentRules::default);

fn known(event: &FiledEvent) -> Told {
    told(event, &[], &[]).unwrap()
}

fn told(event: &FiledEvent, so_far: &[Standing], told: &[(&str, &Told)]) -> Result<Told, &'static str> {
    ask(event, &consent(), so_far, told)
}

fn ask(event: &FiledEvent, consents: &[ProxyConsent], so_far: &[Standing], told: &[(&str, &Told)]) -> Result<Told, &'static str> {
    let told = log(told);
    let known = Known { rules: &RULES_FILE, consents, now: event.filed, so_far, told: &told };
    tell(event, known, Turn::First).map_err(|withheld| withheld.rule)
}

/// What these accounts were sent, in this order.
fn log(told: &[(&str, &Told)]) -> BTreeMap<(String, String), String> {
    let rows = told.iter().flat_map(|(account, told)| told.items.iter().map(move |item| ((*account).to_owned(), item)));
    rows.map(|(account, item)| ((account, item.what.clone()), item.text.clone())).collect()
}

fn resources(told: &Told, kind: &str) -> Vec<Value> {
    let bundle: Value = serde_json::from_slice(&told.body).unwrap();
    let entries = bundle["entry"].as_array().unwrap();
    entries.iter().map(|entry| entry["resource"].clone()).filter(|resource| resource["resourceType"] == kind).collect()
}

fn text(told: &Told) -> String {
    String::from_utf8(told.body.clone()).unwrap()
}

fn code(code: &str) -> Option<Code> {
    Some(Code { system: Some("http://snomed.info/sct".to_owned()), code: code.to_owned(), ..Code::default() })
}

fn hearing(status: &str) -> FiledEvent {
    let mut event = event(EventKind::Hearing);
    let test = HearingTest { ear: Some("left".to_owned()), status: Some("clear".to_owned()), ..HearingTest::default() };
    event.statement.hearing_screens = vec![HearingScreen {
        summary_status: Some(status.to_owned()),
        summary_at: Some(moment("2026-04-08T10:00:00+01:00")),
        tests: vec![test],
        ..HearingScreen::default()
    }];
    event
}

fn examined(hips: &str) -> FiledEvent {
    let mut event = event(EventKind::Nipe);
    let found =
        |status: &str| Some(NipeFinding { status: Some(status.to_owned()), risk: Some("yes".to_owned()), ..NipeFinding::default() });
    event.statement.nipe_exams = vec![NipeExam {
        kind: Some("newborn_72h".to_owned()),
        at: Some(moment("2026-04-02T10:00:00+01:00")),
        eyes: found("no_abnormality"),
        hips: found(hips),
        ..NipeExam::default()
    }];
    event
}

fn vaccinated(status: ImmunisationStatus) -> FiledEvent {
    let mut event = event(EventKind::Immunisation);
    event.statement.immunisations = vec![Immunisation {
        key: Some("V-1".to_owned()),
        status,
        occurrence: Some(moment("2026-06-01T10:00:00+01:00")),
        vaccine: code("39114911000001105"),
        antigens: vec!["76902006".to_owned(), "IPV".to_owned()],
        dose_number: Some(1),
        batch: Some("AB12-3".to_owned()),
        site: code("61396006"),
        ..Immunisation::default()
    }];
    event
}

fn reviewed() -> FiledEvent {
    let mut event = event(EventKind::Review);
    let measured = |kind: &str, value: &str, unit: &str| Measurement {
        kind: kind.to_owned(),
        qty: Quantity { value: value.to_owned(), unit: unit.to_owned() },
        at: None,
    };
    event.statement.reviews = vec![Review {
        key: Some("R-1".to_owned()),
        at: Some(moment("2026-06-01T10:00:00+01:00")),
        measurements: vec![measured("weight", "5.4", "kg"), measured("head_circumference", "39", "cm"), measured("weight", "heavy", "kg")],
        scores: vec![Score { instrument: "ASQ-3".to_owned(), months: Some(24), domain: Some("fine_motor".to_owned()), value: 45 }],
        feeding: Some("01".to_owned()),
        ..Review::default()
    }];
    event
}

fn booked(status: &str) -> FiledEvent {
    let mut event = event(EventKind::Appointment);
    event.statement.appointments = vec![Appointment {
        key: Some("A-1".to_owned()),
        service: Some("HV".to_owned()),
        start: Some(moment("2026-06-01T10:00:00+01:00")),
        site: Some("RJ122".to_owned()),
        status: Some(status.to_owned()),
    }];
    event
}

fn standing(event: FiledEvent, informed: bool) -> Standing {
    Standing { event, informed, is_forbidden: false }
}

fn every_kind() -> Vec<FiledEvent> {
    let mut birth = event(EventKind::Birth);
    let length = Measurement { kind: "length".to_owned(), qty: Quantity { value: "51".to_owned(), unit: "cm".to_owned() }, at: None };
    birth.statement.reviews = vec![Review { measurements: vec![length], ..Review::default() }];
    let mut missed = vaccinated(ImmunisationStatus::NotDone);
    missed.statement.immunisations[0].reason_not_given = code("201741000000102");
    vec![
        event(EventKind::Person),
        birth,
        event(EventKind::BloodSpot),
        hearing("clear_no_followup"),
        examined("no_abnormality"),
        vaccinated(ImmunisationStatus::Completed),
        missed,
        reviewed(),
        booked("booked"),
    ]
}

#[test]
fn each_kind_on_the_list_says_what_the_list_names_and_not_more() {
    let heard = known(&hearing("clear_no_followup"));
    assert_eq!(resources(&heard, "Observation")[0]["valueCodeableConcept"]["coding"][0]["code"], "276781000000109");
    let seen = known(&examined("no_abnormality"));
    assert_eq!(resources(&seen, "Observation").len(), 2);
    assert!(!text(&seen).contains("risk"), "a risk is of the family");
    let given = known(&vaccinated(ImmunisationStatus::Completed));
    let vaccine = &resources(&given, "Immunization")[0];
    assert_eq!((vaccine["lotNumber"].as_str(), vaccine["occurrenceDateTime"].as_str()), (Some("AB12-3"), Some("2026-06-01")));
    assert_eq!(vaccine["protocolApplied"][0]["targetDisease"].as_array().unwrap().len(), 1, "no word of a message");
    let review = known(&reviewed());
    assert_eq!(resources(&review, "Observation").len(), 4, "weight, head, one score, feeding: {}", text(&review));
    let appointment = &resources(&known(&booked("dna")), "Appointment")[0];
    assert_eq!((appointment["status"].as_str(), appointment["serviceType"][0]["coding"][0]["code"].as_str()), (Some("noshow"), Some("HV")));
    assert_eq!(appointment["participant"][1]["actor"]["identifier"]["value"], "RJ122");
}

#[test]
fn a_hearing_screen_of_which_only_the_code_was_said_is_judged_by_its_code() {
    let coded = |sct: &str| {
        let mut event = hearing("x");
        event.statement.hearing_screens[0].summary_status = None;
        event.statement.hearing_screens[0].summary = code(sct);
        event
    };
    assert!(text(&known(&coded("276781000000109"))).contains("clear response, no follow-up required"));
    for held in ["276791000000106", "276801000000105", "276811000000107", "276851000000106", "1"] {
        assert_eq!(told(&coded(held), &[], &[]).unwrap_err(), "hold-back", "{held}");
    }
    let informed = told(&event(EventKind::ProxyConsent), &[standing(coded("276801000000105"), true)], &[]).unwrap();
    assert_eq!(informed.items.len(), 2);
    let dead = told(&event(EventKind::ProxyConsent), &[standing(coded("276851000000106"), true)], &[]).unwrap();
    assert_eq!(dead.items.len(), 1, "incomplete as the baby died");
}

#[test]
fn a_vaccination_that_was_not_given_is_told_only_where_nobody_came() {
    let mut declined = vaccinated(ImmunisationStatus::NotDone);
    for reason in ["310376006", "266758009", "213257006", "4", "5", "7"] {
        declined.statement.immunisations[0].reason_not_given = code(reason);
        assert_eq!(told(&declined, &[], &[]).unwrap_err(), "not-on-allow-list", "{reason}");
    }
    declined.statement.immunisations[0].reason_not_given = code("201741000000102");
    let missed = known(&declined);
    assert_eq!(resources(&missed, "Immunization")[0]["status"], "not-done");
    assert!(!text(&missed).contains("AB12-3"));
    let mut words = vaccinated(ImmunisationStatus::Completed);
    words.statement.immunisations[0].vaccine = Some(Code { code: "SIX-IN-ONE".to_owned(), ..Code::default() });
    assert_eq!(told(&words, &[], &[]).unwrap_err(), "no-code");
}

// The seven preconditions of section 3, each by itself.

fn refused(change: impl Fn(&mut FiledEvent)) -> Option<&'static str> {
    let rules: BTreeSet<Option<&'static str>> = every_kind()
        .into_iter()
        .map(|mut event| {
            change(&mut event);
            told(&event, &[], &[]).err()
        })
        .collect();
    assert_eq!(rules.len(), 1, "one rule for every kind of event: {rules:?}");
    rules.into_iter().next().unwrap()
}

#[test]
fn precondition_1_the_child_is_active_and_neither_dead_stillborn_sealed_nor_invalidated() {
    let status = |status| move |e: &mut FiledEvent| e.record.status = Some(status);
    assert_eq!(refused(status(ChildStatus::Deceased)), Some("deceased"));
    assert_eq!(refused(status(ChildStatus::Stillborn)), Some("stillborn"));
    assert_eq!(refused(status(ChildStatus::Sealed)), Some("sealed"));
    assert_eq!(refused(status(ChildStatus::Invalidated)), Some("invalidated"));
    assert_eq!(refused(status(ChildStatus::Provisional)), Some("not-active"));
    assert_eq!(refused(status(ChildStatus::Active)), None);
}

#[test]
fn precondition_2_a_consent_of_an_account_is_in_force() {
    for kind in every_kind() {
        assert_eq!(ask(&kind, &[], &[], &[]).unwrap_err(), "no-proxy-consent");
        let revoked = [ProxyConsent { status: "revoked".to_owned(), ..consent()[0].clone() }];
        assert_eq!(ask(&kind, &revoked, &[], &[]).unwrap_err(), "no-proxy-consent");
    }
}

#[test]
fn precondition_3_the_child_is_unrestricted_and_not_hidden() {
    assert_eq!(refused(|e| e.record.flags.sensitivity = Some("restricted".to_owned())), Some("restricted"));
    assert_eq!(refused(|e| e.record.flags.local_hiding = Some(true)), Some("restricted"));
    assert_eq!(refused(|e| e.record.flags.sensitivity = Some("nobody knows".to_owned())), Some("restricted"));
}

#[test]
fn precondition_4_nobody_dissented_from_sharing() {
    assert_eq!(refused(|e| e.record.flags.share_consent = Some("dissent".to_owned())), Some("dissent"));
    assert_eq!(refused(|e| e.statement.child.flags.share_consent = Some("dissent".to_owned())), Some("dissent"));
}

#[test]
fn precondition_5_the_nhs_number_is_verified() {
    for status in ["02", "03", "04", "07", "08"] {
        assert_eq!(refused(|e| e.record.identifiers = vec![nhs("9990000018", status)]), Some("unverified-number"), "{status}");
    }
}

#[test]
fn precondition_6_the_kind_of_event_is_on_the_allow_list() {
    for kind in [
        EventKind::Document,
        EventKind::EpisodeOfCare,
        EventKind::Failsafe,
        EventKind::Observations,
        EventKind::Safeguarding,
        EventKind::Death,
    ] {
        assert_eq!(told(&event(kind), &[], &[]).unwrap_err(), "not-on-allow-list", "{kind:?}");
    }
    // And the file can take a class away.
    let text = include_str!("../../mappings/parents-record.toml").replace("\"hearing.clear\" = \"send\"", "\"hearing.clear\" = \"never\"");
    let less = ParentRules::load(&text, "p.toml").unwrap();
    let heard = hearing("clear_no_followup");
    let known = Known { rules: &less, consents: &consent(), now: heard.filed, so_far: &[], told: &BTreeMap::new() };
    assert_eq!(tell(&heard, known, Turn::First), Err(Withheld { rule: "not-on-allow-list" }));
}

#[test]
fn precondition_7_what_a_person_tells_first_waits_for_it_and_without_that_goes_nowhere_ever() {
    let later: Timestamp = "2040-01-01T00:00:00Z".parse().unwrap();
    for held in held_back() {
        let asked = |informed: bool| {
            let (so_far, told) = ([standing(held.clone(), informed)], BTreeMap::new());
            let known = Known { rules: &RULES_FILE, consents: &consent(), now: later, so_far: &so_far, told: &told };
            let mut note = event(EventKind::ProxyConsent);
            note.statement.proxy_consents.clear();
            (tell(&held, known, Turn::First).map_err(|withheld| withheld.rule), tell(&note, known, Turn::First).unwrap())
        };
        let (itself, note) = asked(false);
        assert_eq!(itself, Err("hold-back"));
        assert_eq!(note.items.len(), 1, "the child alone: {}", text(&note));
        let (itself, note) = asked(true);
        assert_eq!(itself, Err("hold-back"), "the event stays withheld; the hub's note brings it");
        assert!(1 < note.items.len(), "{}", text(&note));
    }
}

/// Results that a person tells first, one of each class.
fn held_back() -> Vec<FiledEvent> {
    let spot = |status: &str| {
        let mut event = event(EventKind::BloodSpot);
        event.statement.blood_spots[0].outcomes = vec![outcome("PKU", "04"), outcome("SCD", status)];
        event
    };
    let mut held: Vec<FiledEvent> = ["03", "05", "06", "07", "08", "10"].into_iter().map(spot).collect();
    held.extend(["clear_targeted_followup", "no_clear_one", "no_clear_both"].map(hearing));
    held.push(examined("abnormality_suspected"));
    held
}

#[test]
fn what_no_table_knows_is_not_shown_even_after_a_hub_noted_something() {
    let mut strange =
        vec![hearing("unclassified"), hearing("deceased"), hearing("declined"), examined("unclassified"), examined("incomplete")];
    for status in ["01", "unclassified", "11"] {
        let mut spot = event(EventKind::BloodSpot);
        spot.statement.blood_spots[0].outcomes = vec![outcome("PKU", status)];
        strange.push(spot);
    }
    let mut died = event(EventKind::BloodSpot);
    died.statement.blood_spots[0].outcomes = vec![ConditionOutcome { nbs_substatus: Some("0905".to_owned()), ..outcome("PKU", "09") }];
    strange.push(died);
    let note = event(EventKind::ProxyConsent);
    for event in strange {
        let seen = told(&note, &[standing(event, true)], &[]).unwrap();
        assert_eq!(seen.items.len(), 1, "{}", text(&seen));
    }
}

#[test]
fn a_new_account_gets_the_record_so_far_and_the_one_that_has_it_nothing() {
    let so_far = [standing(event(EventKind::BloodSpot), false), standing(vaccinated(ImmunisationStatus::Completed), false)];
    let mut new = event(EventKind::ProxyConsent);
    let account = |id: &str| ProxyConsent { account_id: id.to_owned(), status: "active".to_owned(), ..consent()[0].clone() };
    new.statement.proxy_consents = vec![account("account-1")];
    let first = told(&new, &so_far, &[]).unwrap();
    assert_eq!(first.accounts, ["account-1"]);
    assert_eq!((resources(&first, "Observation").len(), resources(&first, "Immunization").len()), (2, 1));
    assert_eq!(told(&new, &so_far, &[("account-1", &first)]).unwrap_err(), "nothing-new");
    // A second account: it alone is named, and gets all of it.
    new.statement.proxy_consents = vec![account("account-2")];
    let both = [consent(), vec![account("account-2")]].concat();
    let second = ask(&new, &both, &so_far, &[("account-1", &first)]).unwrap();
    assert_eq!(second.accounts, ["account-2"]);
    assert_eq!(second.items.len(), first.items.len());
    assert!(!text(&second).contains("account-1"));
    // An account that is revoked by the event gets nothing, and neither do the others.
    new.statement.proxy_consents = vec![ProxyConsent { status: "revoked".to_owned(), ..account("account-2") }];
    assert_eq!(ask(&new, &consent(), &so_far, &[("account-1", &first)]).unwrap_err(), "no-proxy-consent");
}

#[test]
fn an_event_brings_along_what_was_withheld_before_for_a_reason_that_is_gone() {
    let so_far = [standing(vaccinated(ImmunisationStatus::Completed), false)];
    let person = event(EventKind::Person);
    let first = told(&person, &so_far, &[]).unwrap();
    assert_eq!(resources(&first, "Immunization").len(), 1);
    let second = told(&person, &so_far, &[("account-1", &first)]).unwrap();
    assert_eq!(resources(&second, "Immunization").len(), 0, "not twice");
}

#[test]
fn a_deletion_takes_back_what_this_account_was_sent_and_nothing_else() {
    let given = vaccinated(ImmunisationStatus::Completed);
    let sent = known(&given);
    let mut deletion = given.clone();
    deletion.version = 9;
    deletion.statement.event.action = Action::Delete;
    assert!(takes_back(&deletion.statement));
    let back = |items: &[Item], so_far: &[Standing], account: &str| {
        let known = Known { rules: &RULES_FILE, consents: &consent(), now: deletion.filed, so_far, told: &BTreeMap::new() };
        take_back(&deletion, account, items, known).map_err(|withheld| withheld.rule)
    };
    let gone = back(&sent.items, &[], "account-1").unwrap();
    let resource = &resources(&gone, "Immunization")[0];
    assert_eq!(resource["id"], resources(&sent, "Immunization")[0]["id"]);
    assert_eq!((resource["status"].as_str(), resource["meta"]["versionId"].as_str()), (Some("entered-in-error"), Some("9")));
    assert_eq!(resource.get("lotNumber"), None, "what it said is not said again");
    assert_eq!(back(&[], &[], "account-1").unwrap_err(), "delete-not-sent");
    assert_eq!(back(&sent.items, &[standing(given, false)], "account-1").unwrap_err(), "delete-not-sent", "it still stands");
    assert_eq!(back(&sent.items, &[], "account-2").unwrap_err(), "no-proxy-consent");
    // A correction that a person tells first does not take the old word back: that would be the news.
    let mut clear = event(EventKind::BloodSpot);
    clear.statement.blood_spots[0].outcomes = vec![outcome("PKU", "04")];
    let sent = known(&clear);
    clear.statement.blood_spots[0].outcomes = vec![outcome("PKU", "08")];
    assert_eq!(back(&sent.items, &[standing(clear, false)], "account-1").unwrap_err(), "delete-not-sent");
}

#[test]
fn an_element_that_the_file_does_not_name_keeps_the_whole_bundle_at_home() {
    let file = include_str!("../../mappings/parents-record.toml").replace("    \"lotNumber\",\n", "");
    let less = ParentRules::load(&file, "p.toml").unwrap();
    let given = vaccinated(ImmunisationStatus::Completed);
    let known = Known { rules: &less, consents: &consent(), now: given.filed, so_far: &[], told: &BTreeMap::new() };
    assert_eq!(tell(&given, known, Turn::First), Err(Withheld { rule: "element-not-allowed" }));
}

fn any_word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "clear_no_followup",
        "clear_targeted_followup",
        "no_clear_one",
        "no_abnormality",
        "abnormality_suspected",
        "04",
        "02",
        "08",
        "05",
        "01",
        "unclassified",
        "booked",
        "dna",
        "01",
        "weight",
        "length",
        "zqx-word",
        "201741000000102",
        "310376006",
        "39114911000001105",
        "kg",
        "cm",
    ])
    .prop_map(str::to_owned)
}

/// A child about whom anything may have been said, known and unknown words mixed.
fn any_child() -> impl Strategy<Value = FiledEvent> {
    let kind = prop::sample::select(vec![
        EventKind::Person,
        EventKind::Birth,
        EventKind::BloodSpot,
        EventKind::Hearing,
        EventKind::Nipe,
        EventKind::Immunisation,
        EventKind::Review,
        EventKind::Appointment,
    ]);
    (kind, prop::collection::vec(any_word(), 12), prop::collection::vec(prop::bool::ANY, 8), 0..2000_i64).prop_map(
        |(kind, words, bits, number)| {
            let mut all = event(kind);
            let word = |place: usize| Some(words[place].clone());
            let said = &mut all.statement;
            said.blood_spots = vec![BloodSpotResult {
                outcomes: vec![outcome("PKU", &words[0]), ConditionOutcome { outcome_text: word(1), ..outcome("CF", &words[2]) }],
                comment: word(3),
                ..BloodSpotResult::default()
            }];
            said.hearing_screens =
                vec![HearingScreen { summary_status: word(4), comment: word(3), performer: word(3), ..HearingScreen::default() }];
            let found = Some(NipeFinding { status: word(5), risk: word(3), side: word(3), code: code("1") });
            said.nipe_exams = vec![NipeExam { hips: found, comment: word(3), performer: word(3), ..NipeExam::default() }];
            said.immunisations = vec![Immunisation {
                status: if bits[0] { ImmunisationStatus::Completed } else { ImmunisationStatus::NotDone },
                vaccine: code(&words[6]),
                reason_not_given: code(&words[7]),
                batch: word(8),
                manufacturer: word(3),
                performer: vec![words[3].clone()],
                location_ods: word(3),
                site: code(&words[9]),
                antigens: vec![words[9].clone()],
                ..Immunisation::default()
            }];
            let measurement = |place: usize| Measurement {
                kind: words[place].clone(),
                qty: Quantity { value: number.to_string(), unit: words[10].clone() },
                at: None,
            };
            said.reviews = vec![Review {
                measurements: vec![measurement(8), measurement(9)],
                scores: vec![Score { instrument: words[11].clone(), months: Some(number), domain: word(3), value: number }],
                feeding: word(0),
                comment: word(3),
                concerns: vec![words[3].clone()],
                ..Review::default()
            }];
            said.appointments = vec![Appointment { status: word(11), service: word(3), site: word(10), ..Appointment::default() }];
            all.record.relations = vec![Relation { kind: "12".to_owned(), birth_date: Some(on("1990-01-01")), ..Relation::default() }];
            if bits[1] {
                all.record.flags.sensitivity = Some("restricted".to_owned());
            }
            all
        },
    )
}

proptest! {
    /// Whatever was said of a child: each leaf that leaves the house is one that the file names, and no word of a message is among them.
    #[test]
    fn what_leaves_the_house_is_a_subset_of_what_the_file_names(children in prop::collection::vec(any_child(), 1..4), informed in prop::bool::ANY) {
        let file: toml::Table = toml::from_str(include_str!("../../mappings/parents-record.toml")).unwrap();
        let named: BTreeSet<(String, String)> = file["elements"].as_table().unwrap().iter().flat_map(|(kind, paths)| {
            paths.as_array().unwrap().iter().map(move |path| (kind.clone(), path.as_str().unwrap().to_owned()))
        }).collect();
        let so_far: Vec<Standing> = children.iter().map(|child| standing(child.clone(), informed)).collect();
        for child in &children {
            let Ok(told) = told(child, &so_far, &[]) else { continue };
            prop_assert!(child.record.flags.sensitivity.is_none());
            let mut leaves = BTreeSet::new();
            leaves_of(&serde_json::from_slice(&told.body).unwrap(), ("Bundle", String::new()), &mut leaves);
            let more: Vec<_> = leaves.difference(&named).collect();
            prop_assert!(more.is_empty(), "{more:?}");
            let body = String::from_utf8(told.body).unwrap();
            prop_assert!(!body.contains("zqx") && !body.contains("1990-01-01"), "{body}");
            if !informed {
                for news in ["276811000000107", "276801000000105", "suspected\"", "\"code\":\"08\"", "\"code\":\"05\"", "carrier"] {
                    prop_assert!(!body.contains(news) || body.contains("condition not suspected\"") && news == "suspected\"", "{news} in {body}");
                }
            }
        }
    }
}

//! The never-list of a parents' record (destination rules, section 3), row by row: planted, and looked for in the bytes.
//!
//! Planted texts begin with [`CANARY`]; planted numbers are 88801 and up, planted dates are of the years 1911 to 1919.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::fixture::{CANARY, Row, both, consent, event, moment, nhs, on, outcome, said, text};
use super::*;
use crate::canon::*;
use crate::names::ChildId;
use crate::outbox::FiledEvent;

fn person(kind: &str, what: &str) -> Relation {
    Relation {
        kind: kind.to_owned(),
        name: Some(Name { family: said(&format!("{what}-family")), given: vec![text(what)], ..Name::default() }),
        identifiers: vec![nhs("9990000026", "01"), Identifier { value: text(&format!("{what}-mrn")), ..Identifier::default() }],
        birth_date: Some(on("1911-01-01")),
        birth_family_name: said(&format!("{what}-maiden")),
        address: Some(home(&format!("{what}-street"))),
        gp_practice_ods: said(&format!("{what}-gp")),
        telecoms: vec![Telecom { value: text(&format!("{what}-phone")), ..Telecom::default() }],
        language: said(&format!("{what}-language")),
        ..Relation::default()
    }
}

fn home(what: &str) -> Address {
    Address {
        lines: vec![text(what)],
        postcode: said(&format!("{what}-postcode")),
        uprn: said(&format!("{what}-uprn")),
        usage: Some("home".to_owned()),
        text: said(&format!("{what}-text")),
        la_gss: said(&format!("{what}-la")),
        lsoa: said(&format!("{what}-lsoa")),
        sub_icb: said(&format!("{what}-icb")),
        ..Address::default()
    }
}

fn former_name(usage: &str) -> Name {
    Name { family: said(usage), given: vec![text(usage)], usage: Some(usage.to_owned()), ..Name::default() }
}

fn spots(event: &mut FiledEvent, plant: impl Fn(&mut BloodSpotResult)) {
    event.statement.blood_spots.iter_mut().for_each(plant);
}

fn outcomes(event: &mut FiledEvent, plant: impl Fn(&mut ConditionOutcome)) {
    spots(event, |spot| spot.outcomes.iter_mut().for_each(&plant));
}

/// A review full of what professionals write for each other.
fn review() -> Review {
    Review {
        key: said("review-key"),
        kind: said("review-type"),
        site: said("review-site"),
        performer: said("review-performer"),
        mode: said("review-mode"),
        feeding: said("review-feeding"),
        concerns: vec![text("safeguarding"), text("family-history"), text("social-context"), text("legal")],
        measurements: vec![
            Measurement { kind: text("measurement"), qty: Quantity { value: "88801".to_owned(), unit: "g".to_owned() }, at: None },
            Measurement { kind: "length".to_owned(), qty: Quantity { value: text("value"), unit: "cm".to_owned() }, at: None },
            Measurement { kind: "length".to_owned(), qty: Quantity { value: "51".to_owned(), unit: text("unit") }, at: None },
        ],
        scores: vec![Score { instrument: text("score"), value: 88802, ..Score::default() }],
        comment: said("review-comment"),
        ..Review::default()
    }
}

const ROWS: &[Row] = &[
    Row {
        what: "mother, her identifiers, address and telephone",
        rule: None,
        plant: |e| both(e, |c| c.relations.push(person("12", "mother"))),
    },
    Row { what: "father: paternity", rule: None, plant: |e| both(e, |c| c.relations.push(person("13", "father"))) },
    Row { what: "another guardian", rule: None, plant: |e| both(e, |c| c.relations.push(person("05", "guardian"))) },
    Row { what: "the child's address", rule: None, plant: |e| both(e, |c| c.addresses.push(home("street"))) },
    Row { what: "telephone", rule: None, plant: |e| both(e, |c| c.telecoms.push(Telecom { value: text("phone"), ..Telecom::default() })) },
    Row {
        what: "registered practice",
        rule: None,
        plant: |e| {
            both(e, |c| c.gp = Some(GpRegistration { practice_ods: said("gp"), practitioner_code: said("gp-code"), from: None, to: None }))
        },
    },
    Row {
        what: "hub and its ground",
        rule: None,
        plant: |e| {
            let hub = HubAssignment {
                hub: text("hub").as_str().into(),
                basis: HubBasis::MotherGp,
                interested: vec![text("hub-2").as_str().into()],
                left: None,
            };
            both(e, |c| c.hub = Some(hub.clone()));
        },
    },
    Row {
        what: "local identifiers",
        rule: None,
        plant: |e| {
            let local = Identifier { value: text("mrn"), system: text("urn"), assigner_ods: said("assigner"), ..Identifier::default() };
            both(e, |c| c.identifiers.insert(0, local.clone()));
        },
    },
    Row {
        what: "an old NHS number",
        rule: None,
        plant: |e| {
            for usage in [IdentifierUse::Superseded, IdentifierUse::Invalidated, IdentifierUse::Wrong] {
                both(e, |c| c.identifiers.insert(0, Identifier { usage, ..nhs("9990000034", "01") }));
            }
        },
    },
    Row {
        what: "former, birth, alias and maiden names, titles",
        rule: None,
        plant: |e| {
            for usage in ["previous", "birth", "alias", "maiden", "bachelor", "temp", "preferred"] {
                both(e, |c| c.names.insert(0, former_name(usage)));
            }
            both(e, |c| c.names.iter_mut().for_each(|name| name.prefix.push(text("prefix"))));
        },
    },
    Row {
        what: "a name that ended",
        rule: None,
        plant: |e| {
            let period = Some(Period { start: None, end: Some(moment("1912-01-01T00:00:00Z")) });
            both(e, |c| c.names.insert(0, Name { period: period.clone(), ..former_name("usual") }));
        },
    },
    Row {
        what: "a name that stands in for one",
        rule: None,
        plant: |e| both(e, |c| c.names.insert(0, Name { placeholder: true, ..former_name("usual") })),
    },
    Row {
        what: "a twin: order, number, being one of several",
        rule: None,
        plant: |e| {
            both(e, |c| {
                c.birth.birth_order = Some(88803);
                c.birth.births_in_confinement = Some(88804);
                c.birth.multiple = Some(true);
            });
        },
    },
    Row {
        what: "ethnic category, language, religion",
        rule: None,
        plant: |e| {
            both(e, |c| {
                c.ethnic_category = said("ethnic");
                c.language = said("language");
                c.religion = said("religion");
            });
        },
    },
    Row {
        what: "place and manner of birth, anomaly, care level, notifier, time of birth",
        rule: None,
        plant: |e| {
            both(e, |c| {
                let birth = &mut c.birth;
                for field in [&mut birth.place_ods, &mut birth.place_type, &mut birth.place_text, &mut birth.congenital_anomaly] {
                    *field = said("birth-place");
                }
                for field in [&mut birth.delivery_method, &mut birth.resuscitation, &mut birth.neonatal_care_level, &mut birth.notifier] {
                    *field = said("birth-manner");
                }
                for field in [&mut birth.registering_authority, &mut birth.responsible_cho, &mut birth.partner_cho] {
                    *field = said("birth-organisation");
                }
                birth.time = Some(moment("1913-01-01T00:00:00Z"));
                birth.notified_at = Some(moment("1914-01-01T00:00:00Z"));
            });
        },
    },
    Row {
        what: "concerns: safeguarding, family history, social context, legal",
        rule: None,
        plant: |e| e.statement.reviews.push(review()),
    },
    Row {
        what: "comments of professionals",
        rule: None,
        plant: |e| {
            spots(e, |spot| spot.comment = said("lab-comment"));
            e.statement.hearing_screens.push(HearingScreen {
                comment: said("hearing-comment"),
                performer: said("tester"),
                ..HearingScreen::default()
            });
            e.statement.nipe_exams.push(NipeExam { comment: said("nipe-comment"), performer: said("examiner"), ..NipeExam::default() });
        },
    },
    Row {
        what: "the laboratory's words, codes and ids",
        rule: None,
        plant: |e| {
            outcomes(e, |o| {
                o.outcome_text = said("outcome-text");
                o.outcome_code = said("outcome-code");
                o.procedure_code = said("procedure-code");
                o.nbs_substatus = said("substatus");
                o.at = Some(moment("1915-01-01T00:00:00Z"));
                o.flags = vec![text("flag")];
            });
            spots(e, |spot| {
                spot.key = said("result-key");
                spot.sample.card_no = said("card");
                spot.sample.accession = said("accession");
                spot.sample.lab_ods = said("lab");
                spot.sample.received = Some(moment("1916-01-01T00:00:00Z"));
                spot.received_at = Some(moment("1917-01-01T00:00:00Z"));
                spot.sample.gestation = Some(88805);
            });
        },
    },
    Row {
        what: "who sent it: source, publisher, message and aggregate ids",
        rule: None,
        plant: |e| {
            e.source = text("source").as_str().into();
            e.control_id = text("control-id");
            e.statement.event.publisher = said("publisher");
            e.statement.event.key = said("event-key");
            e.statement.event.at = Some(moment("1918-01-01T00:00:00Z"));
            e.statement.clears = vec![text("clears")];
        },
    },
    Row {
        what: "failsafe tasks",
        rule: None,
        plant: |e| {
            e.statement.tasks.push(FailsafeTask {
                key: said("task"),
                reason: said("task-reason"),
                owner_ods: said("task-owner"),
                service: said("task-service"),
                clock: said("task-clock"),
                closed: said("task-closed"),
                ..FailsafeTask::default()
            })
        },
    },
    Row {
        what: "appointments, documents, episodes, vaccinations riding along",
        rule: None,
        plant: |e| {
            let said_so = &mut e.statement;
            said_so.appointments.push(Appointment { key: said("appointment"), site: said("appointment-site"), ..Appointment::default() });
            said_so.documents.push(Document { key: said("document"), author: said("author"), ..Document::default() });
            said_so.episodes.push(EpisodeOfCare { key: said("episode"), org_ods: said("episode-org"), ..EpisodeOfCare::default() });
            said_so.immunisations.push(Immunisation { key: said("vaccination"), batch: said("batch"), ..Immunisation::default() });
        },
    },
    Row {
        what: "a consent in the event",
        rule: None,
        plant: |e| {
            e.statement.proxy_consents.push(ProxyConsent {
                account_id: text("account"),
                verified_by: said("verified"),
                ..ProxyConsent::default()
            })
        },
    },
    Row {
        what: "a death on record",
        rule: Some("deceased"),
        plant: |e| e.record.death = Some(Death { status: Some("informal".to_owned()), ..Death::default() }),
    },
    Row {
        what: "a death in the event, even one taken back",
        rule: Some("deceased"),
        plant: |e| e.statement.child.death = Some(Death { status: Some("removed".to_owned()), ..Death::default() }),
    },
    Row {
        what: "not dead, as hospitals say of every child",
        rule: None,
        plant: |e| {
            let not_dead = Death { status: Some("removed".to_owned()), ground: Some(Death::INDICATOR.to_owned()), ..Death::default() };
            e.statement.child.death.get_or_insert(not_dead);
        },
    },
    Row { what: "a child who died", rule: Some("deceased"), plant: |e| e.record.status = Some(ChildStatus::Deceased) },
    Row { what: "born and dead", rule: Some("deceased"), plant: |e| e.statement.child.birth.live_still = Some("5".to_owned()) },
    Row { what: "a stillbirth", rule: Some("stillborn"), plant: |e| e.statement.child.birth.live_still = Some("2".to_owned()) },
    Row {
        what: "a stillbirth recorded as a death",
        rule: Some("stillborn"),
        plant: |e| e.record.death = Some(Death { stillbirth: true, ..Death::default() }),
    },
    Row { what: "a stillborn child", rule: Some("stillborn"), plant: |e| e.record.status = Some(ChildStatus::Stillborn) },
    Row { what: "restricted on record", rule: Some("restricted"), plant: |e| e.record.flags.sensitivity = Some("restricted".to_owned()) },
    Row {
        what: "restricted by the event",
        rule: Some("restricted"),
        plant: |e| e.statement.child.flags.sensitivity = Some("very_restricted".to_owned()),
    },
    Row {
        what: "a sensitivity nobody knows",
        rule: Some("restricted"),
        plant: |e| e.record.flags.sensitivity = Some("sensitive?".to_owned()),
    },
    Row { what: "hidden by the local system", rule: Some("restricted"), plant: |e| e.record.flags.local_hiding = Some(true) },
    Row { what: "dissent", rule: Some("dissent"), plant: |e| e.record.flags.share_consent = Some("dissent".to_owned()) },
    Row { what: "an adoption", rule: Some("adoption-barrier"), plant: |e| e.record.flags.adoption_barrier = true },
    Row {
        what: "a relation severed by adoption",
        rule: Some("adoption-barrier"),
        plant: |e| e.record.relations.push(Relation { link_status: Some("adoption_severed".to_owned()), ..person("12", "birth-mother") }),
    },
    Row { what: "a sealed record", rule: Some("sealed"), plant: |e| e.record.status = Some(ChildStatus::Sealed) },
    Row { what: "a merged record", rule: Some("merged"), plant: |e| e.record.merged_into = Some(ChildId(uuid::Uuid::from_u128(9))) },
    Row { what: "an invalidated number", rule: Some("invalidated"), plant: |e| e.record.status = Some(ChildStatus::Invalidated) },
    Row { what: "moved out", rule: Some("moved-out"), plant: |e| e.record.status = Some(ChildStatus::MovedOut) },
    Row { what: "a provisional record", rule: Some("not-active"), plant: |e| e.record.status = Some(ChildStatus::Provisional) },
    Row { what: "a record that stands nowhere yet", rule: Some("not-active"), plant: |e| e.record.status = None },
    Row { what: "a birth to look at", rule: Some("birth-needs-review"), plant: |e| e.record.flags.birth_needs_review = true },
    Row { what: "a pseudo-person", rule: Some("identity-unknown"), plant: |e| e.statement.child.flags.identity_unknown = Some(true) },
    Row { what: "an unverified number", rule: Some("unverified-number"), plant: |e| e.record.identifiers = vec![nhs("9990000018", "02")] },
    Row {
        what: "a number of which nothing was said",
        rule: Some("unverified-number"),
        plant: |e| e.record.identifiers = vec![Identifier { status: None, ..nhs("9990000018", "") }],
    },
    Row { what: "no number", rule: Some("unverified-number"), plant: |e| e.record.identifiers.clear() },
    Row {
        what: "two current numbers",
        rule: Some("unverified-number"),
        plant: |e| e.record.identifiers.extend([nhs("9990000018", "01"), nhs("9990000026", "01")]),
    },
    Row { what: "an event overtaken by a later one", rule: Some("superseded"), plant: |e| e.superseded = true },
    Row { what: "a deletion", rule: Some("delete-not-sent"), plant: |e| e.statement.event.action = Action::Delete },
];

static RULES_FILE: std::sync::LazyLock<ParentRules> = std::sync::LazyLock::new(ParentRules::default);

fn parent_record_as_of(event: &FiledEvent, consents: &[ProxyConsent], now: jiff::Timestamp) -> Result<Vec<u8>, Withheld> {
    let known = Known { rules: &RULES_FILE, consents, now, so_far: &[], told: &std::collections::BTreeMap::new() };
    tell(event, known, super::Turn::First).map(|told| told.body)
}

fn parent_record(event: &FiledEvent, consents: &[ProxyConsent]) -> Result<Vec<u8>, Withheld> {
    parent_record_as_of(event, consents, event.filed)
}

fn parents_see(event: &FiledEvent) -> Result<String, &'static str> {
    parent_record(event, &consent()).map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|withheld| withheld.rule)
}

/// Nothing that was planted, in whatever case it is written.
fn assert_clean(bytes: &str, what: &str) {
    let lower = bytes.to_lowercase();
    assert!(!lower.contains(CANARY), "{what}: {bytes}");
    for number in 88801..=88805 {
        assert!(!lower.contains(&number.to_string()), "{what}: {bytes}");
    }
    for year in 1911..=1919 {
        assert!(!lower.contains(&format!("\"{year}-")), "{what}: {bytes}");
    }
    let elements =
        ["\"source\"", "\"note\"", "\"link\"", "\"performer\"", "\"address\"", "\"telecom\"", "\"generalpractitioner\"", "relatedperson"];
    for forbidden in ["9990000026", "9990000034", "multiplebirth", "deceased", "managing"].into_iter().chain(elements) {
        assert!(!lower.contains(forbidden), "{what}: {forbidden} in {bytes}");
    }
}

#[test]
fn nothing_of_the_never_list_reaches_a_parents_record() {
    for kind in [EventKind::Person, EventKind::Birth, EventKind::BloodSpot] {
        for row in ROWS {
            let mut event = event(kind);
            (row.plant)(&mut event);
            match (parents_see(&event), row.rule) {
                (Ok(bytes), None) => assert_clean(&bytes, row.what),
                (Err(rule), Some(expected)) => assert_eq!(rule, expected, "{} in {kind:?}", row.what),
                (seen, expected) => panic!("{} in {kind:?}: {seen:?} where {expected:?} was expected", row.what),
            }
        }
    }
}

#[test]
fn all_of_it_at_once_is_still_not_seen() {
    for kind in [EventKind::Person, EventKind::Birth, EventKind::BloodSpot] {
        let mut event = event(kind);
        ROWS.iter().filter(|row| row.rule.is_none()).for_each(|row| (row.plant)(&mut event));
        assert_clean(&parents_see(&event).unwrap(), "everything");
    }
}

#[test]
fn what_is_allowed_does_arrive() {
    let birth = parents_see(&event(EventKind::Birth)).unwrap();
    for part in [
        "EXAMPLE",
        "Ada",
        "female",
        "2026-04-01",
        "9990000018",
        "3420",
        "277",
        "364589006",
        "268477000",
        "169895004",
        "169909004",
        "169922007",
        "account-1",
    ] {
        assert!(birth.contains(part), "{part} in {birth}");
    }
    let spots = parents_see(&event(EventKind::BloodSpot)).unwrap();
    for part in ["314081000", "314090007", "condition not suspected", "\"code\":\"04\"", "2026-04-06", "Ada"] {
        assert!(spots.contains(part), "{part} in {spots}");
    }
    assert!(!spots.contains("3420"), "a blood spot event tells nothing of the birth");
    let mut measured = event(EventKind::Birth);
    let measurement = |kind: &str, value: &str| Measurement {
        kind: kind.to_owned(),
        qty: Quantity { value: value.to_owned(), unit: "cm".to_owned() },
        at: None,
    };
    measured.statement.reviews =
        vec![Review { measurements: vec![measurement("length", "51.5"), measurement("head_circumference", "35")], ..Review::default() }];
    let measured = parents_see(&measured).unwrap();
    assert!(measured.contains("51.5") && measured.contains("\"value\":35,"), "{measured}");
}

#[test]
fn one_outcome_to_be_told_by_a_clinician_keeps_the_whole_event_back() {
    let seen = |outcomes: Vec<ConditionOutcome>| {
        let mut event = event(EventKind::BloodSpot);
        event.statement.blood_spots[0].outcomes = outcomes;
        parents_see(&event).err()
    };
    for shown in ["02", "04", "09"] {
        assert_eq!(seen(vec![outcome("PKU", shown), outcome("CF", "04")]), None, "{shown}");
    }
    for held in ["01", "03", "05", "06", "07", "08", "10", "11", "4", "unclassified", ""] {
        assert_eq!(seen(vec![outcome("PKU", "04"), outcome("CF", held)]), Some("hold-back"), "{held}");
    }
    let bare = ConditionOutcome { nbs_status: None, outcome_code: Some("1".to_owned()), ..outcome("PKU", "") };
    assert_eq!(seen(vec![bare]), Some("hold-back"));
    let died = ConditionOutcome { nbs_substatus: Some("0905".to_owned()), ..outcome("PKU", "09") };
    assert_eq!(seen(vec![died]), Some("hold-back"), "not screened because the baby died");
    let doubtful = ConditionOutcome { flags: vec!["invalid_for_condition".to_owned()], ..outcome("PKU", "04") };
    assert_eq!(seen(vec![doubtful]), Some("hold-back"));
    assert_eq!(seen(vec![outcome("XYZ", "04")]), Some("unknown-condition"));
    assert_eq!(seen(vec![]), Some("nothing-to-show"));
    let of = |result_status| vec![outcome("CF", "04"), ConditionOutcome { result_status, ..outcome("PKU", "04") }];
    assert_eq!(seen(of(ResultStatus::WrongPatient)), Some("wrong-patient"));
    assert_eq!(seen(of(ResultStatus::Deleted)), Some("delete-not-sent"));
    assert_eq!(seen(of(ResultStatus::Prelim)), Some("not-final"));
    assert_eq!(seen(of(ResultStatus::CannotObtain)), Some("not-final"));
    assert_eq!(seen(of(ResultStatus::Corrected)), None);
}

#[test]
fn without_a_consent_in_force_nothing_is_owed() {
    let birth = event(EventKind::Birth);
    let of = |consents: &[ProxyConsent]| parent_record(&birth, consents).err().map(|withheld| withheld.rule);
    let with = |change: fn(&mut ProxyConsent)| {
        let mut consents = consent();
        consents.iter_mut().for_each(change);
        of(&consents)
    };
    assert_eq!(of(&[]), Some("no-proxy-consent"));
    assert_eq!(with(|c| c.status = "revoked".to_owned()), Some("no-proxy-consent"));
    assert_eq!(with(|c| c.status = String::new()), Some("no-proxy-consent"));
    assert_eq!(with(|c| c.account_id = String::new()), Some("no-proxy-consent"));
    assert_eq!(with(|c| c.from = Some(moment("2026-04-07T09:00:00.25Z"))), None, "from this very moment");
    assert_eq!(with(|c| c.from = Some(moment("2026-04-07T09:00:01Z"))), Some("no-proxy-consent"));
    assert_eq!(with(|c| c.to = Some(moment("2026-04-07T09:00:01Z"))), None);
    assert_eq!(with(|c| c.to = Some(moment("2026-04-07T09:00:00.25Z"))), Some("no-proxy-consent"), "until this very moment");
    assert_eq!(with(|c| c.to = Some(moment("some day"))), Some("no-proxy-consent"), "an end that cannot be read");
    // Paid a week later, a consent that ended meanwhile counts no more.
    let mut ending = consent();
    ending[0].to = Some(moment("2026-04-10T00:00:00Z"));
    assert!(parent_record(&birth, &ending).is_ok());
    let later = "2026-04-14T09:00:00Z".parse().unwrap();
    assert_eq!(parent_record_as_of(&birth, &ending, later), Err(Withheld { rule: "no-proxy-consent" }));
    // Of two accounts only the one in force is named.
    let revoked = ProxyConsent { account_id: "account-2".to_owned(), status: "revoked".to_owned(), ..ProxyConsent::default() };
    let bytes = String::from_utf8(parent_record(&birth, &[consent(), vec![revoked]].concat()).unwrap()).unwrap();
    assert!(bytes.contains("account-1") && !bytes.contains("account-2"));
}

#[test]
fn at_sixteen_the_child_decides() {
    let birth = event(EventKind::Birth);
    let at = |now: &str| parent_record_as_of(&birth, &consent(), now.parse().unwrap()).err().map(|withheld| withheld.rule);
    assert_eq!(at("2042-03-31T12:00:00Z"), None);
    assert_eq!(at("2042-04-01T12:00:00Z"), Some("aged-out"));
}

#[test]
fn a_child_whose_birth_date_is_not_known_to_the_day_may_be_sixteen_from_the_first_day_on() {
    let of = |born: Option<(&str, Precision)>, now: &str| {
        let mut birth = event(EventKind::Birth);
        birth.record.birth.date = born.map(|(value, precision)| Date { value: value.to_owned(), precision });
        parent_record_as_of(&birth, &consent(), now.parse().unwrap()).err().map(|withheld| withheld.rule)
    };
    for (born, before, from) in [
        (("2026", Precision::Year), "2041-12-31T12:00:00Z", "2042-01-01T12:00:00Z"),
        (("2026-04", Precision::Month), "2042-03-31T11:00:00Z", "2042-04-01T12:00:00Z"),
    ] {
        assert_eq!(of(Some(born), before), None, "{born:?}");
        assert_eq!(of(Some(born), from), Some("aged-out"), "{born:?}");
    }
    assert_eq!(of(None, "2026-04-07T12:00:00Z"), Some("aged-out"), "nobody knows how old");
}

#[test]
fn an_account_that_nobody_verified_is_not_in_force() {
    let birth = event(EventKind::Birth);
    for verified_by in [None, Some(" ".to_owned())] {
        let consents = [ProxyConsent { verified_by, ..consent()[0].clone() }];
        assert_eq!(parent_record(&birth, &consents), Err(Withheld { rule: "no-proxy-consent" }));
    }
}

#[test]
fn nothing_but_what_the_list_names_is_shown_of_other_kinds_of_event() {
    use EventKind::*;
    for kind in [Document, EpisodeOfCare, Gp, Address, Death, Merge, Failsafe, Observations, Safeguarding] {
        assert_eq!(parents_see(&event(kind)), Err("not-on-allow-list"), "{kind:?}");
    }
    let mut address_only = event(Person);
    address_only.statement.child = Child { addresses: vec![home("street")], ..Child::default() };
    assert_eq!(parents_see(&address_only), Err("nothing-to-show"));
    address_only.statement.child.names = vec![Name { placeholder: true, family: Some("BABY".to_owned()), ..Name::default() }];
    assert_eq!(parents_see(&address_only), Err("placeholder-name"));
}

#[test]
fn a_baby_without_a_real_name_is_shown_without_a_name() {
    let mut birth = event(EventKind::Birth);
    birth.record.names =
        vec![Name { family: Some("EXAMPLE".to_owned()), given: vec!["BABY".to_owned()], placeholder: true, ..Name::default() }];
    let seen = parents_see(&birth).unwrap();
    assert!(seen.contains("3420") && !seen.contains("BABY") && !seen.contains("EXAMPLE"), "{seen}");
}

#[test]
fn equal_events_give_equal_bytes_and_a_later_event_the_same_resources() {
    let first = event(EventKind::Birth);
    assert_eq!(parents_see(&first), parents_see(&first));
    let mut later = first.clone();
    later.event = crate::names::EventId(uuid::Uuid::from_u128(0xf));
    later.version = 4;
    let urls = |event: &FiledEvent| {
        let bundle: Value = serde_json::from_str(&parents_see(event).unwrap()).unwrap();
        bundle["entry"].as_array().unwrap().iter().map(|entry| entry["request"]["url"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(urls(&first), urls(&later));
}

#[test]
fn every_rule_that_withholds_is_listed_once() {
    let words: BTreeSet<&str> = RULES.iter().map(|(word, _)| *word).collect();
    assert_eq!(words.len(), RULES.len());
    for row in ROWS {
        assert!(row.rule.is_none_or(|rule| words.contains(rule)), "{}", row.what);
    }
}

fn kinds() -> impl Strategy<Value = EventKind> {
    prop::sample::select(vec![EventKind::Person, EventKind::Birth, EventKind::BloodSpot])
}

fn statuses() -> impl Strategy<Value = Vec<(usize, String, bool)>> {
    let status = prop::sample::select(vec!["02", "04", "09", "03", "05", "08", "10", "unclassified"]).prop_map(str::to_owned);
    prop::collection::vec((0..11_usize, status, prop::bool::weighted(0.1)), 0..4)
}

proptest! {
    /// Whatever is planted together, in whatever kind of event: a Bundle is clean, and there is none where a row or an
    /// outcome forbids it.
    #[test]
    fn no_mixture_of_what_is_forbidden_leaks(
        kind in kinds(),
        rows in prop::collection::btree_set(0..ROWS.len(), 0..12),
        outcomes in statuses(),
    ) {
        let mut event = event(kind);
        event.statement.blood_spots = vec![BloodSpotResult {
            outcomes: outcomes.iter().map(|(condition, status, wrong)| ConditionOutcome {
                result_status: if *wrong { ResultStatus::WrongPatient } else { ResultStatus::Final },
                ..outcome(super::render::CONDITIONS[*condition].0, status)
            }).collect(),
            ..BloodSpotResult::default()
        }];
        rows.iter().for_each(|row| (ROWS[*row].plant)(&mut event));
        let refused = rows.iter().any(|row| ROWS[*row].rule.is_some());
        let held = kind == EventKind::BloodSpot && outcomes.iter().any(|(_, status, wrong)| *wrong || !["02", "04", "09"].contains(&status.as_str()));
        match parents_see(&event) {
            Ok(bytes) => {
                prop_assert!(!refused && !held, "{bytes}");
                assert_clean(&bytes, "mixture");
            }
            Err(rule) => prop_assert!(RULES.iter().any(|(word, _)| *word == rule)),
        }
    }
}

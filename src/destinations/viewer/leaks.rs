//! Each "no" of the matrix for a viewer (destination rules, sections 4 and 5), planted in a new, an updated, a deleted and a merged event,
//! and looked for in the bytes. The templates here say every word that a template can say, so that no template could leak it.

use proptest::prelude::*;

use super::super::fixture::{CANARY, Row, both, said, text};
use super::shown::{DOCUMENT, OCCASIONS, vocabulary};
use super::tests::{body, known, viewer};
use super::*;
use crate::canon::*;
use crate::names::ChildId;

/// A viewer whose templates say all words of the vocabulary.
fn talkative() -> Viewer {
    let mut files = TemplateFiles::new();
    for occasion in OCCASIONS.into_iter().chain([DOCUMENT]) {
        let mut template = format!("occasion = \"{occasion}\"\ntype = \"ADT^A31^ADT_A05\"\n[[segment]]\nid = \"PID\"\n1 = \"'1'\"\n");
        let mut number = 0;
        let (words, mut plain) = (vocabulary(occasion), String::new());
        say(
            &words,
            "",
            &mut |path, value| {
                number += 1;
                let time = if value.as_str().is_some_and(|text| text.starts_with("2026-")) { " | time" } else { "" };
                plain.push_str(&format!("[[segment]]\nid = \"ZZ{}\"\nwhen = \"{path}\"\n1 = \"{path}{time}\"\n", number % 10));
            },
            &mut template,
        );
        files.insert(format!("{occasion}.toml"), template + &plain);
    }
    Viewer::new(&files, super::tests::heading(), true).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn say(words: &Value, path: &str, one: &mut dyn FnMut(&str, &Value), lists: &mut String) {
    for (name, value) in words.as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Object(_) => say(value, &path, one, lists),
            Value::Array(list) => {
                lists.push_str(&format!("[[segment]]\nid = \"ZLI\"\neach = \"{path}\"\n"));
                for (place, (field, word)) in list[0].as_object().unwrap().iter().enumerate() {
                    let time = if word.as_str().is_some_and(|text| text.starts_with("2026-")) { " | time" } else { "" };
                    lists.push_str(&format!("{} = \"it.{field}{time}\"\n", place + 1));
                }
            }
            Value::Null => {}
            _ => one(&path, value),
        }
    }
}

fn person(kind: &str, what: &str) -> Relation {
    Relation {
        kind: kind.to_owned(),
        name: Some(Name { family: said(&format!("{what}-family")), given: vec![text(what)], ..Name::default() }),
        identifiers: vec![Identifier { value: text(&format!("{what}-number")), system: text("authority"), ..Identifier::default() }],
        birth_family_name: said(&format!("{what}-maiden")),
        address: Some(Address { lines: vec![text(what)], postcode: said("postcode"), ..Address::default() }),
        gp_practice_ods: said(&format!("{what}-gp")),
        telecoms: vec![Telecom { value: text("phone"), ..Telecom::default() }],
        language: said(&format!("{what}-language")),
        ..Relation::default()
    }
}

const ROWS: &[Row] = &[
    Row { what: "mother and her identifiers", rule: None, plant: |e| both(e, |c| c.relations.push(person("12", "mother"))) },
    Row {
        what: "father, guardian",
        rule: None,
        plant: |e| both(e, |c| c.relations.extend([person("13", "father"), person("05", "guardian")])),
    },
    Row {
        what: "a former identifier behind an adoption barrier",
        rule: None,
        plant: |e| {
            let old =
                Identifier { value: text("old-number"), system: text("old"), usage: IdentifierUse::Superseded, ..Identifier::default() };
            both(e, |c| {
                c.identifiers.push(old.clone());
                c.names.push(Name { family: said("former"), usage: Some("birth".into()), ..Name::default() });
                c.flags.adoption_barrier = true;
            });
        },
    },
    Row {
        what: "comments and professionals' names of every kind",
        rule: None,
        plant: |e| {
            for spot in &mut e.statement.blood_spots {
                spot.comment = said("laboratory");
                spot.outcomes.iter_mut().for_each(|outcome| outcome.outcome_text = said("outcome"));
            }
            for screen in &mut e.statement.hearing_screens {
                (screen.comment, screen.performer, screen.site) = (said("hearing"), said("screener"), said("a place in words"));
            }
            for exam in &mut e.statement.nipe_exams {
                (exam.comment, exam.performer) = (said("nipe"), said("examiner"));
                exam.hips = Some(NipeFinding { risk: said("risk"), ..NipeFinding::default() });
            }
            for given in &mut e.statement.immunisations {
                given.performer = vec![text("vaccinator")];
                given.reason = Some(Code { display: said("reason"), ..Code::default() });
            }
            for document in &mut e.statement.documents {
                (document.author, document.store_ref) = (said("author"), said("place"));
            }
        },
    },
    Row {
        what: "all of a review but its summary",
        rule: None,
        plant: |e| {
            for review in &mut e.statement.reviews {
                (review.comment, review.performer, review.mode, review.feeding) =
                    (said("comment"), said("visitor"), said("mode"), said("feeding"));
                (review.kind, review.site, review.attended) = (said("a kind"), said("a site in words"), said("attended"));
                review.concerns = vec![text("concern"), text("safeguarding"), text("family history")];
                review.scores = vec![Score { instrument: text("ASQ"), domain: said("domain"), ..Score::default() }];
                review.observations = vec![Observation {
                    text: said("answer"),
                    code: Some(Code { code: text("code"), ..Code::default() }),
                    ..Observation::default()
                }];
                review.measurements.push(Measurement {
                    kind: text("kind"),
                    qty: Quantity { value: "1".into(), unit: "kg".into() },
                    at: None,
                });
                review.measurements.push(Measurement {
                    kind: "weight".into(),
                    qty: Quantity { value: text("value"), unit: "kg".into() },
                    at: None,
                });
                review.measurements.push(Measurement {
                    kind: "weight".into(),
                    qty: Quantity { value: "1".into(), unit: text("unit") },
                    at: None,
                });
            }
        },
    },
    Row {
        what: "child protection facts, had they got so far",
        rule: None,
        plant: |e| {
            e.statement.safeguarding = vec![SafeguardingFact {
                text: said("plan"),
                code: Some(Code { code: text("code"), ..Code::default() }),
                ..SafeguardingFact::default()
            }]
        },
    },
    Row {
        what: "tasks and clocks, parents' accounts, other facts beside",
        rule: None,
        plant: |e| {
            e.statement.tasks =
                vec![FailsafeTask { key: said("task"), clock: said("clock"), closed: said("closed"), ..FailsafeTask::default() }];
            e.statement.proxy_consents = vec![ProxyConsent { account_id: text("account"), ..ProxyConsent::default() }];
            e.statement.observation_sets =
                vec![ObservationSet { comment: said("set"), performer: said("who"), ..ObservationSet::default() }];
            e.statement.appointments = vec![Appointment { service: said("service"), ..Appointment::default() }];
            e.statement.episodes = vec![EpisodeOfCare { service: said("episode"), ..EpisodeOfCare::default() }];
        },
    },
    Row {
        what: "when and how a child died",
        rule: None,
        plant: |e| {
            let death = Death {
                status: Some("formal".into()),
                date_time: Some(Instant { value: "1911-01-01".into(), precision: Precision::Day, raw: said("raw") }),
                ground: said("ground"),
                ..Death::default()
            };
            both(e, |c| c.death = Some(death.clone()));
        },
    },
    Row {
        what: "the hub, its ground, who notified",
        rule: None,
        plant: |e| {
            let hub = HubAssignment {
                hub: text("hub").as_str().into(),
                basis: HubBasis::MotherGp,
                interested: vec![text("other").as_str().into()],
                left: None,
            };
            both(e, |c| {
                c.hub = Some(hub.clone());
                (c.birth.notifier, c.birth.place_text, c.birth.delivery_method) = (said("notifier"), said("place"), said("method"));
            });
        },
    },
    Row { what: "anything of a sealed child", rule: Some("sealed"), plant: |e| e.record.status = Some(ChildStatus::Sealed) },
    Row {
        what: "anything against a dissent on record",
        rule: Some("dissent"),
        plant: |e| e.record.flags.share_consent = Some("dissent".into()),
    },
    Row {
        what: "anything against a dissent just said",
        rule: Some("dissent"),
        plant: |e| e.statement.child.flags.share_consent = Some("dissent".into()),
    },
    Row { what: "anything of a hidden child", rule: Some("restricted"), plant: |e| e.record.flags.local_hiding = Some(true) },
    Row {
        what: "anything of a restricted child",
        rule: Some("restricted"),
        plant: |e| e.statement.child.flags.sensitivity = Some("restricted".into()),
    },
    Row {
        what: "anything under a sensitivity that nobody knows",
        rule: Some("restricted"),
        plant: |e| e.record.flags.sensitivity = Some("blue".into()),
    },
    Row { what: "a stillbirth", rule: Some("stillborn"), plant: |e| e.record.birth.live_still = Some("3".into()) },
    Row { what: "an invalid number", rule: Some("invalidated"), plant: |e| e.record.status = Some(ChildStatus::Invalidated) },
    Row { what: "what came too late", rule: Some("superseded"), plant: |e| e.superseded = true },
    Row { what: "a pseudo-person", rule: Some("identity-unknown"), plant: |e| e.record.flags.identity_unknown = Some(true) },
];

/// An event of each kind that says something.
fn full(kind: EventKind) -> FiledEvent {
    let mut event = known(kind);
    let statement = &mut event.statement;
    match kind {
        EventKind::Hearing => {
            statement.hearing_screens = vec![HearingScreen { summary: Some(Code::default()), ..HearingScreen::default() }]
        }
        EventKind::Nipe => statement.nipe_exams = vec![NipeExam { kind: Some("infant_6_8w".into()), ..NipeExam::default() }],
        EventKind::Immunisation => statement.immunisations = vec![Immunisation::default()],
        EventKind::Review => statement.reviews = vec![Review::default()],
        EventKind::Document => statement.documents = vec![Document::default()],
        _ => {}
    }
    event
}

const KINDS: [EventKind; 11] = [
    EventKind::Person,
    EventKind::Birth,
    EventKind::Gp,
    EventKind::Address,
    EventKind::BloodSpot,
    EventKind::Hearing,
    EventKind::Nipe,
    EventKind::Immunisation,
    EventKind::Review,
    EventKind::Document,
    EventKind::Merge,
];

/// The same event as new, updated, deleted, and as the end of a record that was merged.
fn ways(event: &FiledEvent) -> Vec<(&'static str, FiledEvent)> {
    let with = |action| {
        let mut event = event.clone();
        event.statement.event.action = action;
        event
    };
    let mut merged = event.clone();
    merged.statement.identity_changes = vec![IdentityChange::default()];
    merged.record.merged_into = Some(ChildId(uuid::Uuid::from_u128(0xd)));
    vec![("new", with(Action::New)), ("update", with(Action::Update)), ("delete", with(Action::Delete)), ("merge", merged)]
}

fn must_be_silent_about(viewer: &Viewer, row: &Row) {
    for kind in KINDS {
        let mut event = full(kind);
        (row.plant)(&mut event);
        for (way, event) in ways(&event) {
            let told = body(viewer, &event);
            if let Some(rule) = row.rule {
                assert_eq!(told, Err(Unsaid::Withheld(rule)), "{}, {kind:?}, {way}", row.what);
                assert_eq!(viewer.withholds(&event), Some(rule), "{}, {kind:?}, {way}: nothing is owed", row.what);
                continue;
            }
            if let Ok(body) = told {
                assert!(!body.contains(CANARY) && !body.contains("1911"), "{}, {kind:?}, {way}: {body}", row.what);
            }
        }
    }
}

#[test]
fn no_template_can_say_what_a_viewer_must_not_be_told() {
    for viewer in [viewer(), talkative()] {
        for row in ROWS {
            must_be_silent_about(&viewer, row);
        }
    }
}

#[test]
fn the_talkative_templates_say_what_may_be_said() {
    let viewer = talkative();
    for kind in KINDS {
        let told = body(&viewer, &full(kind)).unwrap();
        assert!(told.contains("EXAMPLE") && told.contains("SE1 9ZZ"), "{kind:?}: {told}");
    }
}

#[test]
fn of_a_restricted_child_its_death_is_told_and_nothing_by_which_it_is_found() {
    let mut event = full(EventKind::Death);
    let death = Death {
        status: Some("formal".into()),
        date_time: Some(Instant { value: "1911-01-01".into(), precision: Precision::Day, raw: None }),
        ..Death::default()
    };
    both(&mut event, |child| {
        child.death = Some(death.clone());
        child.flags.sensitivity = Some("restricted".into());
    });
    for viewer in [viewer(), talkative()] {
        let told = body(&viewer, &event).unwrap();
        for hidden in ["EXAMPLE", "SE1 9ZZ", "TEST STREET", "G85001", "9990000018", "B123", "07700", "1911", "20260401|"] {
            assert!(!told.contains(hidden), "{hidden} in {told}");
        }
    }
    assert!(
        body(&viewer(), &event).unwrap().contains("PID|1||00000000-0000-0000-0000-00000000000c^^^CHIS^PI|||||||||||||||||||||||||||Y\r")
    );
}

#[test]
fn kinds_that_the_matrix_does_not_name_are_owed_nothing() {
    for kind in [
        EventKind::Failsafe,
        EventKind::ProxyConsent,
        EventKind::Safeguarding,
        EventKind::Observations,
        EventKind::Appointment,
        EventKind::EpisodeOfCare,
    ] {
        assert_eq!(viewer().withholds(&full(kind)), Some("not-for-viewer"), "{kind:?}");
    }
}

#[test]
fn every_rule_that_a_viewer_meets_is_in_the_list() {
    for row in ROWS {
        let known = |rule: &str| VIEWER_RULES.iter().any(|(word, _)| *word == rule);
        assert!(row.rule.is_none_or(known), "{:?}", row.rule);
    }
}

proptest! {
    #[test]
    fn no_text_of_a_sender_makes_a_segment_field_or_message(family in "[|^~\\\\&\\r\\n\\x0b\\x1cA-ZÀ-ž]{0,20}", street in "\\PC{0,20}") {
        let mut event = full(EventKind::Person);
        event.record.names[0].family = Some(format!("A{family}"));
        event.record.addresses[0].lines = vec![format!("A{street}")];
        let told = body(&viewer(), &event).unwrap();
        let segments: Vec<&str> = told.split_terminator('\r').map(|segment| &segment[..3]).collect();
        prop_assert_eq!(segments, ["MSH", "EVN", "PID", "PD1", "PV1"]);
        let pid = told.split('\r').find(|segment| segment.starts_with("PID")).unwrap();
        prop_assert_eq!(pid.split('|').count(), 33);
        prop_assert_eq!(pid.split('|').nth(5).unwrap().split('^').count(), 7);
        let is_clean = !told.contains(['\n', '\u{b}', '\u{1c}']);
        prop_assert!(is_clean);
    }
}

//! What a viewer is sent, message by message.

use super::super::fixture::{event, moment, nhs, on, outcome};
use super::*;
use crate::canon::*;
use crate::names::ChildId;

pub(super) fn viewer() -> Viewer {
    viewer_with(&[], false)
}

pub(super) fn heading() -> Heading {
    Heading {
        sender: ("CHIS".into(), "LONDON".into()),
        receiver: ("VIEWER".into(), "LONDON".into()),
        processing_id: "P".into(),
        version: "2.4".into(),
    }
}

fn viewer_with(changed: &[(&str, &str)], clear: bool) -> Viewer {
    let mut files = template_files(None).unwrap();
    files.extend(changed.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
    Viewer::new(&files, heading(), clear).unwrap()
}

pub(super) fn body(viewer: &Viewer, event: &FiledEvent) -> Result<String, Unsaid> {
    viewer.body(event, None, &|_| Ok(Some(b"PDF".to_vec()))).map(|body| String::from_utf8(body).unwrap())
}

/// The segments without MSH and PID, and MSH-9 of each message.
fn said(event: &FiledEvent) -> Vec<String> {
    let body = body(&viewer(), event).unwrap();
    let wanted = body.split_terminator('\r').filter(|segment| !segment.starts_with("PID"));
    wanted
        .map(|segment| if segment.starts_with("MSH") { segment.split('|').nth(8).unwrap().to_owned() } else { segment.to_owned() })
        .collect()
}

fn child() -> &'static str {
    "00000000-0000-0000-0000-00000000000c"
}

/// Another child's fixture than the parents': an address, a practice, a local number and a telephone too.
pub(super) fn known(kind: EventKind) -> FiledEvent {
    let mut event = event(kind);
    event.record.identifiers.push(Identifier {
        value: "B123".into(),
        system: "urn:v2:RJ122".into(),
        kind: Some("MR".into()),
        ..Identifier::default()
    });
    event.record.addresses = vec![Address {
        lines: vec!["10 TEST STREET".into(), "LONDON".into()],
        postcode: Some("SE1 9ZZ".into()),
        usage: Some("home".into()),
        ..Address::default()
    }];
    event.record.gp = Some(GpRegistration { practice_ods: Some("G85001".into()), ..GpRegistration::default() });
    event.record.telecoms =
        vec![Telecom { value: "07700900001".into(), usage: Some("mobile".into()), system: Some("phone".into()), rank: None }];
    event
}

#[test]
fn a_person_is_said_whole_and_in_the_standards_places() {
    let body = body(&viewer(), &known(EventKind::Person)).unwrap();
    let control_id = body.split('|').nth(9).unwrap().to_owned();
    assert_eq!(control_id.len(), 20);
    let expected = format!(
        "MSH|^~\\&|CHIS|LONDON|VIEWER|LONDON|20260407100000+0100||ADT^A31^ADT_A05|{control_id}|P|2.4|||||GBR|UNICODE UTF-8\r\
         EVN||20260407100000+0100||||20260401100000+0100\r\
         PID|1||{}^^^CHIS^PI~9990000018^^^NHS^NH~B123^^^RJ122^MR||EXAMPLE^Ada^^^^^L||20260401|2|||10 TEST STREET^LONDON^^^SE1 9ZZ^^H||07700900001^PRS^PH|||||||||||||||||||NSTS01\r\
         PD1|||^^G85001\r\
         PV1|1|N\r",
        child()
    );
    assert_eq!(body, expected);
    let first = FiledEvent { version: 1, ..known(EventKind::Person) };
    assert_eq!(said(&first)[0], "ADT^A28^ADT_A05", "the first word of a child is an A28");
}

#[test]
fn a_birth_is_the_person_and_what_was_measured() {
    let said = said(&known(EventKind::Birth));
    assert_eq!(
        said.iter().filter(|segment| segment.contains('^') && segment.len() < 20).collect::<Vec<_>>(),
        ["ADT^A31^ADT_A05", "PD1|||^^G85001", "ORU^R01^ORU_R01"]
    );
    assert!(said.contains(&"OBX|1|NM|364589006^Birth weight^SCT||3420|g|||||F".to_owned()), "{said:?}");
    assert!(said.contains(&"OBX|6|NM|169922007^Apgar at 10 minutes^SCT||10||||||F".to_owned()), "{said:?}");
}

#[test]
fn a_blood_spot_result_has_an_obx_for_each_condition_and_its_id_in_every_version() {
    let mut event = known(EventKind::BloodSpot);
    event.statement.blood_spots[0].outcomes[0].procedure_code = Some("314081000".into());
    event.statement.blood_spots[0].outcomes.push(ConditionOutcome { nbs_substatus: Some("0303".into()), ..outcome("CF", "03") });
    let lines = said(&event);
    assert_eq!(lines[0], "ORU^R01^ORU_R01");
    assert_eq!(lines[2], "OBX|1|CE|314081000^PKU^SCT|PKU|04^Condition not suspected^NBS||||||F");
    assert_eq!(lines[4], "OBX|3|CE|^CF^SCT|CF|0303^Repeat or further sample needed^NBS||||||F");
    let obr = |event: &FiledEvent| said(event)[1].split('|').nth(3).unwrap().to_owned();
    event.statement.blood_spots[0].outcomes[0].result_status = ResultStatus::WrongPatient;
    let corrected = FiledEvent { version: 9, child_id: ChildId(uuid::Uuid::from_u128(0xd)), ..event.clone() };
    assert_eq!(obr(&event), obr(&corrected), "the id is the publisher's key, whoever the child turns out to be");
    assert!(said(&corrected)[2].ends_with("|W"));
    event.statement.event.action = Action::Delete;
    assert!(said(&event).iter().filter(|line| line.starts_with("OBX")).all(|line| line.ends_with("||||||D")));
    event.statement.blood_spots.clear();
    event.statement.event.key = Some("acc-1".into());
    assert_eq!(said(&event)[2], "OBX|1|CE|NBS^Newborn blood spot screening^CHIS||||||||D", "a deletion that names only the key");
    assert_eq!(obr(&event), obr(&corrected));
}

#[test]
fn hearing_and_examinations_are_said_test_by_test() {
    let mut event = known(EventKind::Hearing);
    let code = |code: &str| Some(Code { code: code.into(), ..Code::default() });
    let test = |ear: &str, kind: &str| HearingTest {
        kind: Some(kind.into()),
        ear: Some(ear.into()),
        status: Some("clear".into()),
        result: code("1"),
        at: None,
    };
    event.statement.hearing_screens = vec![HearingScreen {
        key: Some("h1".into()),
        at: Some(moment("2026-04-02T09:00:00Z")),
        tests: vec![test("left", "AOAE"), test("left", "AABR"), test("right", "AOAE")],
        summary: code("2"),
        summary_status: Some("clear".into()),
        ..HearingScreen::default()
    }];
    let lines = said(&event);
    assert!(lines[1].contains("|NHSP^Newborn hearing screening^CHIS|||20260402100000+0100|"), "{lines:?}");
    assert_eq!(lines[3], "OBX|2|CE|413083006^AABR^SCT|L2|1^clear^SCT||||||F");
    assert_eq!(lines[5], "OBX|4|CE|276771000000107^Newborn hearing screening outcome^SCT||2^clear^SCT||||||F|||20260402100000+0100");

    let mut event = known(EventKind::Nipe);
    let finding =
        NipeFinding { status: Some("no_abnormality".into()), side: Some("both".into()), risk: Some("a text".into()), code: code("3") };
    event.statement.nipe_exams = vec![NipeExam {
        kind: Some("newborn_72h".into()),
        eyes: Some(finding.clone()),
        hips: Some(finding),
        bcg_eligible: Some(true),
        ..NipeExam::default()
    }];
    let lines = said(&event);
    assert!(lines[1].contains("|NIPE72^"), "{lines:?}");
    assert_eq!(lines[3], "OBX|2|CE|985531000000102^hips^SCT|both|3^no_abnormality^SCT||||||F");
    assert_eq!(lines[4], "OBX|3|ST|bcg-eligibility^Eligible for BCG^CHIS||Y||||||F");
}

fn vaccinated() -> FiledEvent {
    let mut event = known(EventKind::Immunisation);
    let given = |key: &str| Immunisation {
        key: Some(key.into()),
        occurrence: Some(moment("2026-06-01T09:00:00Z")),
        vaccine: Some(Code { code: "34765811000001105".into(), display: Some("Infanrix|Hexa ^1".into()), ..Code::default() }),
        dose_number: Some(1),
        batch: Some("A&B~1".into()),
        route: Some(Code { code: "78421000".into(), ..Code::default() }),
        location_ods: Some("G85001".into()),
        ..Immunisation::default()
    };
    event.statement.immunisations = vec![given("i1"), given("i2")];
    event
}

#[test]
fn each_vaccination_is_a_message_and_no_text_can_break_out_of_its_field() {
    let event = vaccinated();
    let lines = said(&event);
    assert_eq!(lines.iter().filter(|line| *line == "VXU^V04^VXU_V04").count(), 2);
    assert_eq!(
        lines[2],
        "RXA|0|1|20260601100000+0100|20260601100000+0100|34765811000001105^Infanrix\\F\\Hexa \\S\\1^SCT|999|||||^^^G85001||||A\\T\\B\\R\\1|||||CP|A|20260407100000+0100"
    );
    let ids: std::collections::BTreeSet<String> =
        body(&viewer(), &event).unwrap().split("MSH|").skip(1).map(|message| message.split('|').nth(8).unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2, "each message has a control id of its own");
    let mut deleted = event.clone();
    deleted.statement.event.action = Action::Delete;
    assert!(said(&deleted)[2].contains("|CP|D|"));
    let refused = |event: &mut FiledEvent| event.statement.immunisations[0].status = ImmunisationStatus::NotDone;
    let mut not_given = event;
    refused(&mut not_given);
    assert!(said(&not_given)[2].contains("|NA|A|"));
}

#[test]
fn a_review_is_told_in_short_and_a_document_with_its_content() {
    let mut event = known(EventKind::Review);
    let measured = |kind: &str, value: &str, unit: &str| Measurement {
        kind: kind.into(),
        qty: Quantity { value: value.into(), unit: unit.into() },
        at: None,
    };
    event.statement.reviews = vec![Review {
        kind: Some("0021".into()),
        attended: Some("attended".into()),
        measurements: vec![
            measured("weight", "9.1", "kg"),
            measured("mood", "3", "kg"),
            measured("height", "tall", "cm"),
            measured("length", "74", "hands"),
        ],
        concerns: vec!["a concern".into()],
        ..Review::default()
    }];
    let lines = said(&event);
    assert_eq!(lines.iter().filter(|line| line.starts_with("OBX")).count(), 2, "{lines:?}");
    assert_eq!(lines[3], "OBX|2|NM|27113001^weight^SCT||9.1|kg|||||F");

    let mut event = known(EventKind::Document);
    let document =
        Document { key: Some("d1".into()), mime: Some("application/pdf".into()), sha256: Some("00".into()), ..Document::default() };
    event.statement.documents = vec![document];
    let lines = said(&event);
    assert_eq!(lines[0], "MDM^T02^MDM_T02");
    assert_eq!(lines.last().unwrap(), "OBX|1|ED|||^application^pdf^Base64^UERG||||||F");
    let unread = || Err("the disk does not answer".to_owned());
    assert_eq!(viewer().body(&event, None, &|_| unread()), Err(Unsaid::Unread("the disk does not answer".into())));
    let gone = Unsaid::Unsayable("the content of the document is not kept".into());
    assert_eq!(viewer().body(&event, None, &|_| Ok(None)), Err(gone), "never without its content");
    event.statement.event.action = Action::Delete;
    assert!(viewer().body(&event, None, &|_| Ok(None)).is_ok(), "it is taken back without");
    assert_eq!(said(&event)[0], "MDM^T11^MDM_T01");
    event.statement.documents[0].confidential = Some("R".into());
    assert_eq!(body(&viewer(), &event), Err(Unsaid::Withheld("confidential")));
}

#[test]
fn a_merge_names_who_goes_on_and_who_was_given_up() {
    let mut event = known(EventKind::Merge);
    event.statement.identity_changes = vec![IdentityChange::default()];
    assert_eq!(said(&event)[0], "ADT^A31^ADT_A05", "of the one who goes on, all there is");
    event.record.status = Some(ChildStatus::Merged);
    event.record.merged_into = Some(ChildId(uuid::Uuid::from_u128(0xd)));
    let text = body(&viewer(), &event).unwrap();
    assert!(text.contains("ADT^A40^ADT_A39"));
    assert!(text.contains("PID|1||00000000-0000-0000-0000-00000000000d^^^CHIS^PI||"), "{text}");
    assert!(text.contains(&format!("MRG|{}^^^CHIS^PI~9990000018^^^NHS^NH~B123^^^RJ122^MR\r", child())), "{text}");
    assert!(!text.contains("TEST STREET") && !text.contains("G85001"));
    let hidden = Child { flags: Flags { local_hiding: Some(true), ..Flags::default() }, ..Child::default() };
    assert_eq!(viewer().body(&event, Some(&hidden), &|_| Ok(None)), Err(Unsaid::Withheld("restricted")));
    event.record.flags.adoption_barrier = true;
    assert_eq!(body(&viewer(), &event), Err(Unsaid::Withheld("adoption-barrier")));
}

#[test]
fn what_was_cleared_is_said_only_where_the_site_asks() {
    let mut event = known(EventKind::Person);
    event.record.gp = None;
    event.record.telecoms.clear();
    event.statement.clears = vec!["gp.practice_ods".into(), "telecoms".into()];
    assert!(!body(&viewer(), &event).unwrap().contains("\"\""));
    let text = body(&viewer_with(&[], true), &event).unwrap();
    assert!(text.contains("PD1|||\"\"\r"), "{text}");
    assert!(text.contains("^H||\"\"||"), "{text}");
}

#[test]
fn the_same_event_says_the_same_under_the_same_control_ids_and_another_version_under_others() {
    let (event, viewer) = (known(EventKind::Birth), viewer());
    let once = body(&viewer, &event).unwrap();
    assert_eq!(once, body(&viewer, &event).unwrap());
    let ids = |event: &FiledEvent| -> Vec<String> {
        body(&viewer, event).unwrap().split("MSH|").skip(1).map(|message| message.split('|').nth(8).unwrap().to_owned()).collect()
    };
    let all: std::collections::BTreeSet<String> = (2..200).flat_map(|version| ids(&FiledEvent { version, ..event.clone() })).collect();
    assert_eq!(all.len(), 198 * 2);
    assert!(all.iter().all(|id| id.len() == 20 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
}

#[test]
fn a_code_that_a_table_lacks_is_not_said_wrong() {
    let viewer = viewer_with(&[("tables/sex.csv", "from,to\n1,M\n")], false);
    let unsayable = Unsaid::Unsayable("template adt-person.toml, line 18: table \"sex\" lacks the code".into());
    assert_eq!(body(&viewer, &known(EventKind::Person)), Err(unsayable));
}

#[test]
fn a_site_changes_a_field_by_one_file_of_its_own() {
    let own = "[[segment]]\nid = \"PID\"\n1 = \"'1'\"\n3 = { 1 = \"child.nhs_number\", 4 = \"'NHS'\" }\n";
    let text = body(&viewer_with(&[("person.toml", own)], false), &known(EventKind::BloodSpot)).unwrap();
    assert!(text.contains("PID|1||9990000018^^^NHS\rOBR|"), "{text}");
}

fn mistakes(name: &str, text: &str) -> Vec<String> {
    let mut files = template_files(None).unwrap();
    files.insert(name.to_owned(), text.to_owned());
    Viewer::new(&files, heading(), false).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_in_a_template_is_named_with_its_place_and_remedy() {
    let template = "occasion = \"review\"\ntype = \"ORU^R01\"\n[[segment]]\nid = \"PID\"\n5 = \"child.nmes\"\n7 = \"child.birth_date\"\n8 = \"child.sex | tabel sex\"\n\
                    [[segment]]\nid = \"OBX\"\neach = \"item.scores\"\nx = 1\n3 = \"it.kind | table none\"\n";
    let found = mistakes("oru-review.toml", template);
    for wanted in [
        "2:8 `type` is no message type; write all three parts",
        "5:5 nothing is called `child.nmes`",
        "6:5 `child.birth_date` is a time; write `| time`",
        "7:5 there is no converter \"tabel sex\"; one of: time",
        "10:8 `item.scores` is no list",
        "11:1 unknown key `x`",
        "12:5 there is no table \"none\"; add a file tables/none.csv",
    ] {
        assert!(found.iter().any(|told| told.starts_with(&format!("oru-review.toml:{wanted}"))), "{wanted} in {found:#?}");
    }
    assert!(mistakes("own.toml", "occasion = \"revieww\"\n")[0].contains("there is no occasion \"revieww\"; one of: demographics"));
    assert!(mistakes("own.toml", "occasion = ")[0].starts_with("own.toml:1:"));
    assert!(
        mistakes("oru-nipe.toml", "occasion = \"nipe\"\ntype = \"ORU^R01^ORU_R01\"\n[[segment]]\npart = \"persn\"\n")
            .iter()
            .any(|told| told.contains("there is no part \"persn\"; add a file persn.toml"))
    );
    assert!(
        mistakes("tables/sex.csv", "from,too\n1,2\n")
            .iter()
            .any(|told| told.starts_with("tables/sex.csv:1:1 the table has no column `to`"))
    );
    assert!(
        mistakes("tables/sex.csv", "from,to\n1,2\n1,3\n")
            .iter()
            .any(|told| told.starts_with("tables/sex.csv:3:1 the table has \"1\" twice"))
    );
    let death = "occasion = \"death\"\ntype = \"ADT^A31^ADT_A05\"\n[[segment]]\nid = \"PID\"\n11 = \"child.addresses.line1\"\n";
    assert!(
        mistakes("adt-death.toml", death)[0].contains("nothing is called `child.addresses.line1`"),
        "of a restricted child no template can name an address"
    );
}

#[test]
fn the_words_that_templates_may_use_are_those_that_there_are() {
    // Every word that an event has is in the vocabulary: otherwise a site could not use it, and nobody would know.
    let mut birth = known(EventKind::Birth);
    birth.record.birth.birth_order = Some(2);
    birth.record.birth.births_in_confinement = Some(2);
    birth.statement.child.birth.time = Some(moment("2026-04-01T10:00:00Z"));
    birth.record.birth.time = birth.statement.child.birth.time.clone();
    let _used = (nhs("9990000026", "01"), on("2026-04-01"));
    for event in [birth, known(EventKind::BloodSpot), vaccinated()] {
        let shown = shown(&event).unwrap();
        for (occasion, items) in &shown.occasions {
            let words = shown::vocabulary(occasion);
            let mut tree = shown.tree.clone();
            tree.as_object_mut().unwrap().insert("item".into(), items[0].clone());
            let mut unknown = Vec::new();
            missing(&tree, &words, "", &mut unknown);
            assert_eq!(unknown, Vec::<String>::new(), "{occasion}");
        }
    }
}

fn missing(tree: &Value, words: &Value, path: &str, unknown: &mut Vec<String>) {
    match tree {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match words.get(name) {
            Some(word) => missing(value, word, &format!("{path}.{name}"), unknown),
            None => unknown.push(format!("{path}.{name}")),
        }),
        Value::Array(list) => list.iter().for_each(|one| missing(one, &words[0], path, unknown)),
        _ => {}
    }
}

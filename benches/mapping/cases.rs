//! What is measured, by `mapping` for its time and by `allocations` for its memory: reading a message, and the yardsticks beside it.

use std::hint::black_box;

use chis_broker::fhir::{self, Release};
use chis_broker::hl7::{Message, ReadOptions};
use chis_broker::mapping::{Bundle, Format, Input, Outcome};

/// One thing that is measured.
pub struct Case<'c> {
    /// Which message.
    pub message: &'static str,
    /// What is done with it.
    pub what: &'static str,
    /// Does it.
    pub run: Box<dyn FnMut() + 'c>,
    /// It is no part of this project.
    pub is_yardstick: bool,
}

/// An invented A28 of 0.9 KiB, an invented ORU of 3.3 KiB, and a sample event of the national service.
const MESSAGES: [(&str, &[u8], Format); 3] = [
    ("A28", include_bytes!("a28.hl7"), Format::Hl7v2),
    ("ORU", include_bytes!("oru.hl7"), Format::Hl7v2),
    ("NEMS", include_bytes!("../../samples/17-nems-bloodspot-new.xml"), Format::Stu3Xml),
];

fn ours<'c, T>(message: &'static str, what: &'static str, mut run: impl FnMut() -> T + 'c) -> Case<'c> {
    Case { message, what, run: Box::new(move || drop(black_box(run()))), is_yardstick: false }
}

fn theirs<'c, T>(message: &'static str, what: &'static str, run: impl FnMut() -> T + 'c) -> Case<'c> {
    Case { is_yardstick: true, ..ours(message, what, run) }
}

/// All cases.
pub fn cases(bundle: &Bundle) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for (name, body, format) in MESSAGES {
        let input = Input { format, body, default_charset: None, allow_test_numbers: true, received: None };
        let reading = bundle.read(&input, true);
        assert_eq!(reading.outcome, Outcome::Mapped, "{name}: {:?}", reading.findings);
        cases.push(ours(name, "read, with provenance", move || bundle.read(&input, true)));
        cases.push(ours(name, "read", move || bundle.read(&input, false)));
        if format == Format::Hl7v2 {
            let text = std::str::from_utf8(body).expect("the message is UTF-8");
            cases.push(ours(name, "index alone", move || Message::read(body, &ReadOptions::default()).expect("a message")));
            cases.push(theirs(name, "hl7-parser, whole message", move || hl7_parser::Message::parse(text).expect("a message")));
        } else {
            let tree = move || fhir::read_xml(body, Release::Stu3, &fhir::Limits::default()).expect("the sample is FHIR");
            let json = serde_json::to_vec(&tree()).expect("a tree is JSON");
            cases.push(ours(name, "tree alone", tree));
            cases.push(theirs(name, "quick-xml, all events", move || events(body)));
            let parse = move || serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
            cases.push(theirs(name, "serde_json, the same tree", parse));
        }
    }
    cases
}

/// All events of an XML document with their attributes.
fn events(xml: &[u8]) -> usize {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_reader(xml);
    let mut count = 0;
    loop {
        count += match reader.read_event().expect("the sample is XML") {
            Event::Eof => return count,
            Event::Start(start) | Event::Empty(start) => 1 + start.attributes().flatten().count(),
            _ => 1,
        };
    }
}

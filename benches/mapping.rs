//! How long a message takes to be read: index, fields, rules, tables, findings, and where every value came from.
//!
//! The yardsticks run beside it, on the same bytes and in the same process: hl7-parser's parse of the whole message, which gives a
//! tree and nothing canonical; for the XML of the national events quick-xml's pass over all events and attributes, and serde_json's
//! parse of the same tree written as JSON.
//!
//!     cargo bench --bench mapping
//!
//! Criterion's figures come first, a table of the best runs with allocations last. On a machine that others use too, the best of many
//! short runs is the figure that can be repeated.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench stops at what it did not expect, and prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use chis_broker::fhir::{self, Release};
use chis_broker::hl7::{Message, ReadOptions};
use chis_broker::mapping::{Bundle, Format, Input, Outcome};
use criterion::{BenchmarkId, Criterion};
use mimalloc::MiMalloc;
use stats_alloc::{Region, StatsAlloc};

/// The allocator of the program, with a count.
#[global_allocator]
static ALLOCATOR: StatsAlloc<MiMalloc> = StatsAlloc::new(MiMalloc);

/// One thing that is measured.
struct Case<'c> {
    name: &'static str,
    what: &'static str,
    run: Box<dyn FnMut() + 'c>,
}

fn case<'c, T>(name: &'static str, what: &'static str, mut run: impl FnMut() -> T + 'c) -> Case<'c> {
    Case { name, what, run: Box::new(move || drop(black_box(run()))) }
}

/// The best of many short runs in microseconds, allocations and bytes of one run.
fn best(case: &mut Case<'_>) -> (f64, usize, usize) {
    for _ in 0..200 {
        (case.run)();
    }
    let region = Region::new(&ALLOCATOR);
    (case.run)();
    let counted = region.change();
    let mut shortest = Duration::MAX;
    for _ in 0..4_000 {
        let start = Instant::now();
        for _ in 0..4 {
            (case.run)();
        }
        shortest = shortest.min(start.elapsed() / 4);
    }
    (shortest.as_secs_f64() * 1e6, counted.allocations + counted.reallocations, counted.bytes_allocated)
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

fn main() {
    let bundle = Bundle::compile(&Bundle::shipped(), "mappings/").expect("the shipped files compile");
    let a28: &[u8] = include_bytes!("a28.hl7");
    let oru: &[u8] = include_bytes!("oru.hl7");
    let nems: &[u8] = include_bytes!("../samples/17-nems-bloodspot-new.xml");
    let inputs = [("A28", a28, Format::Hl7v2), ("ORU", oru, Format::Hl7v2), ("NEMS", nems, Format::Stu3Xml)];
    let mut cases = Vec::new();
    let tree = fhir::read_xml(nems, Release::Stu3, &fhir::Limits::default()).expect("the sample is FHIR");
    let json = serde_json::to_vec(&tree).expect("a tree is JSON");
    for (name, body, format) in inputs {
        let input = Input { format, body, default_charset: None, allow_test_numbers: true };
        let reading = bundle.read(&input, true);
        assert_eq!(reading.outcome, Outcome::Mapped, "{name}: {:?}", reading.findings);
        println!("{name}: {} bytes, {} values", body.len(), reading.provenance.len());
        let bundle = &bundle;
        cases.push(case(name, "read, with provenance", move || bundle.read(&input, true)));
        cases.push(case(name, "read", move || bundle.read(&input, false)));
        if format == Format::Hl7v2 {
            let text = std::str::from_utf8(body).expect("the message is UTF-8");
            cases.push(case(name, "index alone", move || Message::read(body, &ReadOptions::default()).expect("a message")));
            cases.push(case(name, "hl7-parser, whole message", move || hl7_parser::Message::parse(text).expect("a message")));
        } else {
            cases.push(case(name, "tree alone", move || fhir::read_xml(body, Release::Stu3, &fhir::Limits::default()).expect("FHIR")));
            cases.push(case(name, "quick-xml, all events", move || events(body)));
            cases.push(case(name, "serde_json, same tree", || serde_json::from_slice::<serde_json::Value>(&json).expect("JSON")));
        }
    }
    let mut criterion = Criterion::default().configure_from_args();
    for case in &mut cases {
        let id = BenchmarkId::new(case.name, case.what);
        criterion.bench_function(&id.to_string(), |bencher| bencher.iter(|| (case.run)()));
    }
    println!("\n| message | what | best of many, µs | of the yardstick | allocations | bytes |\n|---|---|---:|---:|---:|---:|");
    let measured: Vec<_> = cases.iter_mut().map(|case| (case.name, case.what, best(case))).collect();
    for (name, what, (micros, count, bytes)) in &measured {
        let yardstick = measured.iter().filter(|other| other.0 == *name && !(other.1.starts_with("read") || other.1.ends_with("alone")));
        let yardstick: f64 = yardstick.map(|(_, _, (micros, ..))| micros).sum();
        println!("| {name} | {what} | {micros:.1} | {:.2} | {count} | {bytes} |", micros / yardstick);
    }
    criterion.final_summary();
}

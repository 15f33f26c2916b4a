//! Real messages of public test suites, read by us, by python-hl7 (its answers are in a table beside them) and by
//! hl7-parser segment by segment. The corpus is not part of the project: `CHIS_CORPUS` says where it is.
//!
//! What is tolerated, and why:
//!
//! - The table was made from texts in which every run of CR and LF was one CR. Where a message uses CR, a lone LF is
//!   text to us, so a field or the number of segments may differ there; such messages are not compared.
//! - Values are compared as first repetition, without trailing delimiters: python-hl7 keeps what it was given.
//! - Messages whose MSH-2 holds letters, digits or other alphabets are refused by us, and rightly.
//! - One fuzzed message names a character set that does not exist, and is refused.
//! - The table cuts values after 200 characters; a field that is absent to us is empty to it.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chis_broker::hl7::{self, AckMode, Answering, Header, HeaderError, Limits, Message, ReadError, ReadOptions, Verdict};

/// The table's cells are no longer.
const TABLE_CHARACTERS_MAX: usize = 200;

/// The corpus, or nothing and a word on why.
fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("CHIS_CORPUS").map(PathBuf::from);
    if folder.is_none() {
        #[expect(clippy::print_stderr, reason = "a test that did not run must not look like one that passed")]
        {
            eprintln!("CHIS_CORPUS is not set: the corpus was not read");
        }
    }
    folder
}

/// Every message, by its path in the corpus.
fn messages(corpus: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![corpus.join("hl7v2")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(corpus).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    assert!(500 < found.len(), "only {} messages in the corpus", found.len());
    found
}

/// One row of the table.
#[derive(Debug)]
struct Oracle {
    is_ok: bool,
    /// MSH-9, MSH-10, PID-3, PID-5, PID-7.
    values: [String; 5],
}

fn oracle(corpus: &Path) -> BTreeMap<String, Oracle> {
    let table = std::fs::read_to_string(corpus.join("oracle-python-hl7.tsv")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let value = |index: usize| cells.get(index).copied().unwrap_or_default().to_owned();
        (value(0), Oracle { is_ok: cells.get(3) == Some(&"1"), values: [4, 5, 6, 7, 8].map(value) })
    };
    table.lines().skip(1).map(row).collect()
}

/// The first repetition of the first such field.
fn value(message: &Message, segment: &str, field: usize) -> String {
    let first = message.segments_named(segment).next().and_then(|index| message.field(index, field));
    let repetition = first.and_then(|field| message.repetitions(field).into_iter().next());
    repetition.map(|piece| piece.text.to_owned()).unwrap_or_default()
}

/// `A^B^^` and `A^B` say the same.
fn plain(text: &str, message: &Message) -> String {
    let delimiters = message.delimiters();
    let is_delimiter = |letter: char| [delimiters.component, delimiters.sub].into_iter().flatten().any(|byte| char::from(byte) == letter);
    let first = delimiters.repetition.map_or(text, |repetition| text.split(char::from(repetition)).next().unwrap_or_default());
    first.trim().trim_end_matches(is_delimiter).trim().to_owned()
}

#[test]
fn real_messages_say_to_us_what_they_say_to_python_hl7() {
    let Some(corpus) = corpus() else { return };
    let oracle = oracle(&corpus);
    let (mut same, mut skipped, mut wrong) = (0, 0, vec![]);
    for (name, raw) in messages(&corpus) {
        let Some(expected) = oracle.get(&name).filter(|row| row.is_ok) else { continue };
        let message = match Message::read(&raw, &ReadOptions::default()) {
            Ok(message) if !message.warnings().iter().any(|warning| warning.kind == "line_feed_in_text") => message,
            Ok(_) => {
                skipped += 1;
                continue;
            }
            Err(error) => {
                if error != ReadError::Charset && error != HeaderError::Delimiters.into() {
                    wrong.push(format!("{name}: {error}"));
                }
                continue;
            }
        };
        let fields = [("MSH", 9), ("MSH", 10), ("PID", 3), ("PID", 5), ("PID", 7)];
        for ((segment, field), expected) in fields.into_iter().zip(&expected.values) {
            let (ours, theirs) = (plain(&value(&message, segment, field), &message), plain(expected, &message));
            let is_cut = expected.chars().count() == TABLE_CHARACTERS_MAX && ours.starts_with(&theirs);
            if ours == theirs || is_cut {
                same += 1;
            } else {
                wrong.push(format!("{name}: {segment}-{field}: ours {ours:?}, theirs {theirs:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ, {same} agree, {skipped} skipped:\n{}", wrong.len(), wrong.join("\n"));
    assert!(3_000 < same, "only {same} values were compared, {skipped} messages skipped");
}

#[test]
fn hl7_parser_reads_the_same_fields_segment_by_segment() {
    let Some(corpus) = corpus() else { return };
    let mut segments = 0;
    for (name, raw) in messages(&corpus) {
        let Ok(message) = Message::read(&raw, &ReadOptions::default()) else { continue };
        let delimiters = message.delimiters();
        let (Some(component), Some(repetition), Some(escape), Some(sub)) =
            (delimiters.component, delimiters.repetition, delimiters.escape, delimiters.sub)
        else {
            continue;
        };
        let separators = hl7_parser::message::Separators {
            field: delimiters.field.into(),
            component: component.into(),
            repetition: repetition.into(),
            escape: escape.into(),
            subcomponent: sub.into(),
            lenient_newlines: false,
        };
        for index in 1..message.segment_count() {
            let segment = message.segment(index).unwrap();
            // A bare name and a line that is no segment are ours alone.
            let Ok(theirs) = hl7_parser::parser::parse_segment_with_separators(segment.text, separators) else { continue };
            if message.segment_id(index).is_empty() || theirs.raw_value().len() != segment.text.len() {
                continue;
            }
            segments += 1;
            assert_eq!(message.segment_id(index), theirs.name, "{name}");
            assert_eq!(message.field_count(index), theirs.fields.len(), "{name} {index}");
            for (number, theirs) in theirs.fields().enumerate() {
                let ours = message.field(index, number + 1).unwrap();
                assert_eq!((ours.text, ours.start), (theirs.raw_value(), segment.start + theirs.range.start), "{name}");
                let repetitions = message.repetitions(ours);
                assert_eq!(repetitions.len(), theirs.repeats.len(), "{name}");
                for (ours, theirs) in repetitions.into_iter().zip(theirs.repeats()) {
                    for (number, theirs) in theirs.components().enumerate() {
                        let component = message.component(ours, number + 1, None).unwrap();
                        assert_eq!(component.text, theirs.raw_value(), "{name}");
                        for (sub, theirs) in theirs.subcomponents.iter().enumerate() {
                            assert_eq!(message.component(ours, number + 1, Some(sub + 1)).unwrap().text, theirs.value, "{name}");
                        }
                    }
                }
            }
        }
    }
    assert!(10_000 < segments, "only {segments} segments were compared");
}

#[test]
fn every_real_message_is_checked_and_gets_an_answer_that_can_be_read() {
    let Some(corpus) = corpus() else { return };
    let answering = Answering {
        application: "CHIS-BROKER",
        facility: "LONDON",
        time: "20260105101501+0000",
        control_id: "CHB1",
        mode: AckMode::Original,
    };
    let (mut taken, mut refused) = (0, 0);
    for (name, raw) in messages(&corpus) {
        let header = Header::read(&raw);
        let verdict = match &header {
            Ok(header) => match hl7::check(&raw, header, &Limits::default()) {
                Ok(warnings) => Verdict::Accepted(warnings),
                Err(fault) => Verdict::Rejected(fault),
            },
            Err(error) => Verdict::Rejected(hl7::Fault::new(101, "MSH", 0, error.to_string())),
        };
        if matches!(verdict, Verdict::Accepted(_)) {
            taken += 1
        } else {
            refused += 1
        }
        let Some(answer) = hl7::answer(header.as_ref().ok(), &verdict, &answering) else {
            assert_eq!(header.unwrap().code, "ACK", "{name}: only an answer gets none");
            continue;
        };
        let answer = Message::read(&answer.bytes, &ReadOptions::default()).unwrap();
        let echoed = header.map(|header| header.control_id).unwrap_or_default();
        assert_eq!(value(&answer, "MSA", 2).trim(), echoed.split(answer_repetition(&answer)).next().unwrap_or_default().trim(), "{name}");
    }
    assert!(500 < taken && refused < taken, "{taken} taken, {refused} refused");
}

fn answer_repetition(answer: &Message) -> char {
    answer.delimiters().repetition.map_or('\r', char::from)
}

#[test]
fn every_real_batch_is_split_at_each_msh() {
    let Some(corpus) = corpus() else { return };
    let mut folders = vec![corpus.join("hl7v2-batch")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let raw = std::fs::read(&path).unwrap();
            let file = hl7::split_batch(&raw, false);
            let found: usize = file.batches.iter().map(|batch| batch.messages.len()).sum();
            let lines = raw.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| line.starts_with(b"MSH")).count();
            assert!(hl7::is_batch(&raw) && 0 < found, "{path:?}");
            assert_eq!(found, lines, "{path:?}");
            for message in file.batches.iter().flat_map(|batch| &batch.messages) {
                assert!(Header::read(message).is_ok(), "{path:?}");
            }
            files += 1;
        }
    }
    assert!(0 < files);
}

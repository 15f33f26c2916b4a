//! A field that was damaged on the way never becomes a wrong value on record.
//!
//! Every HL7 v2 sample is damaged in one field at random: other digits, other codes, cut short, doubled, letters for numbers,
//! delimiters in the middle. Where the message is still filed, each value that came from anywhere in it has to be true to
//! what stands in the message: the bytes it names hold the text it quotes, the statement holds the value it tells, and the
//! value is what that text says. The last is judged here by an oracle of its own, which shares no code with the mapping.
//!
//! FHIR samples are damaged in one value of their tree and judged likewise.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at what it did not expect")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use chis_broker::mapping::{Bundle, Input, Outcome, Provenance, Reading};
use chis_broker::names::Format;
use proptest::prelude::*;
use serde_json::Value;

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| Bundle::compile(&Bundle::shipped(), "mappings/").unwrap());

/// Table files, each line in its cells, read by the `csv` crate and not by the mapping.
static TABLES: LazyLock<BTreeMap<String, Vec<Vec<String>>>> = LazyLock::new(|| {
    let files = Bundle::shipped().into_iter().filter(|(name, _)| name.ends_with(".csv"));
    let lines = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .unwrap()
            .lines()
            .map(|line| {
                let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
                let record = reader.records().next().map(|record| record.unwrap());
                record.map(|record| record.iter().map(str::to_owned).collect()).unwrap_or_default()
            })
            .collect()
    };
    files.map(|(name, bytes)| (name, lines(&bytes))).collect()
});

static SAMPLES: LazyLock<Vec<(String, Format, String)>> = LazyLock::new(|| {
    let mut samples: Vec<(String, Format, String)> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("samples"))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).ok()?;
            let is_r4 = ["eventCoding", "\"transaction\"", "value=\"transaction\"", "\"collection\"", "\"batch\""]
                .iter()
                .any(|word| text.contains(word));
            let format = match (path.extension()?.to_str()?, is_r4) {
                _ if name.ends_with(".expected.json") => return None,
                ("hl7", _) => Format::Hl7v2,
                ("json", true) => Format::R4Json,
                ("json", false) => Format::Stu3Json,
                _ => return None,
            };
            Some((name, format, if format == Format::Hl7v2 { text.trim_end().replace('\n', "\r") + "\r" } else { text }))
        })
        .collect();
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(15 < samples.len(), "the samples are there");
    samples
});

fn read(format: Format, body: &str) -> Reading {
    BUNDLE.read(&Input { format, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None }, true)
}

// ---- the oracle ------------------------------------------------------------------------------------------------------

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// A code as a table may have it: without the zeros that are restored.
fn bare(code: &str) -> String {
    code.trim().trim_start_matches("NSTS").trim_start_matches('0').to_owned()
}

/// The check digit of an NHS number, from the definition.
fn is_nhs_number(text: &str) -> bool {
    let figures: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let [head @ .., check] = figures.as_slice() else { return false };
    let sum: u32 = head.iter().zip((2..=10).rev()).map(|(figure, weight)| figure * weight).sum();
    figures.len() == 10 && text.len() == 10 && (11 - sum % 11) % 11 == *check
}

/// Is a date or moment what the digits of `raw` say? `adjusted`: a finding says that it was set right.
fn same_moment(value: &str, raw: &str, adjusted: bool) -> bool {
    let local = value.split(['+', 'Z']).next().unwrap_or(value);
    let local = if local.len() > 10 {
        local.rsplit_once('-').filter(|(head, _)| head.contains('T')).map_or(local, |(head, _)| head)
    } else {
        local
    };
    let said = digits(raw.split(['+', 'Z']).next().unwrap_or(raw).split('.').next().unwrap_or(raw));
    let kept = digits(local.split('.').next().unwrap_or(local));
    let day = |text: &str| jiff::civil::Date::strptime("%Y%m%d", text.get(..8)?).ok();
    match adjusted {
        // An hour that did not exist, midnight as 24:00, a 61st second: the same day or the next.
        true => day(&kept).zip(day(&said)).is_some_and(|(kept, said)| kept == said || said.tomorrow().is_ok_and(|next| kept == next)),
        // What is kept says no more than what was said, and nothing else; minutes without seconds get zeros.
        false => {
            said.starts_with(&kept) || kept.strip_prefix(&said).is_some_and(|rest| rest.bytes().all(|b| b == b'0') && said.len() >= 10)
        }
    }
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn alphanumerics(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase()
}

/// Is the value what the text says, by the steps that are told?
fn is_true(one: &Provenance, adjusted: bool) -> Result<(), String> {
    let (value, raw) = (one.value.as_str(), one.raw.as_str());
    if one.from.is_empty() {
        return Ok(()); // a constant comes from no field
    }
    let table = one.steps.iter().find_map(|step| step.strip_prefix("table "));
    if let Some((file, line)) = table.and_then(|place| place.rsplit_once(':')) {
        let row =
            TABLES.get(file).and_then(|lines| lines.get(line.parse::<usize>().ok()? - 1)).ok_or(format!("{file} has no line {line}"))?;
        // Of an NBS status the spaces are no part, wherever they stand (code tables, NBS blood spot status codes).
        let spaceless: String = raw.split_whitespace().collect();
        let raw = if one.steps.first().is_some_and(|step| step == "nbs-code") { spaceless.as_str() } else { raw };
        let is_code = row.first().is_some_and(|from| from == raw.trim() || bare(from) == bare(raw) || squeezed(from) == squeezed(raw));
        return if is_code && row.iter().any(|cell| cell == value || cell.replace(' ', ", ") == value) {
            Ok(())
        } else {
            Err(format!("{file}:{line} does not say so"))
        };
    }
    let holds = match one.steps.first().map(String::as_str) {
        None | Some("text") => squeezed(value) == squeezed(raw) || raw.contains(value) || value.contains(raw.trim()),
        Some("name" | "phone") => squeezed(value) == squeezed(raw),
        Some("nhs-number") => is_nhs_number(value) && digits(raw) == value,
        Some("date" | "datetime" | "date-dmy") => same_moment(value, raw, adjusted),
        Some("time") => digits(value) == digits(raw),
        Some("integer") => raw.trim().parse::<f64>().is_ok_and(|said| value.parse::<f64>() == Ok(said)),
        Some("decimal") => raw.trim().trim_start_matches('+') == value,
        Some("kg-to-g") => raw.trim().parse::<f64>().is_ok_and(|kg| value.parse::<f64>().is_ok_and(|g| (kg * 1000.0 - g).abs() < 0.5)),
        Some("postcode" | "ods-code" | "gmc-code") => alphanumerics(value) == alphanumerics(raw),
        Some("boolean") => {
            value == if ["Y", "YES", "TRUE", "T", "1"].contains(&raw.trim().to_uppercase().as_str()) { "true" } else { "false" }
        }
        Some("v2-authority") => value == raw.trim() || value == format!("urn:v2:{}", raw.trim()),
        Some("nbs-code" | "nsts") => bare(value) == bare(&squeezed(raw).replace(' ', "")),
        Some("sct-code") => value == raw.trim(),
        Some("base64-content" | "text-content") => value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
        // Kept as it was sent, or said to be what nobody has classified; never another code.
        Some(step) if step.starts_with("unmapped in ") => value == raw.trim() || value == "unclassified",
        Some(step) => return Err(format!("the oracle does not know the step {step}")),
    };
    if holds { Ok(()) } else { Err("is not what the text says".to_owned()) }
}

/// What stands at `child.names[0].family` of a statement, as text.
fn at<'v>(statement: &'v Value, field: &str) -> Option<&'v Value> {
    field.split('.').try_fold(statement, |value, part| {
        let (name, index) =
            part.split_once('[').map_or((part, None), |(name, index)| (name, index.trim_end_matches(']').parse::<usize>().ok()));
        let member = value.get(name)?;
        index.map_or(Some(member), |index| member.get(index))
    })
}

fn holds(statement: &Value, field: &str, value: &str) -> bool {
    let says = |found: &Value| match found {
        Value::String(text) => text == value || text.contains(value),
        Value::Object(moment) => moment.get("value").and_then(Value::as_str) == Some(value),
        Value::Array(items) => {
            // A constant of several items is told as one, with commas.
            let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            texts.contains(&value) || texts.join(", ") == value || found.to_string().contains(value)
        }
        other => value == other.to_string().as_str(),
    };
    at(statement, field).is_some_and(says)
}

fn check(name: &str, format: Format, body: &str) {
    let reading = read(format, body);
    if reading.outcome != Outcome::Mapped {
        return;
    }
    let statements: Vec<Value> = reading.statements.iter().map(|statement| serde_json::to_value(statement).unwrap()).collect();
    for one in &reading.provenance {
        let about = || {
            format!("{name}: {} = {:?} from {} {:?} by {:?} [{}]\n{body:?}", one.field, one.value, one.from, one.raw, one.steps, one.rule)
        };
        let adjusted = reading.findings.iter().any(|finding| finding.code == "time-adjusted" && finding.at == one.from);
        if let Err(why) = is_true(one, adjusted) {
            panic!("{why}: {}", about());
        }
        assert!(statements.iter().any(|statement| holds(statement, &one.field, &one.value)), "no statement says so: {}", about());
    }
}

// ---- damage ----------------------------------------------------------------------------------------------------------

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        "[0-9]{1,14}".prop_map(Damage::Text),
        "(19|20)[0-9]{2}[01][0-9][0-3][0-9]([0-2][0-9][0-5][0-9])?".prop_map(Damage::Text),
        "999[0-9]{7}".prop_map(Damage::Text),
        "[A-Z]{1,3}[0-9]{0,3}( [0-9][A-Z]{2})?".prop_map(Damage::Text),
        "[0-9MFUNYZ]".prop_map(Damage::Text),
        "(0?[1-9]|10|030[1-9]|31[0-7]|060[1-4])".prop_map(Damage::Text),
        "[1-9][0-9]{5,17}".prop_map(Damage::Text),
        "[a-z\u{e9}\u{df} '.-]{1,12}".prop_map(Damage::Text),
        Just(Damage::Text("\"\"".to_owned())),
        Just(Damage::Text(String::new())),
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        any::<prop::sample::Index>().prop_map(Damage::Flip),
        (any::<prop::sample::Index>(), "[\\^~& \\\\]{1,2}").prop_map(|(at, what)| Damage::Insert(at, what)),
        Just(Damage::Double),
    ]
}

#[derive(Clone, Debug)]
enum Damage {
    Text(String),
    Cut(prop::sample::Index),
    Flip(prop::sample::Index),
    Insert(prop::sample::Index, String),
    Double,
}

impl Damage {
    fn of(&self, text: &str) -> String {
        let letters: Vec<char> = text.chars().collect();
        let at = |index: &prop::sample::Index| index.index(letters.len().max(1)).min(letters.len());
        match self {
            Self::Text(other) => other.clone(),
            Self::Cut(index) => letters[..at(index)].iter().collect(),
            Self::Flip(index) => {
                let mut letters = letters.clone();
                let place = at(index);
                if place + 1 < letters.len() {
                    letters.swap(place, place + 1);
                }
                letters.into_iter().collect()
            }
            Self::Insert(index, what) => {
                let place = at(index);
                letters[..place].iter().collect::<String>() + what + &letters[place..].iter().collect::<String>()
            }
            Self::Double => format!("{text}{text}"),
        }
    }
}

/// Places of fields that are not empty: segment, field, and (half of the time) one component of it.
fn fields(body: &str) -> Vec<(usize, usize)> {
    let segments = body.trim_end_matches('\r').split('\r').enumerate();
    let fields = segments.flat_map(|(segment, text)| {
        // MSH-1 and MSH-2 say how the rest is read; a damage there is another message.
        let first = if text.starts_with("MSH") { 2 } else { 1 };
        text.split('|')
            .enumerate()
            .skip(first)
            .filter(|(_, text)| !text.is_empty())
            .map(move |(field, _)| (segment, field))
            .collect::<Vec<_>>()
    });
    fields.collect()
}

fn damaged_v2(body: &str, (segment, field): (usize, usize), component: Option<prop::sample::Index>, damage: &Damage) -> String {
    let mut segments: Vec<String> = body.trim_end_matches('\r').split('\r').map(str::to_owned).collect();
    let mut parts: Vec<String> = segments[segment].split('|').map(str::to_owned).collect();
    let mut components: Vec<String> = parts[field].split('^').map(str::to_owned).collect();
    match component {
        Some(index) => {
            let at = index.index(components.len());
            components[at] = damage.of(&components[at]);
            parts[field] = components.join("^");
        }
        None => parts[field] = damage.of(&parts[field]),
    }
    segments[segment] = parts.join("|");
    segments.join("\r") + "\r"
}

/// Every text, number and truth value of a tree, in order.
fn leaves<'v>(value: &'v mut Value, found: &mut Vec<&'v mut Value>) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| leaves(member, found)),
        Value::Array(items) => items.iter_mut().for_each(|item| leaves(item, found)),
        Value::Null => {}
        leaf => found.push(leaf),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_field_is_never_filed_as_something_that_it_does_not_say(
        sample in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        component in proptest::option::of(any::<prop::sample::Index>()),
        damage in damage(),
    ) {
        let v2: Vec<_> = SAMPLES.iter().filter(|(_, format, _)| *format == Format::Hl7v2).collect();
        let (name, format, body) = v2[sample.index(v2.len())];
        let places = fields(body);
        let damaged = damaged_v2(body, places[place.index(places.len())], component, &damage);
        check(name, *format, &damaged);
    }

    #[test]
    fn a_damaged_element_is_never_filed_as_something_that_it_does_not_say(
        sample in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        damage in damage(),
    ) {
        let fhir: Vec<_> = SAMPLES.iter().filter(|(_, format, _)| *format != Format::Hl7v2).collect();
        let (name, format, body) = fhir[sample.index(fhir.len())];
        let mut tree: Value = serde_json::from_str(body).unwrap();
        let mut all = Vec::new();
        leaves(&mut tree, &mut all);
        let chosen = place.index(all.len());
        let leaf = &mut all[chosen];
        let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
        **leaf = Value::String(damage.of(&text));
        check(name, *format, &tree.to_string());
    }
}

/// What the properties above rest on: without damage each sample passes, and quotes the bytes it names.
#[test]
fn every_value_of_the_samples_is_what_its_bytes_say() {
    let mut checked = 0;
    for (name, format, body) in SAMPLES.iter() {
        check(name, *format, body);
        let reading = read(*format, body);
        for one in reading.provenance.iter().filter(|one| one.bytes.is_some()) {
            let bytes = one.bytes.clone().unwrap();
            let text = body.get(bytes).expect("bytes lie in the message");
            let is_content = one.steps.first().is_some_and(|step| step.ends_with("-content")); // never quoted
            assert!(
                is_content || text == one.raw || text.contains('\\'),
                "{name}: {} quotes {:?}, there stands {text:?}",
                one.field,
                one.raw
            );
            checked += 1;
        }
    }
    assert!(300 < checked, "{checked} values were looked at");
}

#[test]
fn the_oracle_knows_a_lie() {
    let one = |steps: &[&str], value: &str, raw: &str| Provenance {
        field: "child.x".into(),
        value: value.into(),
        from: "PID-1".into(),
        bytes: None,
        raw: raw.into(),
        steps: steps.iter().map(|step| (*step).to_owned()).collect(),
        rule: String::new(),
    };
    for (steps, value, raw) in [
        (["date"].as_slice(), "2026-01-06", "20260105"),
        (&["date"], "2026-01-05", "202601"),
        (&["datetime"], "2026-01-05T09:31:00+00:00", "202601050930"),
        (&["nhs-number"], "9990000018", "9990000026"),
        (&["nhs-number"], "9990000027", "9990000027"),
        (&["integer"], "3200", "320"),
        (&["kg-to-g"], "3250", "32.5"),
        (&["name"], "EXAMPEL", "EXAMPLE"),
        (&["postcode"], "SE1 9ZZ", "SE1 9ZY"),
        (&["boolean"], "true", "N"),
        (&["table tables/sex.csv:2"], "2", "1"),
        (&["table tables/sex.csv:3"], "2", "1"),
        (&["table tables/sex.csv:3"], "2", "2 2"),
        (&["nbs-code", "table tables/bloodspot-status.csv:29"], "04", "0 5"),
        (&["nobody knows"], "1", "1"),
    ] {
        assert!(is_true(&one(steps, value, raw), false).is_err(), "{steps:?} {value} {raw}");
    }
    assert!(is_true(&one(&["datetime"], "2026-07-05T09:30:00+01:00", "202607050930"), false).is_ok());
    assert!(is_true(&one(&["table tables/sex.csv:3"], "2", "2"), false).is_ok());
    assert!(is_true(&one(&["nbs-code", "table tables/bloodspot-status.csv:29"], "04", "0 4"), false).is_ok());
}

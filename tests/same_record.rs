//! XML and JSON of one message are one record: statements, findings, mapping and outcome, for every pair there is.
//!
//! Pairs that people made (the same stem in the corpus, the same name after the number in `samples/`) are read as they are. Every XML file of
//! both is paired with the JSON of its own tree, in which quantities are numbers, as JSON senders write them.
#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::path::{Path, PathBuf};

use chis_broker::fhir::{Limits, Release, read_json, read_xml};
use chis_broker::mapping::{Bundle, Input, Outcome, Reading};
use chis_broker::names::Format;
use serde_json::Value;

fn bundle() -> Bundle {
    Bundle::compile(&Bundle::shipped(), "mappings/").unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// All files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn samples() -> Vec<PathBuf> {
    let all = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("samples"));
    all.into_iter().filter(|file| !file.to_string_lossy().ends_with(".expected.json")).collect()
}

#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn corpus() -> Vec<PathBuf> {
    let Some(root) = std::env::var_os("CHIS_CORPUS") else {
        eprintln!("without the corpus: CHIS_CORPUS is not set");
        return Vec::new();
    };
    files(&Path::new(&root).join("fhir"))
}

fn has(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found == extension)
}

/// What the file is of: samples say it by their header, corpora by their folder.
fn release(file: &Path) -> Release {
    let path = file.to_string_lossy();
    let stu3 = ["stu3", "nhs-ems-test-data", "nhs-events-management", "nhs-bloodspot-helper", "-spine-", "-nems-"];
    if stu3.iter().any(|part| path.contains(part)) { Release::Stu3 } else { Release::R4 }
}

fn xml_format(release: Release) -> Format {
    if release == Release::Stu3 { Format::Stu3Xml } else { Format::R4Xml }
}

fn json_format(release: Release) -> Format {
    if release == Release::Stu3 { Format::Stu3Json } else { Format::R4Json }
}

fn reading(bundle: &Bundle, format: Format, body: &[u8]) -> Reading {
    bundle.read(&Input { format, body, default_charset: None, allow_test_numbers: true, received: None }, false)
}

fn same(what: &str, from_xml: &Reading, from_json: &Reading) {
    assert_eq!(from_xml.mapping, from_json.mapping, "{what}");
    assert_eq!(from_xml.outcome, from_json.outcome, "{what}");
    assert_eq!(from_xml.statements, from_json.statements, "{what}");
    assert_eq!(from_xml.findings, from_json.findings, "{what}");
}

/// JSON of a tree. A decimal, which the tree keeps as text, is written as a number where it is the value of a quantity.
fn json_text(tree: &Value) -> String {
    match tree {
        Value::Object(object) => {
            let is_quantity = object.contains_key("value") && (object.contains_key("unit") || object.contains_key("code"));
            let member = |(name, value): (&String, &Value)| match value {
                Value::String(text) if is_quantity && name == "value" && text.parse::<f64>().is_ok() => format!("{name:?}: {text}"),
                value => format!("{name:?}: {}", json_text(value)),
            };
            format!("{{{}}}", object.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(json_text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[test]
fn every_xml_file_is_the_same_record_as_the_json_of_it() {
    let bundle = bundle();
    let (mut pairs, mut mapped, mut statements) = (0, 0, 0);
    for file in corpus().into_iter().chain(samples()).filter(|file| has(file, "xml")) {
        let (release, what) = (release(&file), file.display().to_string());
        let xml = std::fs::read(&file).expect("a file");
        let Ok(tree) = read_xml(&xml, release, &Limits::default()) else {
            // It puts values between the tags, and the reader says so.
            assert!(what.ends_with("message-1.xml"), "{what} is not read");
            continue;
        };
        let json = json_text(&tree);
        assert_eq!(read_json(json.as_bytes(), &Limits::default()).as_ref(), Ok(&tree), "{what}: the tree survives its JSON");
        let from_xml = reading(&bundle, xml_format(release), &xml);
        same(&what, &from_xml, &reading(&bundle, json_format(release), json.as_bytes()));
        pairs += 1;
        mapped += usize::from(from_xml.outcome == Outcome::Mapped);
        statements += from_xml.statements.len();
    }
    report(&format!("{pairs} XML files and the JSON of them: {mapped} mapped, {statements} statements"));
    assert!(6 <= mapped && 6 <= statements, "{mapped} mapped, {statements} statements: the comparison compares something");
}

#[test]
fn what_people_wrote_in_both_formats_is_the_same_record() {
    let bundle = bundle();
    // Samples of one name are numbered in the order in which they are played: `09-spine-…xml`, `10-spine-…json`.
    let name = |file: &Path| file.file_stem().expect("a name").to_string_lossy().split_once('-').expect("a number").1.to_owned();
    let samples = samples();
    let json_of = |xml: &Path| samples.iter().find(|json| has(json, "json") && name(json) == name(xml)).cloned();
    let of_samples = samples.iter().filter(|file| has(file, "xml")).filter_map(|xml| Some((xml.clone(), json_of(xml)?)));
    let corpus = corpus();
    let of_corpus = corpus.iter().filter(|file| has(file, "xml")).map(|xml| (xml.clone(), xml.with_extension("json")));
    let pairs: Vec<(PathBuf, PathBuf)> = of_samples.chain(of_corpus.filter(|(_, json)| json.exists())).collect();
    let mut mapped = 0;
    for (xml, json) in &pairs {
        let release = release(xml);
        let from_xml = reading(&bundle, xml_format(release), &std::fs::read(xml).expect("a file"));
        same(&xml.display().to_string(), &from_xml, &reading(&bundle, json_format(release), &std::fs::read(json).expect("a file")));
        mapped += usize::from(from_xml.outcome == Outcome::Mapped);
    }
    report(&format!("{} pairs written by people, {mapped} of them mapped", pairs.len()));
    assert!(2 <= mapped, "a birth of each release is written in both formats");
}

/// A vaccination, a weight and a time of birth, with everything that XML and JSON say in ways of their own.
fn odd(patient: &str, reference: &str, full_url: &str) -> [String; 2] {
    let xml = format!(
        r##"<Bundle xmlns="http://hl7.org/fhir"><type value="batch"/><timestamp value="2026-04-28T10:00:00+01:00"/>
        <entry><fullUrl value="{full_url}"/><resource><Patient><id value="{patient}"/><identifier>
          <extension url="https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus"><valueCodeableConcept><coding><code value="01"/></coding></valueCodeableConcept></extension>
          <system value="https://fhir.nhs.uk/Id/nhs-number"/><value value="9990070016"/></identifier>
          <name><family value="O&apos;SAMPLE"/><given value="ZO&#xCB;"/><given value="IRIS"/></name><gender value="female"/>
          <birthDate value="2026-03-02"><extension url="http://hl7.org/fhir/StructureDefinition/patient-birthTime"><valueDateTime value="2026-03-02T03:40:00+00:00"/></extension></birthDate>
        </Patient></resource></entry>
        <entry><resource><Observation><identifier><system value="urn:x"/><value value="1.0"/></identifier><status value="final"/>
          <code><coding><system value="http://loinc.org"/><code value="29463-7"/></coding></code><subject><reference value="{reference}"/></subject>
          <valueQuantity><value value="3.10"/><unit value="kg"/><code value="kg"/></valueQuantity></Observation></resource></entry>
        <entry><resource><Immunization><contained><Patient><id value="p"/><identifier><system value="https://fhir.nhs.uk/Id/nhs-number"/><value value="9990070016"/></identifier></Patient></contained>
          <identifier><system value="urn:x"/><value value="2"/></identifier><status value="completed"/><vaccineCode><text value="x"/></vaccineCode>
          <patient><reference value="#p"/></patient><occurrenceDateTime value="2026-04-28"/><primarySource value="true"/>
          <doseQuantity><value value="0.50"/><code value="ml"/></doseQuantity><protocolApplied><doseNumberPositiveInt value="1"/></protocolApplied></Immunization></resource></entry>
        </Bundle>"##
    );
    let json = format!(
        r##"{{"resourceType":"Bundle","type":"batch","timestamp":"2026-04-28T10:00:00+01:00","entry":[
        {{"fullUrl":"{full_url}","resource":{{"resourceType":"Patient","id":"{patient}","identifier":[{{
          "extension":[{{"url":"https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus","valueCodeableConcept":{{"coding":[{{"code":"01"}}]}}}}],
          "system":"https://fhir.nhs.uk/Id/nhs-number","value":"9990070016"}}],
          "name":[{{"family":"O'SAMPLE","given":["ZO\u00cb","IRIS"]}}],"gender":"female",
          "birthDate":"2026-03-02","_birthDate":{{"extension":[{{"url":"http://hl7.org/fhir/StructureDefinition/patient-birthTime","valueDateTime":"2026-03-02T03:40:00+00:00"}}]}}}}}},
        {{"resource":{{"resourceType":"Observation","identifier":[{{"system":"urn:x","value":"1.0"}}],"status":"final",
          "code":{{"coding":[{{"system":"http://loinc.org","code":"29463-7"}}]}},"subject":{{"reference":"{reference}"}},
          "valueQuantity":{{"value":3.10,"unit":"kg","code":"kg"}}}}}},
        {{"resource":{{"resourceType":"Immunization","contained":[{{"resourceType":"Patient","id":"p","identifier":[{{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"9990070016"}}]}}],
          "identifier":[{{"system":"urn:x","value":"2"}}],"status":"completed","vaccineCode":{{"text":"x"}},
          "patient":{{"reference":"#p"}},"occurrenceDateTime":"2026-04-28","primarySource":true,
          "doseQuantity":{{"value":0.50,"code":"ml"}},"protocolApplied":[{{"doseNumberPositiveInt":1}}]}}}}]}}"##
    );
    [xml, json]
}

#[test]
fn decimals_primitive_extensions_contained_resources_and_every_way_to_refer_are_read_alike() {
    let bundle = bundle();
    let uuid = "0e1d52a7-8ab1-4fc4-adf0-ecc75073f4c4";
    let urn = format!("urn:uuid:{uuid}");
    let ways: [(&str, &str, &str); 6] = [
        ("1", &urn, &urn),
        ("1", uuid, &urn),
        ("1", "Patient/1", "https://a.example/Patient/1"),
        ("1", "https://b.example/fhir/Patient/1", &urn),
        ("1", "Patient/1/_history/3", &urn),
        (uuid, &urn, "https://a.example/x"),
    ];
    for (patient, reference, full_url) in ways {
        let [xml, json] = odd(patient, reference, full_url);
        let [from_xml, from_json] =
            [(Format::R4Xml, xml), (Format::R4Json, json)].map(|(format, body)| reading(&bundle, format, body.as_bytes()));
        same(reference, &from_xml, &from_json);
        assert_eq!(from_xml.outcome, Outcome::Mapped, "{reference}: {:?}", from_xml.findings);
        let [person, weight, dose] = from_xml.statements.as_slice() else { panic!("{reference}: {:?}", from_xml.statements) };
        let person = &person.child;
        assert_eq!(person.birth.time.as_ref().map(|time| time.value.as_str()), Some("2026-03-02T03:40:00+00:00"), "{reference}");
        assert_eq!((person.names[0].family.as_deref(), person.names[0].given.join(" ")), (Some("O'SAMPLE"), "ZOË IRIS".to_owned()));
        assert_eq!(
            (weight.reviews[0].measurements[0].qty.value.as_str(), weight.event.key.as_deref()),
            ("3.10", Some("1.0")),
            "{reference}"
        );
        assert_eq!(dose.immunisations[0].dose_qty.as_ref().map(|dose| dose.value.as_str()), Some("0.50"), "{reference}");
        let numbers = [weight, dose].map(|statement| statement.child.identifiers[0].value.as_str());
        assert_eq!(numbers, ["9990070016"; 2], "{reference}");
    }
    let [xml, json] = odd("1", "Patient/2", &urn);
    for (format, body) in [(Format::R4Xml, xml), (Format::R4Json, json)] {
        assert_eq!(reading(&bundle, format, body.as_bytes()).outcome, Outcome::Held, "a weight of somebody who is not there");
    }
}

#[expect(clippy::print_stderr, reason = "how much was compared is a figure of the documents")]
fn report(figures: &str) {
    eprintln!("{figures}");
}

//! What the public FHIR samples of `$CHIS_CORPUS` prove about the readers: they read, both formats agree, no input panics.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail")]

use chis_broker::fhir::{Item, Lets, Limits, Problem, Release, bundle_head, check_names, read_json, read_xml};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The FHIR files below `folder` of the corpus; `None`, with a word on stderr, if there is no corpus.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn corpus(folder: &str) -> Option<Vec<PathBuf>> {
    let Some(root) = std::env::var_os("CHIS_CORPUS") else {
        eprintln!("not run: CHIS_CORPUS is not set");
        return None;
    };
    let mut files = Vec::new();
    let mut folders = vec![Path::new(&root).join("fhir").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the corpus") {
            let path = entry.expect("a file of the corpus").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no files in {folder}");
    Some(files)
}

fn is_xml(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "xml")
}

fn release(file: &Path) -> Release {
    let path = file.to_string_lossy();
    let stu3 = ["stu3", "nhs-ems-test-data", "nhs-events-management", "nhs-bloodspot-helper"].iter().any(|part| path.contains(part));
    if stu3 { Release::Stu3 } else { Release::R4 }
}

fn read(file: &Path) -> Result<Value, Problem> {
    let bytes = std::fs::read(file).expect("a file of the corpus");
    if is_xml(file) { read_xml(&bytes, release(file), &Limits::default()) } else { read_json(&bytes, &Limits::default()) }
}

/// The last two parts of a path.
fn short(file: &Path) -> String {
    let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
    parts[parts.len() - 2..].join("/")
}

#[test]
fn every_file_reads_or_says_where_it_does_not() {
    let Some(files) = corpus("") else { return };
    let refused = files.iter().filter_map(|file| read(file).err().map(|problem| format!("{}: {problem}", short(file))));
    // It puts values between the tags, where FHIR has them in attributes; reading on would lose every one of them.
    let misplaced = "text between elements; FHIR keeps values in `value` attributes at line 45, column 18";
    assert_eq!(refused.collect::<Vec<_>>(), [format!("nhs-bloodspot-helper/message-1.xml: {misplaced}")]);
}

#[test]
fn every_national_event_has_a_code_and_an_id_and_a_source() {
    let Some(files) = corpus("nhs-events-management") else { return };
    for file in &files {
        let head = bundle_head(&read(file).expect("a readable event")).expect("a message");
        assert_eq!(head.kind, "message", "{}", file.display());
        assert!(head.message_id.is_some() && head.source.is_some(), "{}: {head:?}", file.display());
        assert!(head.event.as_deref().is_some_and(|event| event.ends_with("-1")), "{}: {head:?}", file.display());
    }
}

/// Without narratives, whose text differs between the formats.
fn without_narratives(tree: Value) -> Value {
    match tree {
        Value::Object(object) => {
            let fields = object.into_iter().filter(|(name, _)| name != "div").map(|(name, value)| (name, without_narratives(value)));
            Value::Object(fields.collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_narratives).collect()),
        other => other,
    }
}

#[test]
fn the_same_resource_in_both_formats_is_the_same_tree() {
    let Some(files) = corpus("nhs-dch-stu3-audit") else { return };
    let pairs = files.iter().filter(|file| is_xml(file)).map(|xml| (xml, xml.with_extension("json"))).filter(|(_, json)| json.exists());
    let mut compared = 0;
    for (xml, json) in pairs {
        let [from_xml, from_json] = [xml, &json].map(|file| without_narratives(read(file).expect("a readable resource")));
        assert_eq!(from_xml, from_json, "{}", xml.display());
        compared += 1;
    }
    assert_eq!(compared, 4);
}

/// FHIR XML of a tree, written as simply as possible, so that every JSON sample also tests the table of cardinalities.
fn write_xml(name: &str, value: &Value, extra: Option<&Value>, xmlns: &str, xml: &mut String) {
    let escape = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        text.replace('\n', "&#10;").replace('\t', "&#9;").replace('\r', "&#13;")
    };
    let empty = Map::new();
    if name == "div" {
        xml.push_str(value.as_str().unwrap_or_default());
        return;
    }
    let object = value.as_object().or(extra.and_then(Value::as_object)).unwrap_or(&empty);
    let resource = object.get("resourceType").and_then(Value::as_str).filter(|_| value.is_object());
    let (open, close) = match resource {
        Some(resource) if name.is_empty() => (format!("<{resource}{xmlns}"), format!("</{resource}>")),
        Some(resource) => (format!("<{name}><{resource}"), format!("</{resource}></{name}>")),
        None => (format!("<{name}"), format!("</{name}>")),
    };
    xml.push_str(&open);
    let attribute = |key: &str| resource.is_none() && (key == "id" || (key == "url" && name.ends_with("xtension")));
    for (key, value) in object.iter().filter(|(key, _)| attribute(key)) {
        xml.push_str(&format!(" {key}=\"{}\"", escape(value.as_str().unwrap_or_default())));
    }
    match value {
        Value::String(text) => xml.push_str(&format!(" value=\"{}\"", escape(text))),
        Value::Bool(_) | Value::Number(_) => xml.push_str(&format!(" value=\"{value}\"")),
        _ => {}
    }
    xml.push('>');
    for (key, child) in object.iter().filter(|(key, _)| !attribute(key) && (resource.is_none() || *key != "resourceType")) {
        let (key, child, extra) = match key.strip_prefix('_') {
            Some(plain) if object.contains_key(plain) => continue,
            Some(plain) => (plain, &Value::Null, Some(child)),
            None => (key.as_str(), child, object.get(&format!("_{key}"))),
        };
        match (child, extra) {
            (Value::Array(children), extra) => {
                for (at, child) in children.iter().enumerate() {
                    write_xml(key, child, extra.and_then(|extra| extra.get(at)), "", xml);
                }
            }
            (Value::Null, Some(Value::Array(extras))) => {
                extras.iter().for_each(|extra| write_xml(key, &Value::Null, Some(extra), "", xml));
            }
            (child, extra) => write_xml(key, child, extra, "", xml),
        }
    }
    xml.push_str(&close);
}

/// Samples whose JSON is not of the release, so that XML rightly comes back otherwise.
fn is_odd(file: &Path, json: &str) -> bool {
    // Templates with text where a list belongs.
    let template = json.contains("#(") || json.contains("##[]");
    // A boolean in quotes, a resource that is only in 4.0, and samples of STU3 among those of R4.
    let odd = ["vaccination5", "vaccination6", "vaccination7", "MedicinalProductPackaged-example", "Communication", "DetectedIssue"];
    let older =
        ["EligibilityRequest", "EnrollmentResponse", "ImagingStudy", "ImmunizationRecommendation", "SupplyRequest", "VisionPrescription"];
    let stem = file.file_stem().unwrap_or_default();
    template || odd.iter().chain(&older).any(|odd| stem == *odd)
}

#[test]
fn every_json_sample_comes_back_from_xml_as_it_was() {
    let Some(files) = corpus("") else { return };
    let mut same = 0;
    for file in files.into_iter().filter(|file| !is_xml(file)) {
        let Ok(json) = read(&file) else { continue };
        if json.get("resourceType").is_none() || is_odd(&file, &json.to_string()) {
            continue;
        }
        let mut xml = String::new();
        write_xml("", &json, None, " xmlns=\"http://hl7.org/fhir\"", &mut xml);
        match read_xml(xml.as_bytes(), release(&file), &Limits::default()) {
            Ok(back) => assert_eq!(first_difference("", &back, &json), "", "{}", short(&file)),
            Err(problem) => panic!("{}: {problem}", short(&file)),
        }
        same += 1;
    }
    assert!(300 < same, "only {same} samples were compared");
}

/// Where two trees differ first; nothing if they do not.
fn first_difference(at: &str, left: &Value, right: &Value) -> String {
    match (left, right) {
        _ if left == right => String::new(),
        (Value::Object(left), Value::Object(right)) => {
            let mut names = left.keys().chain(right.keys());
            let name = names.find(|name| left.get(*name) != right.get(*name)).map_or("", String::as_str);
            let [left, right] = [left, right].map(|object| object.get(name).unwrap_or(&Value::Null));
            first_difference(&format!("{at}.{name}"), left, right)
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let differs = left.iter().zip(right).enumerate().find(|(_, (left, right))| left != right);
            differs.map_or_else(String::new, |(n, (left, right))| first_difference(&format!("{at}[{n}]"), left, right))
        }
        _ => format!("{at}: {left} is not {right}"),
    }
}

/// The path of every element of a tree: `Patient.name.given`.
fn collect_paths(tree: &Value, path: &str, paths: &mut BTreeSet<String>) {
    match tree {
        Value::Array(values) => values.iter().for_each(|value| collect_paths(value, path, paths)),
        Value::Object(object) => {
            let own = object.get("resourceType").and_then(Value::as_str);
            let path = own.unwrap_or(path);
            for (name, value) in object.iter().filter(|(name, _)| own.is_none() || *name != "resourceType") {
                let path = format!("{path}.{}", name.trim_start_matches('_'));
                collect_paths(value, &path, paths);
                paths.insert(path);
            }
        }
        _ => {}
    }
}

#[test]
fn every_element_of_the_official_samples_is_a_name_of_its_release() {
    let mut unknown = Vec::new();
    for folder in ["hl7-official-stu3", "hl7-official-r4", "nhs-events-management", "nhs-pds-api"] {
        let Some(files) = corpus(folder) else { return };
        for file in files.iter().filter(|file| !file.ends_with("MedicinalProductPackaged-example.json")) {
            let Ok(tree) = read(file) else { continue };
            if tree.get("resourceType").is_none() {
                continue;
            }
            let mut paths = BTreeSet::new();
            collect_paths(&tree, "", &mut paths);
            for path in paths {
                let parsed = chis_broker::fhir::Path::parse(&path).expect("names and dots");
                if let Err(error) = check_names(&parsed, release(file)) {
                    unknown.push(format!("{}: {path}: {error}", short(file)));
                }
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn a_national_birth_notification_answers_the_paths_of_a_mapping() {
    let Some(files) = corpus("nhs-events-management") else { return };
    let file = files.iter().find(|file| file.ends_with("BirthNotificationWithoutMother.xml")).expect("the birth notification");
    let tree = read(file).expect("a readable event");
    let arena = bumpalo::Bump::new();
    let tree = Item::of(&tree, &arena);
    let mut lets = Lets::new();
    let paths = [
        ("header", "Bundle.entry.resource.ofType(MessageHeader)[1]"),
        ("communication", "$header.focus.resolve()"),
        ("mother", "$communication.subject.resolve()"),
        ("baby", "$mother.link.other.resolve().patient.resolve()"),
        ("number", "$baby.identifier.where(system = 'https://fhir.nhs.uk/Id/nhs-number').value"),
        ("born", "$baby.birthDate.extension('http://hl7.org/fhir/StructureDefinition/patient-birthTime').value"),
        ("weight", "Bundle.entry.resource.ofType(Observation).where(code.coding.code = '364589006').value.value"),
    ];
    for (name, path) in paths {
        let path = chis_broker::fhir::Path::parse(path).expect(path);
        assert_eq!(check_names(&path, Release::Stu3), Ok(()), "{path}");
        let found = path.find(&tree, &lets);
        assert_eq!(found.len(), 1, "{path}");
        lets.insert(name.to_owned(), found);
    }
}

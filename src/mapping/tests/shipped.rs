//! The files that are shipped, and public messages by the hundred.

use super::*;

#[test]
fn the_shipped_files_compile_without_a_warning_and_their_tests_pass() {
    let files = Bundle::shipped();
    let bundle = Bundle::compile(&files, "mappings/").unwrap_or_else(|said| panic!("{}", render(&said, &files, "mappings/", false)));
    assert_eq!(render(bundle.warnings(), &files, "mappings/", false), "");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for report in bundle.test(&|name| std::fs::read(root.join(name)).ok()) {
        assert_eq!(report.failures, Vec::<String>::new(), "{}:{} {}", report.file, report.line, report.name);
    }
}

#[test]
fn a_directory_holds_the_same_bundle_as_the_binary() {
    let files = Bundle::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings")).unwrap();
    let hash = |files: &Files| Bundle::compile(files, "").map(|bundle| bundle.hash().clone()).map_err(|said| said.len());
    assert_eq!(hash(&files), hash(&Bundle::shipped()));
}

#[test]
fn directory_files_and_other_files_are_not_part_of_a_bundle() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["t.toml", "README.md", ".hidden.toml", "tables/x.csv", "sites/a/t.toml", "sites/a/tables/x.csv", "directories/p.csv"] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let names: Vec<String> = Bundle::files(dir.path()).unwrap().into_keys().collect();
    assert_eq!(names, ["sites/a/t.toml", "sites/a/tables/x.csv", "t.toml", "tables/x.csv"]);
    assert!(Bundle::files(&dir.path().join("nowhere")).is_err());
}

/// All files below a folder.
fn below(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { below(&path, found) } else { found.push(path) }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "says that it did not run")]
fn every_public_message_is_mapped_held_or_ignored_and_never_a_panic() {
    let Ok(corpus) = std::env::var("CHIS_CORPUS") else {
        eprintln!("CHIS_CORPUS is not set: the public messages were not read");
        return;
    };
    let wide = limits::wide();
    let mut all_types = with_child(limits::WIDE);
    let types = [
        "ADT^A01", "ADT^A03", "ADT^A04", "ADT^A08", "ADT^A28", "ADT^A31", "ADT^A40", "ORU^R01", "VXU^V04", "MDM^T02", "SIU^S12", "ORM^O01",
    ];
    all_types = all_types.replace("[\"ADT^A28\", \"ORU^R01\"]", &format!("{types:?}"));
    let any = bundle(&[("t.toml", &all_types), ("tables/sex.csv", "from,to\nM,1\nF,2\n")]);
    let shipped = Bundle::compile(&Bundle::shipped(), "mappings/").unwrap();
    let (mut files, mut read) = (Vec::new(), 0);
    below(Path::new(&corpus), &mut files);
    for path in files {
        let body = std::fs::read(&path).unwrap();
        let name = path.to_string_lossy().into_owned();
        let formats: &[Format] = match path.extension().and_then(|end| end.to_str()) {
            Some("json") => &[Format::Stu3Json, Format::R4Json],
            Some("xml") => &[Format::Stu3Xml, Format::R4Xml],
            _ if name.contains("hl7v2") => &[Format::Hl7v2],
            _ => continue,
        };
        for format in formats {
            for bundle in [wide, &any, &shipped] {
                let reading = limits::read_bytes(bundle, *format, &body);
                let held = reading.findings.iter().any(|finding| finding.level == Level::Hold);
                assert_eq!(reading.outcome == Outcome::Held, held, "{name}");
                assert!(reading.outcome != Outcome::Mapped || !reading.statements.is_empty(), "{name}");
                read += 1;
            }
        }
    }
    assert!(read > 1_000, "{read} readings: is this the corpus?");
}

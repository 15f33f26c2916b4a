use super::super::*;
#[test]
fn content_compiles() {
    let dir = std::path::PathBuf::from("/work/wt/content");
    let files = Bundle::files(&dir.join("mappings")).unwrap();
    match Bundle::compile(&files, "mappings/") {
        Err(said) => { eprintln!("{}", render(&said, &files, "mappings/", false)); panic!("{} mistakes", said.len()); }
        Ok(bundle) => {
            eprintln!("{}", render(bundle.warnings(), &files, "mappings/", false));
            for (name, text) in bundle.mappings() { eprintln!("{name}: {text}"); }
            let mut bad = 0; let mut all = 0;
            for report in bundle.test(&|name| std::fs::read(dir.join(name)).ok()) {
                all += 1; if !report.failures.is_empty() { bad += 1; eprintln!("{}:{} {}\n   {}", report.file, report.line, report.name, report.failures.join("\n   ")); }
            }
            eprintln!("{bad} of {all} tests failed");
            let body = std::fs::read(dir.join("samples/03-term-baby-a28-person.hl7")).unwrap();
            eprintln!("A28 of {} bytes", body.len());
            let input = Input { format: Format::Hl7v2, body: &body, default_charset: None, allow_test_numbers: true };
            let t = std::time::Instant::now(); for _ in 0..200 { bundle.read(&input, false); } eprintln!("{:?} a message (debug)", t.elapsed() / 200);
            let m = crate::hl7::Message::read(&body, &Default::default()).unwrap();
            let t = std::time::Instant::now(); for _ in 0..200 { std::hint::black_box(crate::hl7::Message::read(&body, &Default::default()).unwrap()); } eprintln!("{:?} Message::read (debug)", t.elapsed() / 200); drop(m);
            let s = bundle.read(&input, false).statements; let v = serde_json::to_value(&s[0]).unwrap();
            let t = std::time::Instant::now(); for _ in 0..200 { std::hint::black_box(serde_json::from_value::<crate::canon::Statement>(v.clone()).unwrap()); } eprintln!("{:?} from_value (debug)", t.elapsed() / 200);
            let mut names: Vec<_> = std::fs::read_dir(dir.join("samples")).unwrap().map(|e| e.unwrap().path()).filter(|p| !p.to_string_lossy().ends_with(".expected.json")).collect(); names.sort();
            for path in names {
                let format = match path.extension().and_then(|e| e.to_str()) { Some("hl7") => Format::Hl7v2, Some("xml") => Format::Stu3Xml, Some("json") => if path.to_string_lossy().contains("proxy") { Format::R4Json } else { Format::Stu3Json }, _ => continue };
                let body = std::fs::read(&path).unwrap();
                let input = Input { format, body: &body, default_charset: None, allow_test_numbers: true };
                let reading = bundle.read(&input, true);
                eprintln!("== {} {:?} {:?}", path.file_name().unwrap().to_string_lossy(), reading.mapping.as_ref().map(|m| m.as_str().to_owned()), reading.outcome);
                for f in &reading.findings { eprintln!("   {:?} {} {}: {} [{}] help: {}", f.level, f.code, f.field, f.text, f.rule, f.help); }
                if path.to_string_lossy().contains("05-twin") || path.to_string_lossy().contains("09-spine") || path.to_string_lossy().contains("15-twin") {
                  for s in &reading.statements { eprintln!("{}", serde_json::to_string(s).unwrap()); }
                  for p in reading.provenance.iter().take(40) { eprintln!("   {} = {} <- {} {:?} {:?} {:?} [{}]", p.field, p.value, p.from, p.bytes, p.raw, p.steps, p.rule); }
                  for (l, c) in bundle.coverage(&input) { eprint!("{l}={c:?} "); } eprintln!();
                }
            }
        }
    }
}

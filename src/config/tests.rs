//! Every kind of mistake is told with its place and a remedy, and all of them at once.

use std::fs;
use std::path::Path;

use super::*;

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// A folder with `chis-broker.toml` and the given files below it.
    fn new(main: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("chis-broker.toml"), main).unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn load(&self) -> Loaded {
        self.load_with(&[])
    }

    fn load_with(&self, environment: &[(&str, &str)]) -> Loaded {
        let environment: Vec<(String, String)> = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Settings::load(Some(&self.path().join("chis-broker.toml")), &environment, &Arguments::default())
    }
}

/// `file:line:column code message`, errors only.
fn told(loaded: &Loaded) -> Vec<String> {
    let name = |file: &str| Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    loaded
        .diagnostics
        .iter()
        .filter(|one| one.is_error)
        .map(|one| format!("{}:{}:{} {} {}", name(&one.file), one.line, one.column, one.code, one.message))
        .collect()
}

/// What is said about `main`, and each remedy.
fn check(main: &str, expected: &[&str]) {
    let loaded = Site::new(main, &[]).load();
    assert_eq!(told(&loaded), expected, "of\n{main}");
    for diagnostic in &loaded.diagnostics {
        assert!(
            diagnostic.help.as_deref().is_some_and(|help| !help.is_empty()) || diagnostic.code == "C001" || diagnostic.code == "C003",
            "{diagnostic:?} has no remedy"
        );
    }
}

/// A file without mistakes; the cases add one.
const GOOD: &str = "[[intake.mllp]]\nlisten = \"127.0.0.1:0\"\n[[source]]\nname = \"rj1\"\npeers = [\"127.0.0.1\"]\naccepts = [\"*\"]\n[[destination]]\nname = \"hub-ne\"\nkind = \"store\"\nhub = \"NE\"\n";

#[test]
fn the_good_file_is_good() {
    check(GOOD, &[]);
}

#[test]
fn the_defaults_are_the_embedded_default() {
    let settings = Settings::embedded(Path::new("data"), None, None, None).unwrap();
    assert_eq!(settings.store.data, Path::new("data"));
    assert_eq!(settings.intake.mllp[0].listen.to_string(), "127.0.0.1:2575");
    assert_eq!(settings.intake.mllp[0].processing_ids, ["P", "T", "D"]);
    assert_eq!(settings.intake.http[0].listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:9464");
    assert!(settings.allow_test_numbers);
    assert_eq!(settings.sources[0].name, "loopback");
    assert_eq!(settings.sources[0].accepts, ["*"]);
    let names: Vec<&str> = settings.destinations.iter().map(|destination| destination.name.as_str()).collect();
    assert_eq!(names, ["hub-ne", "hub-nw", "hub-se", "hub-sw"]);
}

#[test]
fn the_default_file_says_what_the_code_defaults_to() {
    let written: Settings = toml::from_str(DEFAULT_TOML).unwrap();
    let coded = Settings::default();
    assert_eq!(written.store.data, coded.store.data);
    assert_eq!(written.mappings.dir, coded.mappings.dir);
    assert_eq!(written.admin.listen, coded.admin.listen);
    assert_eq!(written.log.format, coded.log.format);
    assert_eq!(written.log.level, coded.log.level);
    assert_eq!(written.intake.application, coded.intake.application);
    assert_eq!(written.intake.facility, coded.intake.facility);
    assert_eq!(written.intake.connections_max, coded.intake.connections_max);
    assert_eq!(written.intake.connections_per_peer_max, coded.intake.connections_per_peer_max);
}

#[test]
fn every_example_of_the_default_file_can_be_read() {
    let is_example =
        |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '['));
    let text: String = DEFAULT_TOML
        .lines()
        .map(|line| if is_example(line) { line.trim_start_matches('#') } else { line })
        .map(|line| format!("{line}\n"))
        .collect();
    let settings: Settings = toml::from_str(&text).unwrap();
    assert_eq!((settings.intake.mllp.len(), settings.sources.len(), settings.destinations.len()), (2, 2, 7));
    assert_eq!(settings.hub_doors.iter().map(|door| door.readers.len()).collect::<Vec<_>>(), [1]);
}

#[test]
fn with_a_file_nothing_of_the_trial_set_up_is_left() {
    let settings = Site::new(GOOD, &[]).load().accept().unwrap().0;
    assert!(!settings.allow_test_numbers);
    assert_eq!((settings.intake.mllp.len(), settings.intake.http.len(), settings.sources.len(), settings.destinations.len()), (1, 0, 1, 1));
}

#[test]
fn an_empty_file_is_no_error_but_says_that_nothing_can_come() {
    let loaded = Site::new("", &[]).load();
    assert_eq!(told(&loaded), Vec::<String>::new());
    assert!(loaded.diagnostics.iter().any(|one| one.message.starts_with("no listener")));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_name() {
    check(&format!("[admin]\nlisen = \"127.0.0.1:0\"\n{GOOD}"), &["chis-broker.toml:2:1 C002 unknown key `lisen` in `admin`"]);
    let loaded = Site::new(&format!("[sotre]\ndata = \"x\"\n{GOOD}"), &[]).load();
    assert_eq!(told(&loaded), ["chis-broker.toml:1:2 C002 unknown key `sotre`"]);
    assert_eq!(loaded.diagnostics[0].help.as_deref(), Some("did you mean `store`?"));
}

#[test]
fn a_destination_keeps_its_places_although_its_kind_is_a_tag() {
    let main = GOOD.replace("hub = \"NE\"", "hub = \"NE\"\ncolour = \"red\"");
    check(&main, &["chis-broker.toml:11:1 C002 unknown key `colour` in `destination`"]);
    let main = GOOD.replace("kind = \"store\"", "kind = \"stor\"");
    check(&main, &["chis-broker.toml:9:8 C003 `destination.kind` cannot be \"stor\""]);
    let main = format!("{GOOD}[[destination]]\nname = \"red\"\nkind = \"fhir\"\nbase = 7\nprofile = \"record\"\n");
    check(&main, &["chis-broker.toml:14:8 C003 `destination.base` cannot be read: invalid type: integer `7`, expected a string"]);
}

#[test]
fn a_password_in_a_connection_is_refused_and_the_line_where_it_stands_is_not_the_one_that_is_shown() {
    let main = GOOD.replace("hub = \"NE\"", "hub = \"NE\"\npostgres = \"host=127.0.0.1 dbname=hub user=chis password=sesame\"");
    let loaded = Site::new(&main, &[]).load();
    let problem = loaded.diagnostics.iter().find(|one| one.message.contains("password_file")).unwrap();
    let shown = main.get(problem.span.clone()).and_then(|text| text.lines().next());
    assert_eq!(shown, Some("[[destination]]"), "{problem:?}");
}

#[test]
fn files_of_a_store_on_a_server_are_taken_from_the_folder_of_the_settings() {
    let main = GOOD.replace("hub = \"NE\"", "hub = \"NE\"\npostgres = \"host=127.0.0.1 dbname=hub user=chis\"\npassword_file = \"secret\"");
    let site = Site::new(&main, &[]);
    let loaded = site.load();
    let crate::destinations::Kind::Store { password_file, .. } = &loaded.settings.destinations[0].kind else { panic!("a store") };
    assert!(password_file.as_ref().is_some_and(|file| file.is_absolute() && file.ends_with("secret")), "{password_file:?}");
}

#[test]
fn what_is_missing_is_named_once_each() {
    check(
        "[[intake.mllp]]\ntls = {}\n[[source]]\n",
        &[
            "chis-broker.toml:1:1 C004 `intake.mllp` needs `listen`",
            "chis-broker.toml:2:1 C004 `intake.mllp.tls` needs `certificate_file`",
            "chis-broker.toml:2:1 C004 `intake.mllp.tls` needs `key_file`",
            "chis-broker.toml:3:1 C004 `source` needs `name`",
            "chis-broker.toml:3:1 C012 nobody can be known as this source",
        ],
    );
}

#[test]
fn wrong_types_and_addresses_are_told_at_the_value() {
    check(
        &format!("[admin]\nlisten = \"localhost\"\n[log]\nlevel = 3\n{GOOD}"),
        &[
            "chis-broker.toml:2:10 C003 `admin.listen` is no address with a port",
            "chis-broker.toml:4:9 C003 `log.level` cannot be read: invalid type: integer `3`, expected a string",
        ],
    );
    check(&GOOD.replace("[\"127.0.0.1\"]", "[\"::1\", \"here\"]"), &["chis-broker.toml:5:17 C003 `source.peers` is no IP address"]);
}

#[test]
fn syntax_errors_do_not_hide_other_mistakes() {
    let loaded = Site::new(&format!("[admin]\nlisen = 1\n[log]\nlevel = = 3\n{GOOD}"), &[]).load();
    let told = told(&loaded);
    assert!(told.iter().any(|line| line.contains(":4:9 C001")), "{told:?}");
    assert!(told.iter().any(|line| line.contains(":2:1 C002")), "{told:?}");
}

#[test]
fn names_are_lower_case_kebab_and_said_once() {
    let main = format!(
        "{GOOD}[[source]]\nname = \"RJ1 Maternity\"\npeers = [\"::1\"]\naccepts = [\"*\"]\n[[destination]]\nname = \"hub-ne\"\nkind = \"store\"\nhub = \"NW\"\n"
    );
    let loaded = Site::new(&main, &[]).load();
    assert_eq!(
        told(&loaded),
        [
            "chis-broker.toml:12:8 C005 a source's name has lower-case letters, digits and hyphens only",
            "chis-broker.toml:16:8 C006 two destinations are called \"hub-ne\"",
        ]
    );
    assert_eq!(loaded.diagnostics[0].help.as_deref(), Some("write it like \"rj1-maternity\""));
}

#[test]
fn a_port_is_given_once_whatever_the_address() {
    let two = |second: &str| format!("[admin]\nlisten = \"127.0.0.1:9000\"\n{GOOD}[[intake.http]]\nlisten = \"{second}\"\n");
    check(&two("127.0.0.1:9000"), &["chis-broker.toml:2:10 C007 port 9000 is taken twice"]);
    check(&two("127.0.0.1:9001"), &[]);
    check(&two("[::1]:9000"), &[]);
    check(&two("127.0.0.1:0"), &[]);
}

#[test]
fn plain_listeners_stay_on_loopback() {
    check(
        &GOOD.replace("127.0.0.1:0", "0.0.0.0:2575"),
        &["chis-broker.toml:2:10 C008 MLLP without TLS is for loopback: anyone could read it"],
    );
    check(&GOOD.replace("\"127.0.0.1:0\"", "\"0.0.0.0:2575\"\nplain_peers = [\"10.1.2.3\"]"), &[]);
    check(
        &format!("{GOOD}[[intake.http]]\nlisten = \"10.0.0.1:8080\"\n"),
        &["chis-broker.toml:12:10 C008 HTTP without TLS is for loopback: anyone could read it"],
    );
    check(
        &format!("[admin]\nlisten = \"0.0.0.0:1\"\n{GOOD}"),
        &["chis-broker.toml:2:10 C008 the admin door opens on loopback only: whoever reaches it is believed"],
    );
    let fhir = |base: &str| format!("{GOOD}[[destination]]\nname = \"red\"\nkind = \"fhir\"\nbase = \"{base}\"\nprofile = \"record\"\n");
    check(&fhir("http://127.0.0.1:1"), &[]);
    check(
        &fhir("http://records.example.nhs.uk"),
        &["chis-broker.toml:14:8 C016 `base = \"http://records.example.nhs.uk\"` would send records in the clear"],
    );
    check(&fhir("records"), &["chis-broker.toml:14:8 C016 `base = \"records\"` is not a URL"]);
    check(
        &fhir("https://records.example.nhs.uk").replace("profile", "timeout_s = 0\nprofile"),
        &["chis-broker.toml:11:1 C016 `ca_file` is missing", "chis-broker.toml:15:13 C016 `timeout_s = 0` must be from 1 to 600"],
    );
}

#[test]
fn files_that_are_named_must_be_there() {
    let main = "[mappings]\ndir = \"nowhere\"\n".to_owned()
        + &GOOD.replace(
            "\"127.0.0.1:0\"",
            "\"127.0.0.1:0\"\ntls = { certificate_file = \"a.pem\", key_file = \"b.key\", client_ca_file = \"a.pem\" }",
        );
    let site = Site::new(&main, &[("a.pem", "-----BEGIN CERTIFICATE-----\n"), ("b.key", "no key")]);
    let told: Vec<String> = told(&site.load()).into_iter().map(|line| line.replace(&site.path().display().to_string(), "DIR")).collect();
    assert_eq!(
        told,
        [
            "chis-broker.toml:2:7 C009 DIR/nowhere is no folder that can be read",
            "chis-broker.toml:5:48 C009 DIR/b.key is not PEM",
            "chis-broker.toml:5:74 C011 a stolen certificate could not be locked out",
        ]
    );
}

#[test]
fn a_key_goes_with_its_certificate() {
    let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (one, other) = (made("one.example"), made("other.example"));
    let main = GOOD.replace("\"127.0.0.1:0\"", "\"127.0.0.1:0\"\ntls = { certificate_file = \"a.pem\", key_file = \"a.key\" }");
    let with = |key: String| told(&Site::new(&main, &[("a.pem", &one.cert.pem()), ("a.key", &key)]).load());
    assert_eq!(with(one.signing_key.serialize_pem()), Vec::<String>::new());
    let told = with(other.signing_key.serialize_pem());
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("chis-broker.toml:3:48 C009 the certificate and the key cannot be used together"), "{told:?}");
}

#[test]
fn bounds_are_bounds_exactly() {
    let with = |line: &str| GOOD.replace("[[source]]", &format!("{line}\n[[source]]"));
    check(&with("frame_bytes_max = 67108864"), &[]);
    check(&with("frame_bytes_max = 67108865"), &["chis-broker.toml:3:19 C010 a message has 1 to 67108864 bytes"]);
    check(&with("frame_bytes_max = 0"), &["chis-broker.toml:3:19 C010 a message has 1 to 67108864 bytes"]);
    check(&with("frame_seconds_max = 0"), &["chis-broker.toml:3:21 C010 a frame needs at least one second"]);
    check(&with("processing_ids = [\"P\", \"X\"]"), &["chis-broker.toml:3:24 C010 \"X\" is no processing id of MSH-11"]);
}

#[test]
fn a_source_can_be_known_and_sends_types_that_exist() {
    check(&GOOD.replace("peers = [\"127.0.0.1\"]\n", ""), &["chis-broker.toml:3:1 C012 nobody can be known as this source"]);
    check(
        &GOOD.replace("accepts = [\"*\"]", "accepts = [\"ADT^A28\", \"ADT A31\"]"),
        &["chis-broker.toml:6:23 C013 \"ADT A31\" is no message type"],
    );
    let twin = format!("{GOOD}[[source]]\nname = \"rj2\"\npeers = [\"::1\", \"127.0.0.1\"]\naccepts = [\"*\"]\n");
    check(&twin, &["chis-broker.toml:13:17 C006 \"127.0.0.1\" stands for two sources"]);
    let apart = twin
        .replace("name = \"rj1\"", "name = \"rj1\"\nsenders = [\"A|B\"]")
        .replace("name = \"rj2\"", "name = \"rj2\"\nsenders = [\"A|C\"]");
    check(&apart, &[]);
}

#[test]
fn mistakes_of_all_files_and_variables_are_told_at_once() {
    let site = Site::new(
        &format!("[admin]\nlisen = 1\n{GOOD}"),
        &[
            ("conf.d/10-feeds.toml", "[[source]]\nname = \"A B\"\npeers = [\"10.0.0.1\"]\naccepts = [\"*\"]\n"),
            ("conf.d/20-more.toml", "[intake]\nconnections_max = \"many\"\n"),
            ("conf.d/README.txt", "not read"),
        ],
    );
    let loaded = site.load_with(&[("CHIS__STORE__DATTA", "/x"), ("CHIS__LOG__LEVEL", "debug"), ("CHIS__INTAKE__CONNECTIONS_MAX", "lots")]);
    assert_eq!(
        told(&loaded),
        [
            "chis-broker.toml:2:1 C002 unknown key `lisen` in `admin`",
            "10-feeds.toml:2:8 C005 a source's name has lower-case letters, digits and hyphens only",
            "20-more.toml:2:19 C003 `intake.connections_max` cannot be read: invalid type: string \"many\", expected usize",
            "environment:1:1 C020 the variable CHIS__STORE__DATTA names no setting",
            "environment:1:1 C020 the variable CHIS__INTAKE__CONNECTIONS_MAX has a value that this setting cannot take",
        ]
    );
    assert_eq!(loaded.settings.log.level, "debug");
    assert_eq!(loaded.exit, EXIT_CONFIG);
}

#[test]
fn later_layers_win_and_lists_add_up() {
    let site = Site::new(
        &format!("[store]\ndata = \"one\"\n[log]\nlevel = \"warn\"\nformat = \"json\"\n{GOOD}"),
        &[("conf.d/a.toml", "[log]\nlevel = \"error\"\n[[source]]\nname = \"two\"\npeers = [\"::1\"]\naccepts = [\"*\"]\n")],
    );
    let environment = [("CHIS__LOG__FORMAT".to_owned(), "text".to_owned())];
    let arguments = Arguments { admin: Some("127.0.0.1:7".parse().unwrap()), ..Arguments::default() };
    let settings = Settings::load(Some(&site.path().join("chis-broker.toml")), &environment, &arguments).accept().unwrap().0;
    assert_eq!(settings.store.data, site.path().join("one"));
    assert_eq!(settings.log.level, "error");
    assert_eq!(settings.log.format, Some(observe::LogFormat::Text));
    assert_eq!(settings.admin.listen.port(), 7);
    let names: Vec<&str> = settings.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["rj1", "two"]);
}

#[test]
fn a_file_that_is_not_there_is_66_and_a_wrong_one_78() {
    let loaded = Settings::load(Some(Path::new("/nowhere/chis-broker.toml")), &[], &Arguments::default());
    assert_eq!(loaded.accept().unwrap_err().exit, EXIT_NO_INPUT);
    assert_eq!(Site::new("[x]\n", &[]).load().accept().unwrap_err().exit, EXIT_CONFIG);
}

#[test]
fn a_hub_store_is_found_by_hub_or_destination() {
    let settings = Settings::embedded(Path::new("/data"), None, None, None).unwrap();
    assert_eq!(settings.hub_store("NE"), Some(Path::new("/data/hub-ne.db").into()));
    assert_eq!(settings.hub_store("hub-sw"), Some(Path::new("/data/hub-sw.db").into()));
    assert_eq!(settings.hub_store("XX"), None);
}

#[test]
fn a_drop_folder_needs_a_source_that_is_there_and_a_folder_of_its_own() {
    let main = r#"
[[source]]
name = "mesh"
charset = "8859/1"
[[source]]
name = "nobody"
[[source]]
name = "old-system"
import = true
[[intake.drop]]
folder = "in"
source = "mesh"
charset = "UNICODE UTF-8"
[[intake.drop]]
folder = "in"
source = "mash"
poll_seconds = 0
[[destination]]
name = "hub-ne"
kind = "store"
hub = "NE"
"#;
    let site = Site::new(main, &[("in/README", "")]);
    let loaded = site.load();
    let told: Vec<String> =
        told(&loaded).iter().map(|line| line.split(':').nth(1).unwrap().to_owned() + " " + line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(told, ["5 C012", "13 C006", "14 C010", "15 C006", "16 C015"], "{:#?}", loaded.diagnostics);
    assert_eq!(loaded.settings.intake.drop[0].folder, site.path().join("in"), "folders are taken from the folder of the file");
}

#[test]
fn a_test_clock_needs_test_numbers_and_a_file_that_holds_a_time() {
    let site = |main: &str| Site::new(&format!("{main}{GOOD}"), &[("clock", "2026-01-05T06:00:00Z\n"), ("other", "soon")]);
    let allowed = site("allow_test_numbers = true\n[test]\nclock = \"clock\"\n");
    assert_eq!(told(&allowed.load()), Vec::<String>::new());
    assert_eq!(allowed.load().settings.test.clock, Some(allowed.path().join("clock")), "taken from the folder of the file");
    let refused = "C017 a test clock is for trials with invented people: `allow_test_numbers` is not true";
    assert_eq!(told(&site("[test]\nclock = \"clock\"\n").load()), [format!("chis-broker.toml:2:9 {refused}")]);
    let text = told(&site("allow_test_numbers = true\n[test]\nclock = \"other\"\n").load());
    assert!(text.len() == 1 && text[0].starts_with("chis-broker.toml:3:9 C009 ") && text[0].ends_with("other holds no time"), "{text:?}");
    let text = told(&site("allow_test_numbers = true\n[test]\nclock = \"none\"\n").load());
    assert!(text.len() == 1 && text[0].contains("none cannot be read"), "{text:?}");
}

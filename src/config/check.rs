//! The whole configuration, checked without a connection: mappings and tables compiled, hubs and directories loaded,
//! every inline test run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Settings;
use crate::clock;
use crate::destinations::{Kind, PARENTS_FILE, ParentRules, ParentsError};
use crate::failsafe::{Rules, RulesError, Texts};
use crate::mapping::{Bundle, Diagnostic, Files, TestReport};
use crate::routing::{Directory, RoutingError};

/// What checking found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Mistakes and warnings of mapping files, tables, hubs and directories.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts the diagnostics point into.
    pub texts: BTreeMap<String, String>,
    /// How each inline test went.
    pub tests: Vec<TestReport>,
    /// Mappings that compiled.
    pub mappings: usize,
    /// Hubs that were loaded.
    pub hubs: usize,
    /// Hash of the bundle, where it compiled.
    pub bundle: Option<String>,
    /// What good routing lacks.
    pub degraded: Vec<String>,
}

impl Checked {
    /// True where nothing is wrong; warnings do not count.
    pub fn is_good(&self) -> bool {
        !self.diagnostics.iter().any(|one| one.is_error) && self.tests.iter().all(|test| test.failures.is_empty())
    }
}

/// Compiles, loads and tests all that `settings` name. Opens no connection, writes nothing.
pub fn check(settings: &Settings) -> Checked {
    let mut checked = Checked::default();
    let prefix = prefix(settings);
    match files(settings) {
        Ok(files) => {
            for (name, bytes) in &files {
                checked.texts.insert(format!("{prefix}{name}"), String::from_utf8_lossy(bytes).into_owned());
            }
            compile(settings, &files, &prefix, &mut checked);
        }
        Err(error) => checked.diagnostics.push(plain(
            "C009",
            &prefix,
            format!("the mappings cannot be read: {error}"),
            "correct [mappings] dir or its permissions",
        )),
    }
    match directory(settings) {
        Ok(directory) => {
            hubs(settings, &directory, &mut checked);
            checked.degraded = directory.degraded();
        }
        Err(errors) => checked.diagnostics.extend(errors.into_iter().map(|error| from_routing(error, &prefix))),
    }
    match failsafe(settings) {
        Ok(rules) => checked.degraded.extend(rules.degraded(crate::failsafe::day::date_of(clock::now()))),
        Err(errors) => checked.diagnostics.extend(errors.into_iter().map(|error| from_failsafe(error, &prefix))),
    }
    templates(settings, &mut checked);
    if let Err(errors) = parents(settings) {
        checked.diagnostics.extend(errors.into_iter().map(|error| from_parents(error, &prefix)));
    }
    checked
}

/// The templates of each viewer. A mistake in a shipped file is at the place where a site's own would be.
fn templates(settings: &Settings, checked: &mut Checked) {
    for (index, destination) in settings.destinations.iter().enumerate() {
        let Kind::Mllp(config) = &destination.kind else { continue };
        let folder = config.templates.as_ref().map(|folder| format!("{}/", folder.display()));
        for mistake in config.viewer().err().unwrap_or_default() {
            if mistake.at == (1, 1)
                && mistake.span == (0..0)
                && Some(&mistake.file) == config.templates.as_ref().map(|f| f.display().to_string()).as_ref()
            {
                let place = settings.destination_places.get(index).cloned().unwrap_or_default();
                let told = plain("V001", &place.file, mistake.message, &mistake.help);
                checked.diagnostics.push(Diagnostic { span: place.span, line: place.line, column: place.column, ..told });
                continue;
            }
            let own = folder.as_ref().filter(|folder| Path::new(&format!("{folder}{}", mistake.file)).is_file());
            let file = format!("{}{}", own.map_or("mappings/viewer/", String::as_str), mistake.file);
            if let Ok(text) = std::fs::read_to_string(&file) {
                checked.texts.insert(file.clone(), text);
            }
            let (line, column) = mistake.at;
            checked.diagnostics.push(Diagnostic {
                span: mistake.span,
                line,
                column,
                ..plain("V001", &file, mistake.message, &mistake.help)
            });
        }
    }
}

fn compile(settings: &Settings, files: &Files, prefix: &str, checked: &mut Checked) {
    match Bundle::compile(files, prefix) {
        Ok(bundle) => {
            checked.mappings = bundle.mappings().len();
            checked.bundle = Some(bundle.hash().to_string());
            let dir = settings.mappings.dir.clone();
            checked.tests = bundle.test(&|name| samples_beside(dir.as_deref(), name));
        }
        Err(diagnostics) => checked.diagnostics.extend(diagnostics),
    }
}

/// A sample that a test names: beside the mappings, else from the samples inside the program.
pub fn samples_beside(dir: Option<&Path>, name: &str) -> Option<Vec<u8>> {
    let beside = dir.into_iter().flat_map(|dir| [dir.join(name), dir.join("samples").join(name), dir.join("..").join(name)]);
    let shipped = name.trim_start_matches("../").trim_start_matches("samples/");
    beside.into_iter().find_map(|path| std::fs::read(path).ok()).or_else(|| Samples::get(shipped).map(|file| file.data.into_owned()))
}

/// The samples inside the program.
#[derive(rust_embed::RustEmbed)]
#[folder = "samples/"]
#[allow_missing = true]
pub struct Samples;

fn files(settings: &Settings) -> std::io::Result<Files> {
    match &settings.mappings.dir {
        Some(dir) => Bundle::files(dir),
        None => Ok(Bundle::shipped()),
    }
}

/// The hubs and directories that the settings name, or those inside the program.
pub fn directory(settings: &Settings) -> Result<Directory, Vec<RoutingError>> {
    if let Some(dir) = &settings.mappings.dir {
        return Directory::load_dir(dir);
    }
    let files = Bundle::shipped();
    let hubs = files.get("hubs.toml").map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    Directory::load(&hubs, "hubs.toml", &|path| {
        let bytes = files.get(path).cloned().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
        Ok(Box::new(std::io::Cursor::new(bytes)))
    })
}

/// The hubs of a bundle that was active before, over the directory files of the settings, as far as these can be read.
pub fn last_directory(settings: &Settings, files: &Files) -> Result<Directory, Vec<RoutingError>> {
    let hubs = files.get("hubs.toml").map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    Directory::load_readable(&hubs, "last-good/hubs.toml", &|path| {
        if let Some(dir) = &settings.mappings.dir {
            return Ok(Box::new(std::fs::File::open(dir.join(path))?));
        }
        let bytes = files.get(path).cloned().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
        Ok(Box::new(std::io::Cursor::new(bytes)))
    })
}

/// The rules of the failsafe of a bundle that was active before; of a file that it does not have, the one inside the program.
pub fn last_failsafe(files: &Files) -> Result<Rules, Vec<RulesError>> {
    let shipped = Bundle::shipped();
    let text = |name: &str| {
        let bytes = files.get(name).or_else(|| shipped.get(name));
        bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    let (failsafe, schedule, holidays) = (text("failsafe.toml"), text("schedule.toml"), text("holidays.toml"));
    Rules::load(Texts { failsafe: &failsafe, schedule: &schedule, holidays: &holidays })
}

/// The rules of the failsafe that the settings name. A file that the mappings folder does not have is the one inside the program: a
/// site that was set up before there was a failsafe goes on.
pub fn failsafe(settings: &Settings) -> Result<Rules, Vec<RulesError>> {
    let shipped = Bundle::shipped();
    let text = |name: &str| {
        let own = settings.mappings.dir.as_ref().map(|dir| std::fs::read(dir.join(name)));
        let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        let bytes = match own {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) if !missing(&error) => {
                let message = format!("cannot be read ({error})");
                return Err(RulesError { file: name.to_owned(), line: 1, column: 1, span: 0..0, message });
            }
            _ => shipped.get(name).cloned().unwrap_or_default(),
        };
        String::from_utf8(bytes).map_err(|error| {
            let span = error.utf8_error().valid_up_to()..error.utf8_error().valid_up_to();
            RulesError { file: name.to_owned(), line: 1, column: 1, span, message: "is not UTF-8; save it as UTF-8".to_owned() }
        })
    };
    let texts = [text("failsafe.toml"), text("schedule.toml"), text("holidays.toml")];
    let mistakes: Vec<RulesError> = texts.iter().filter_map(|text| text.as_ref().err().cloned()).collect();
    let [Ok(failsafe), Ok(schedule), Ok(holidays)] = &texts else { return Err(mistakes) };
    Rules::load(Texts { failsafe, schedule, holidays })
}

/// What a parents' record may hold, of a bundle that was active before; without a file of its own, what the program permits.
pub fn last_parents(files: &Files) -> Result<ParentRules, Vec<ParentsError>> {
    match files.get(PARENTS_FILE) {
        Some(bytes) => ParentRules::load(&String::from_utf8_lossy(bytes), &format!("last-good/{PARENTS_FILE}")),
        None => Ok(ParentRules::default()),
    }
}

/// What a parents' record may hold, as the settings name it. Without a file in the mappings folder it is the one inside the program.
pub fn parents(settings: &Settings) -> Result<ParentRules, Vec<ParentsError>> {
    let Some(dir) = &settings.mappings.dir else { return Ok(ParentRules::default()) };
    match std::fs::read_to_string(dir.join(PARENTS_FILE)) {
        Ok(text) => ParentRules::load(&text, PARENTS_FILE),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ParentRules::default()),
        Err(error) => {
            let message = format!("cannot be read ({error}); correct its permissions, and save it as UTF-8");
            Err(vec![ParentsError { file: PARENTS_FILE.to_owned(), line: 1, column: 1, span: 0..0, message }])
        }
    }
}

fn hubs(settings: &Settings, directory: &Directory, checked: &mut Checked) {
    let known: Vec<String> = directory.hubs().into_iter().map(|(hub, _title)| hub.to_string()).collect();
    checked.hubs = known.len();
    let mut served = Vec::new();
    for (index, destination) in settings.destinations.iter().enumerate() {
        let Kind::Store { hub, .. } = &destination.kind else { continue };
        served.push(hub.to_string());
        if !known.iter().any(|name| name == hub.as_str()) {
            let help = format!("hubs.toml has: {}", known.join(", "));
            let message = format!("destination \"{}\" serves hub \"{hub}\", which hubs.toml does not have", destination.name);
            let place = settings.destination_places.get(index).cloned().unwrap_or_default();
            let told = plain("C015", &place.file, message, &help);
            checked.diagnostics.push(Diagnostic {
                span: place.span,
                line: place.line,
                column: place.column,
                label: "no such hub".to_owned(),
                ..told
            });
        }
    }
    for hub in known.iter().filter(|hub| !served.contains(hub)) {
        let message = format!("hub \"{hub}\" has no store: nothing is kept for its children");
        let help = format!("add a [[destination]] with kind = \"store\" and hub = \"{hub}\"");
        checked.diagnostics.push(Diagnostic { is_error: false, ..plain("C015", "", message, &help) });
    }
}

fn from_routing(error: RoutingError, prefix: &str) -> Diagnostic {
    let file = if error.file.contains('/') || prefix.is_empty() { error.file } else { format!("{prefix}{}", error.file) };
    Diagnostic {
        code: "H001",
        file,
        span: error.span,
        line: error.line,
        column: error.column,
        message: error.message,
        label: String::new(),
        help: None,
        is_error: true,
    }
}

fn from_failsafe(error: RulesError, prefix: &str) -> Diagnostic {
    let RulesError { file, line, column, span, message } = error;
    let place = from_routing(RoutingError { file, line, column, span, message }, prefix);
    Diagnostic { code: "F001", ..place }
}

fn from_parents(error: ParentsError, prefix: &str) -> Diagnostic {
    let ParentsError { file, line, column, span, message } = error;
    let place = from_routing(RoutingError { file, line, column, span, message }, prefix);
    Diagnostic { code: "P001", ..place }
}

fn plain(code: &'static str, file: &str, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        code,
        file: file.to_owned(),
        span: 0..0,
        line: 1,
        column: 1,
        message,
        label: String::new(),
        help: Some(help.to_owned()),
        is_error: true,
    }
}

/// What stands before file names in diagnostics: the folder as the settings name it.
fn prefix(settings: &Settings) -> String {
    let dir = settings.mappings.dir.clone().unwrap_or_else(|| PathBuf::from("mappings"));
    format!("{}/", dir.display())
}

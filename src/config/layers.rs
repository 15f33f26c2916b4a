//! Lays the layers over each other: the defaults, the files, the environment, the arguments.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::{Config, Environment, FileFormat};
use serde::Deserialize;

use super::places::{self, Step};
use super::walk::{self, FilePass, Told};
use super::{DEFAULT_TOML, Loaded, Place, Settings, rules};
use crate::destinations::{CareplusConfig, Kind, MllpConfig as MllpReceiver};
use crate::intake::{MllpConfig, TlsConfig};
use crate::mapping::Diagnostic;
use crate::observe::LogFormat;

/// The name that diagnostics use for the defaults.
pub const DEFAULT_NAME: &str = "config/default.toml";
/// The name that diagnostics use for variables.
const ENVIRONMENT_NAME: &str = "environment";

/// What the command line may override.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--mllp`: the first MLLP listener.
    pub mllp: Option<SocketAddr>,
    /// `--http`: the first HTTP listener.
    pub http: Option<SocketAddr>,
    /// `--admin`.
    pub admin: Option<SocketAddr>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
}

/// The `CHIS__` variables of this process.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("CHIS__"))
        .collect()
}

/// One file as it was read.
pub struct Layer<'t> {
    /// The name in diagnostics.
    pub name: String,
    /// Where its relative paths begin; `None` for the defaults.
    pub folder: Option<PathBuf>,
    /// What it says.
    pub pass: FilePass<'t>,
}

/// Which layer a setting came from, and where it stands there.
pub struct Origins<'l, 't> {
    layers: &'l [Layer<'t>],
    texts: &'l BTreeMap<String, String>,
    lists: BTreeMap<&'static str, Vec<(usize, usize)>>,
}

/// The lists that add up over the files.
const LISTS: [&str; 6] = ["intake.mllp", "intake.http", "intake.drop", "source", "destination", "hub_door"];

pub fn load(file: Option<&Path>, environment: &[(String, String)], arguments: &Arguments) -> Loaded {
    let mut loaded = Loaded { exit: crate::config::EXIT_CONFIG, ..Loaded::default() };
    let files = gather(file, &mut loaded);
    let layers: Vec<Layer<'_>> = files
        .iter()
        .map(|(name, folder, text)| Layer { name: name.clone(), folder: folder.clone(), pass: walk::read(name, text) })
        .collect();
    loaded.texts = files.iter().map(|(name, _, text)| (name.clone(), text.clone())).collect();

    let (mut settings, env_diagnostics) = scalars(&layers, environment, arguments);
    let origins = lists(&layers, &loaded.texts, &mut settings);
    settings.destination_places =
        (0..settings.destinations.len()).filter_map(|index| origins.place(&format!("destination[{index}].hub"))).collect();
    apply_listeners(&mut settings, arguments);
    loaded.diagnostics.extend(layers.iter().flat_map(|layer| layer.pass.diagnostics.iter().cloned()));
    loaded.diagnostics.extend(env_diagnostics);
    loaded.diagnostics.extend(rules::judge(&settings, &origins));
    loaded.diagnostics.sort_by_key(|one| (order(&layers, one), one.span.start));
    loaded.settings = settings;
    loaded
}

fn order(layers: &[Layer<'_>], diagnostic: &Diagnostic) -> usize {
    layers.iter().position(|layer| layer.name == diagnostic.file).unwrap_or(usize::MAX)
}

type FileText = (String, Option<PathBuf>, String);

/// The texts in the order in which they override each other; what cannot be read is said.
fn gather(file: Option<&Path>, loaded: &mut Loaded) -> Vec<FileText> {
    let Some(file) = file else { return vec![(DEFAULT_NAME.to_owned(), None, DEFAULT_TOML.to_owned())] };
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    let mut paths = vec![file.to_owned()];
    let mut parts: Vec<PathBuf> =
        std::fs::read_dir(folder.join("conf.d")).into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    parts.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    parts.sort();
    paths.extend(parts);

    let mut files = Vec::new();
    for path in paths {
        let folder = Some(path.parent().map(Path::to_owned).unwrap_or_default());
        // Paths in conf.d are taken from the main file's folder: a part may be moved in and out of it.
        let folder = if path == file { folder } else { Some(file.parent().map(Path::to_owned).unwrap_or_default()) };
        match std::fs::read(&path).map(String::from_utf8) {
            Ok(Ok(text)) => files.push((path.display().to_string(), folder, text)),
            Ok(Err(_)) => loaded.diagnostics.push(whole_file(&path, "is not UTF-8", "save it as UTF-8")),
            Err(error) => {
                if path == file && error.kind() == std::io::ErrorKind::NotFound {
                    loaded.exit = crate::config::EXIT_NO_INPUT;
                }
                let remedy = "name another file with --config, or begin with `chis-broker config default > chis-broker.toml`";
                loaded.diagnostics.push(whole_file(&path, &format!("cannot be read: {error}"), remedy));
            }
        }
    }
    files
}

fn whole_file(path: &Path, what: &str, help: &str) -> Diagnostic {
    let told = Told { code: "C009", span: 0..0, message: format!("the file {what}"), label: "", help: Some(help.to_owned()) };
    told.diagnostic(&path.display().to_string(), "")
}

/// Everything but the lists.
fn scalars(layers: &[Layer<'_>], environment: &[(String, String)], arguments: &Arguments) -> (Settings, Vec<Diagnostic>) {
    let mut tables = vec![default_scalars(layers.iter().all(|layer| layer.folder.is_none()))];
    tables.extend(layers.iter().filter(|layer| layer.folder.is_some()).map(scalar_table));

    let mut good: Vec<(String, String)> = Vec::new();
    let mut diagnostics = Vec::new();
    for variable in environment {
        let mut tried = good.clone();
        tried.push(variable.clone());
        match merge(&tables, &tried, arguments) {
            Ok(_) => good = tried,
            Err(error) => diagnostics.push(variable_diagnostic(&variable.0, &error)),
        }
    }
    match merge(&tables, &good, arguments) {
        Ok(settings) => (settings, diagnostics),
        Err(error) => {
            let told = Told { code: "C003", span: 0..0, message: error.to_string(), label: "", help: None };
            diagnostics.push(told.diagnostic("arguments", ""));
            (Settings::default(), diagnostics)
        }
    }
}

fn merge(tables: &[toml::Table], environment: &[(String, String)], arguments: &Arguments) -> Result<Settings, config::ConfigError> {
    let mut builder = Config::builder();
    for table in tables {
        builder = builder.add_source(config::File::from_str(&table.to_string(), FileFormat::Toml));
    }
    let variables = environment.iter().cloned().collect();
    let source = Environment::with_prefix("CHIS").prefix_separator("__").separator("__").try_parsing(true).source(Some(variables));
    builder = builder.add_source(source);
    builder = builder.set_override_option("store.data", arguments.data.as_ref().map(|data| data.display().to_string()))?;
    builder = builder.set_override_option("admin.listen", arguments.admin.map(|address| address.to_string()))?;
    builder = builder.set_override_option("log.format", arguments.log_format.map(|format| format.as_str()))?;
    builder.build()?.try_deserialize()
}

fn variable_diagnostic(name: &str, error: &config::ConfigError) -> Diagnostic {
    let key = name.trim_start_matches("CHIS__").to_lowercase().replace("__", ".");
    let is_list = LISTS.iter().any(|list| key == *list || key.starts_with(&format!("{list}.")));
    let help = if is_list { "lists are set in files only" } else { "correct it or unset it; config/default.toml has every setting" };
    // The value is not said: somebody may have put a secret there.
    let text = error.to_string();
    let what = if text.contains("unknown field") { "names no setting" } else { "has a value that this setting cannot take" };
    let told = Told { code: "C020", span: 0..0, message: format!("the variable {name} {what}"), label: "", help: Some(help.to_owned()) };
    told.diagnostic(ENVIRONMENT_NAME, "")
}

/// The defaults without what holds only while there is no file.
fn default_scalars(is_alone: bool) -> toml::Table {
    let mut table: toml::Table = toml::from_str(DEFAULT_TOML).unwrap_or_default();
    drop_lists(&mut table);
    if !is_alone {
        table.remove("allow_test_numbers");
    }
    table
}

fn drop_lists(table: &mut toml::Table) {
    ["source", "destination", "hub_door"].iter().for_each(|list| drop(table.remove(*list)));
    if let Some(toml::Value::Table(intake)) = table.get_mut("intake") {
        intake.remove("mllp");
        intake.remove("http");
        intake.remove("drop");
    }
}

/// The scalars of a file, its relative paths made to begin at its folder.
fn scalar_table(layer: &Layer<'_>) -> toml::Table {
    let mut table = toml::Table::deserialize(toml::de::Deserializer::from(layer.pass.tree.clone())).unwrap_or_default();
    drop_lists(&mut table);
    let folder = layer.folder.clone().unwrap_or_default();
    let paths = [("store", "data"), ("mappings", "dir"), ("births", "folder"), ("failsafe", "reports"), ("test", "clock")];
    for (section, key) in paths {
        if let Some(toml::Value::String(path)) = table.get_mut(section).and_then(|section| section.get_mut(key)) {
            *path = folder.join(&*path).display().to_string();
        }
    }
    table
}

/// Adds up the lists of all layers and remembers where each item stands.
fn lists<'l, 't>(layers: &'l [Layer<'t>], texts: &'l BTreeMap<String, String>, settings: &mut Settings) -> Origins<'l, 't> {
    let mut origins = Origins { layers, texts, lists: BTreeMap::new() };
    for (number, layer) in layers.iter().enumerate() {
        let mut said = layer.pass.settings.clone();
        if let Some(folder) = &layer.folder {
            rebase(&mut said, folder);
        }
        let intake = &said.intake;
        let counts =
            [intake.mllp.len(), intake.http.len(), intake.drop.len(), said.sources.len(), said.destinations.len(), said.hub_doors.len()];
        for (list, count) in LISTS.into_iter().zip(counts) {
            origins.lists.entry(list).or_default().extend((0..count).map(|index| (number, index)));
        }
        settings.intake.mllp.append(&mut said.intake.mllp);
        settings.intake.http.append(&mut said.intake.http);
        settings.intake.drop.append(&mut said.intake.drop);
        settings.sources.append(&mut said.sources);
        settings.destinations.append(&mut said.destinations);
        settings.hub_doors.append(&mut said.hub_doors);
    }
    origins
}

fn rebase(settings: &mut Settings, folder: &Path) {
    let join = |path: &mut PathBuf| *path = folder.join(&*path);
    let tls = |tls: &mut TlsConfig| {
        join(&mut tls.certificate_file);
        join(&mut tls.key_file);
        tls.client_ca_file.iter_mut().for_each(join);
        tls.crl_files.iter_mut().for_each(join);
    };
    settings.intake.mllp.iter_mut().filter_map(|listener| listener.tls.as_mut()).for_each(tls);
    settings.intake.http.iter_mut().filter_map(|listener| listener.tls.as_mut()).for_each(tls);
    settings.hub_doors.iter_mut().filter_map(|door| door.tls.as_mut()).for_each(tls);
    settings.hub_doors.iter_mut().flat_map(|door| &mut door.readers).filter_map(|reader| reader.token_key_file.as_mut()).for_each(join);
    settings.intake.drop.iter_mut().for_each(|drop| join(&mut drop.folder));
    for destination in &mut settings.destinations {
        match &mut destination.kind {
            Kind::Fhir { ca_file, certificate_file, key_file, oauth2, .. } => {
                let token_key = oauth2.iter_mut().map(|oauth2| &mut oauth2.key_file);
                [ca_file, certificate_file, key_file].into_iter().flatten().chain(token_key).for_each(join);
            }
            Kind::Store { password_file, ca_file, .. } => [password_file, ca_file].into_iter().flatten().for_each(join),
            Kind::Mllp(MllpReceiver { ca_file, certificate_file, key_file, templates, .. }) => {
                [ca_file, certificate_file, key_file, templates].into_iter().flatten().for_each(join);
            }
            Kind::CareplusCsv(CareplusConfig { folder, vaccines, sites, .. }) => {
                [vaccines, sites].into_iter().flatten().chain([folder]).for_each(join);
            }
        }
    }
}

fn apply_listeners(settings: &mut Settings, arguments: &Arguments) {
    if let Some((listener, address)) = settings.intake.mllp.first_mut().zip(arguments.mllp) {
        listener.listen = address;
    }
    if let Some((listener, address)) = settings.intake.http.first_mut().zip(arguments.http) {
        listener.listen = address;
    }
}

/// Limits that the defaults of [`MllpConfig`] and the rules share.
pub const FRAME_BYTES_CEILING: usize = 64 * 1024 * 1024;

impl Origins<'_, '_> {
    /// A diagnostic at `path` of the merged settings (`source[3].name`). `None` where all was said about it already.
    pub fn at(&self, path: &str, of_key: bool, told: Told) -> Option<Diagnostic> {
        let Some((layer, own)) = self.origin(&places::parse(path)) else { return Some(told.diagnostic(DEFAULT_NAME, "")) };
        let dotted = places::dotted(&own);
        if layer.pass.mended.iter().any(|mended| *mended == dotted || dotted.starts_with(&format!("{mended}."))) {
            return None;
        }
        let span = places::span_at(&layer.pass.tree, &own, of_key);
        let text = self.texts.get(&layer.name).map(String::as_str).unwrap_or_default();
        Some(Told { span, ..told }.diagnostic(&layer.name, text))
    }

    fn origin(&self, path: &[Step]) -> Option<(&Layer<'_>, Vec<Step>)> {
        for (list, items) in &self.lists {
            let lead = places::parse(list);
            let Some(rest) = path.strip_prefix(lead.as_slice()) else { continue };
            let Some((Step::Index(index), rest)) = rest.split_first() else { continue };
            let (layer, own) = items.get(*index)?;
            let own = lead.into_iter().chain([Step::Index(*own)]).chain(rest.iter().cloned()).collect();
            return Some((self.layers.get(*layer)?, own));
        }
        let layer = self.layers.iter().rev().find(|layer| places::has(&layer.pass.tree, path)).or(self.layers.first())?;
        Some((layer, path.to_vec()))
    }

    /// The place of `path` of the merged settings.
    pub fn place(&self, path: &str) -> Option<Place> {
        let (layer, own) = self.origin(&places::parse(path))?;
        let span = places::span_at(&layer.pass.tree, &own, false);
        let (line, column) = places::line_column(self.texts.get(&layer.name)?, span.start);
        Some(Place { file: layer.name.clone(), span, line, column })
    }

    /// The merged place as a person finds it: `chis-broker.toml:12`.
    pub fn name_of(&self, path: &str) -> String {
        let Some((layer, own)) = self.origin(&places::parse(path)) else { return String::new() };
        let text = self.texts.get(&layer.name).map(String::as_str).unwrap_or_default();
        let (line, _) = places::line_column(text, places::span_at(&layer.pass.tree, &own, false).start);
        format!("{}:{line}", layer.name)
    }
}

/// Every MLLP listener's own bound, for the rules.
pub fn frame_bytes_max(listeners: &[MllpConfig]) -> usize {
    listeners.iter().map(|listener| listener.frame_bytes_max).max().unwrap_or(FRAME_BYTES_CEILING)
}

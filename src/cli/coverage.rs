//! `map coverage`: a folder of messages through a whole broker, what became of each, and of every field that was filled.
//!
//! Each folder in the folder is a source: it has an address of its own on loopback and sends over real HTTP, so that the
//! messages take the way that they would take in service.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::arguments::{CoverageFormat, MapCoverage};
use super::demo::Folder;
use super::output::{Out, counted};
use super::{Failure, Outcome, exit, files, lint, map};
use crate::config::Settings;
use crate::conformance::standard::{name_of, plain_place};
use crate::mapping::{Bundle, Coverage, Input};
use crate::names::{Format, Seq};
use crate::store::{EntryFilter, LedgerReader};
use crate::{broker, clock, observe};

/// Filing that takes longer than this for all messages is a fault of ours.
const PATIENCE: Duration = Duration::from_secs(300);
/// Entries read from the ledger in one go.
const PAGE: usize = 500;

/// What became of the messages of one source and type.
#[derive(Clone, Debug, Default, Serialize)]
struct Became {
    received: usize,
    filed: usize,
    held: usize,
    ignored: usize,
    refused: usize,
    duplicate: usize,
    /// Reasons of those that are held or refused.
    reasons: BTreeMap<String, usize>,
    /// Filled fields: used, looked at and left by a rule, read by no rule.
    used: usize,
    looked_at: usize,
    unmapped: usize,
}

/// In how many messages a field was filled, by what became of it.
#[derive(Clone, Debug, Default, Serialize)]
struct OfField {
    used: usize,
    ignored: usize,
    unmapped: usize,
}

/// All that is told.
#[derive(Debug, Default, Serialize)]
struct Told {
    messages: usize,
    unaccounted: i64,
    /// Source, then type.
    sources: BTreeMap<String, BTreeMap<String, Became>>,
    /// Type, then place.
    fields: BTreeMap<String, BTreeMap<String, OfField>>,
}

/// Runs the command.
pub fn coverage(map: &MapCoverage, out: &mut Out) -> Outcome {
    let _already_started = observe::start_logging(Some(observe::LogFormat::Text), "error");
    let (mapping_files, prefix) = map::load(map.dir.as_deref())?;
    let bundle = map::compile(&mapping_files, &prefix)?;
    let sources = sources(&map.folder)?;
    let folder = Folder::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::SYSTEM, format!("no threads: {error}")))?;
    runtime.block_on(send_all(map, &sources, &folder.path))?;
    let told = look(&folder.path, &bundle)?;
    match map.format {
        CoverageFormat::Json => out.json(&serde_json::to_value(&told).map_err(|error| Failure::new(exit::BUG, error.to_string()))?)?,
        CoverageFormat::Markdown => markdown(&told, out)?,
        CoverageFormat::Table => table(&told, out)?,
    }
    Ok(if told.unaccounted == 0 { exit::OK } else { exit::FOUND })
}

/// Files by source: the folder they lie in, below the one that was named.
fn sources(folder: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, Failure> {
    let mut sources: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in lint::messages_below(folder)? {
        let is_message =
            file.extension().is_some_and(|end| ["hl7", "txt", "xml", "json"].iter().any(|known| end.eq_ignore_ascii_case(known)));
        if !is_message {
            continue;
        }
        let below = file.parent().and_then(|parent| parent.strip_prefix(folder).ok()).unwrap_or(Path::new(""));
        let name = below.to_string_lossy().to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        sources.entry(if name.is_empty() { "messages".to_owned() } else { name }).or_default().push(file);
    }
    if sources.is_empty() {
        return Err(Failure::new(exit::MISSING, format!("{} holds no file that ends in .hl7, .txt, .xml or .json", folder.display())));
    }
    Ok(sources)
}

/// The loopback address of the source with this number.
fn address(number: usize) -> Result<IpAddr, Failure> {
    let part = |of: usize| u8::try_from(of).map_err(|_| Failure::new(exit::USAGE, "more than 60,000 folders cannot each be a source"));
    Ok(IpAddr::V4(Ipv4Addr::new(127, 1, part(number / 250)?, part(number % 250 + 1)?)))
}

async fn send_all(map: &MapCoverage, sources: &BTreeMap<String, Vec<PathBuf>>, data: &Path) -> Result<(), Failure> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings =
        Settings::embedded(data, Some(any), Some(any), Some(any)).map_err(|unusable| Failure::new(exit::BUG, unusable.to_string()))?;
    settings.mappings.dir = map.dir.clone();
    settings.failsafe.watch = false;
    let pattern = settings.sources.first().cloned().ok_or_else(|| Failure::new(exit::BUG, "the trial set-up has no source"))?;
    settings.sources.clear();
    for (number, name) in sources.keys().enumerate() {
        let mut source = pattern.clone();
        source.name.clone_from(name);
        // What a source takes that says nothing of it: the families of the child health service.
        source.accepts.clear();
        source.peers = vec![address(number)?];
        settings.sources.push(source);
    }
    let started = broker::Running::start(settings, Vec::new()).await;
    let running = started.map_err(|error| Failure::new(error.exit, error.text))?;
    let http = running.addresses.http.first().copied().ok_or_else(|| Failure::new(exit::BUG, "a door did not open"))?;
    let sent = async {
        for (number, paths) in sources.values().enumerate() {
            let client = client(address(number)?)?;
            for path in paths {
                post(&client, http, path).await?;
            }
        }
        settled(data).await
    };
    let sent = sent.await;
    let _exit_of_a_trial = running.stop().await;
    sent
}

fn client(from: IpAddr) -> Result<reqwest::Client, Failure> {
    let built = reqwest::Client::builder().no_proxy().local_address(from).timeout(Duration::from_secs(60)).build();
    built.map_err(|error| Failure::new(exit::SYSTEM, format!("no HTTP client can be made: {error}")))
}

/// Sends a file as it is; what the door says of it is in the ledger too.
async fn post(client: &reqwest::Client, http: SocketAddr, path: &Path) -> Result<(), Failure> {
    let body = std::fs::read(path).map_err(|error| Failure::new(exit::MISSING, format!("{} cannot be read: {error}", path.display())))?;
    let Some(message) = files::split(&body).into_iter().next() else { return Ok(()) };
    let (door, media_type) = files::door(&message);
    let request = client.post(format!("http://{http}{door}")).header("content-type", media_type).body(body);
    let unreachable =
        |error: reqwest::Error| Failure::new(exit::UNREACHABLE, format!("the broker cannot be reached: {}", error.without_url()));
    request.send().await.map_err(unreachable)?;
    Ok(())
}

/// Waits until every entry has its standing.
async fn settled(data: &Path) -> Result<(), Failure> {
    let begun = clock::tick();
    loop {
        let reader = LedgerReader::open(data)?;
        let account = reader.reconcile(None, None)?;
        if account.lines.iter().all(|line| line.waiting == 0) {
            return Ok(());
        }
        if PATIENCE < clock::tick().duration_since(begun) {
            return Err(Failure::new(exit::BUG, "filing did not come to an end"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn look(data: &Path, bundle: &Bundle) -> Result<Told, Failure> {
    let reader = LedgerReader::open(data)?;
    let account = reader.reconcile(None, None)?;
    let mut told = Told { unaccounted: account.unaccounted, ..Told::default() };
    let mut before = None;
    loop {
        let page = reader.entries(&EntryFilter { limit: Some(PAGE), before, ..EntryFilter::default() })?;
        let Some(last) = page.last() else { return Ok(told) };
        before = Some(last.seq);
        for row in &page {
            let Some((_, body)) = reader.entry(Seq(row.seq))? else { continue };
            let kind = if row.kind.is_empty() { "(none)".to_owned() } else { row.kind.clone() };
            let fields = match Format::from_word(&row.format) {
                Some(format) if row.standing != "refused" => {
                    let input = Input { format, body: &body, default_charset: None, allow_test_numbers: true, received: None };
                    bundle.coverage_from(Some(&row.source), &input)
                }
                _ => Vec::new(),
            };
            told.take(row, kind, &fields);
        }
    }
}

impl Told {
    fn take(&mut self, row: &crate::store::EntryRow, kind: String, fields: &[(String, Coverage)]) {
        self.messages += 1;
        let became = self.sources.entry(row.source.clone()).or_default().entry(kind.clone()).or_default();
        became.received += 1;
        match row.standing.as_str() {
            "filed" => became.filed += 1,
            "held" => became.held += 1,
            "ignored" => became.ignored += 1,
            "duplicate" => became.duplicate += 1,
            _ => became.refused += 1,
        }
        if matches!(row.standing.as_str(), "held" | "refused") {
            *became.reasons.entry(row.reason.clone()).or_default() += 1;
        }
        let of_type = self.fields.entry(kind).or_default();
        let mut places: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
        for (place, coverage) in fields {
            let word = match coverage {
                Coverage::Used => "used",
                Coverage::Ignored => "ignored",
                Coverage::Unmapped => "unmapped",
            };
            match coverage {
                Coverage::Used => became.used += 1,
                Coverage::Ignored => became.looked_at += 1,
                Coverage::Unmapped => became.unmapped += 1,
            }
            places.entry(plain_place(place)).or_default().insert(word);
        }
        for (place, words) in places {
            let field = of_type.entry(place).or_default();
            // A field of which one repetition is used is used.
            match (words.contains("used"), words.contains("ignored")) {
                (true, _) => field.used += 1,
                (false, true) => field.ignored += 1,
                (false, false) => field.unmapped += 1,
            }
        }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.sources.iter().flat_map(|(source, kinds)| kinds.iter().map(move |(kind, became)| (source, kind, became)));
        rows.map(|(source, kind, became)| {
            let numbers = [
                became.received,
                became.filed,
                became.held,
                became.ignored,
                became.refused,
                became.duplicate,
                became.used,
                became.looked_at,
                became.unmapped,
            ];
            let reasons = became.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ");
            let numbers = numbers.iter().map(ToString::to_string);
            [source.clone(), kind.clone()].into_iter().chain(numbers).chain([reasons]).collect()
        })
        .collect()
    }

    fn sums(&self) -> Became {
        let mut sums = Became::default();
        for became in self.sources.values().flat_map(BTreeMap::values) {
            sums.received += became.received;
            sums.filed += became.filed;
            sums.held += became.held;
            sums.ignored += became.ignored;
            sums.refused += became.refused;
            sums.duplicate += became.duplicate;
            sums.used += became.used;
            sums.looked_at += became.looked_at;
            sums.unmapped += became.unmapped;
        }
        sums
    }
}

const HEADS: [&str; 12] = [
    "source",
    "type",
    "received",
    "filed",
    "held",
    "ignored",
    "refused",
    "repeated",
    "fields used",
    "left by rule",
    "unmapped",
    "why held or refused",
];

fn table(told: &Told, out: &mut Out) -> std::io::Result<()> {
    out.table(&HEADS, &told.rows())?;
    let sums = told.sums();
    writeln!(
        out,
        "\n{}: {} filed, {} held, {} ignored, {} refused, {} repeated; unaccounted {}",
        counted(told.messages, "message"),
        sums.filed,
        sums.held,
        sums.ignored,
        sums.refused,
        sums.duplicate,
        told.unaccounted
    )?;
    writeln!(out, "filled fields: {} used, {} left by a rule, {} unmapped", sums.used, sums.looked_at, sums.unmapped)
}

fn markdown(told: &Told, out: &mut Out) -> std::io::Result<()> {
    let sums = told.sums();
    writeln!(out, "# What became of public messages\n")?;
    writeln!(
        out,
        "Made by `chis-broker map coverage FOLDER --format markdown`: {} of public test suites, sent over HTTP to a whole broker with the\n\
         shipped mappings; each folder is a source. Most of them are of other countries and other services: what a child health\n\
         service does not know has to be held or refused, with a reason, and never guessed.\n",
        counted(told.messages, "message")
    )?;
    writeln!(out, "| received | filed | held | ignored | refused | repeated | unaccounted |\n|---:|---:|---:|---:|---:|---:|---:|")?;
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        sums.received, sums.filed, sums.held, sums.ignored, sums.refused, sums.duplicate, told.unaccounted
    )?;
    writeln!(
        out,
        "Filled fields (HL7 v2) and elements with a value (FHIR) of messages that a mapping reads: {} used, {} looked at and left by a rule,\n\
         {} read by no rule.\n",
        sums.used, sums.looked_at, sums.unmapped
    )?;
    writeln!(out, "## By source and type\n\n| {} |", HEADS.join(" | "))?;
    writeln!(out, "|---|---|{}---|", "---:|".repeat(HEADS.len() - 3))?;
    for row in told.rows() {
        writeln!(out, "| {} |", row.join(" | "))?;
    }
    writeln!(
        out,
        "\n## By field\n\nIn how many messages of a type a field was filled, by what became of it; of several repetitions one that is used counts."
    )?;
    for (kind, fields) in told.fields.iter().filter(|(_, fields)| !fields.is_empty()) {
        writeln!(out, "\n### {kind}\n")?;
        let mut places: Vec<(&String, &OfField)> = fields.iter().collect();
        places.sort_by_key(|(place, _)| by_number(place));
        let list = |count: fn(&OfField) -> usize, named: bool| {
            let some = places.iter().filter(|(_, field)| count(field) > 0).map(|(place, field)| {
                let name = if named { name_of(place) } else { String::new() };
                let gap = if name.is_empty() { "" } else { " " };
                format!("{place}{gap}{name} {}", count(field))
            });
            some.collect::<Vec<_>>().join(", ")
        };
        for (words, texts) in [
            ("used", list(|field| field.used, false)),
            ("left by rule", list(|field| field.ignored, false)),
            ("unmapped", list(|field| field.unmapped, true)),
        ] {
            if !texts.is_empty() {
                writeln!(out, "- *{words}*: {texts}")?;
            }
        }
    }
    Ok(())
}

/// `PID-3` before `PID-11`; elements of FHIR by their names.
fn by_number(place: &str) -> (String, usize) {
    let of_segment = place.split_once('-').filter(|(segment, _)| segment.len() == 3 && segment.bytes().all(|b| b.is_ascii_alphanumeric()));
    let (segment, rest) = of_segment.unwrap_or((place, ""));
    (segment.to_owned(), rest.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(messages: &[(&str, &str)]) -> Told {
        let folder = tempfile::tempdir().unwrap();
        for (name, body) in messages {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, body).unwrap();
        }
        let _another_test_was_first = rustls::crypto::ring::default_provider().install_default();
        let map = MapCoverage { folder: folder.path().to_owned(), dir: None, format: CoverageFormat::Json };
        let data = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(send_all(&map, &sources(folder.path()).unwrap(), data.path())).unwrap();
        look(data.path(), &Bundle::compile(&Bundle::shipped(), "mappings/").unwrap()).unwrap()
    }

    #[test]
    fn each_folder_is_a_source_and_each_field_is_counted_once_a_message() {
        let a28 = |control: &str, sex: &str| {
            format!(
                "MSH|^~\\&|PAS|RJ1|X|Y|20260105101500||ADT^A28^ADT_A05|{control}|P|2.4\rEVN||20260105\r\
                 PID|||{control}^^^RJ122^MR~Z{control}^^^RJ122^PI||EXAMPLE^A^^^^^L||20260105|{sex}|||||||||||||||||||||||||||||||X\r"
            )
        };
        let told = played(&[
            ("pas/1.hl7", &a28("1", "2")),
            ("pas/2.hl7", &a28("2", "Q")),
            ("other/3.hl7", "MSH|^~\\&|A|B|C|D|20260105||QRY^A19|3|P|2.4\r"),
        ]);
        assert_eq!((told.messages, told.unaccounted), (3, 0));
        let pas = told.sources.get("pas").unwrap().get("ADT^A28").unwrap();
        assert_eq!((pas.received, pas.filed, pas.held), (2, 1, 1), "{told:#?}");
        assert_eq!(pas.reasons.get("unmapped-code"), Some(&1));
        assert_eq!(told.sources.get("other").unwrap().get("QRY^A19").unwrap().refused, 1);
        let fields = told.fields.get("ADT^A28").unwrap();
        assert_eq!(fields.get("PID-3").unwrap().used, 2);
        assert_eq!(fields.get("PID-39").unwrap().unmapped, 2);
    }

    #[test]
    fn fields_stand_in_the_order_of_the_standard() {
        let mut places = vec!["PID-11", "PID-3", "MSH-10", "PID-3.1"];
        places.sort_by_key(|place| by_number(place));
        assert_eq!(places, ["MSH-10", "PID-3", "PID-3.1", "PID-11"]);
    }
}

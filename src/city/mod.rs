//! A city that never was: a London of invented families, all that is told of them over the years in real wire formats, and beside it
//! the truth, so that a whole broker can be proved right or wrong.
//!
//!     seed ─ life ─ faults ─┬─ wire ─────────── messages.ndjson ── play ── a real broker
//!                           └─ registrar, scribe ── truth.ndjson ──────────── verify
//!
//! # What always holds
//!
//! - The same seed, number of births, days and faults give the same bytes.
//! - The truth is made of what is told and of the domain's rules, never of the broker's code and never of bytes.
//! - Nobody of the city exists: NHS numbers are of the range that is never issued, names and postcodes are invented.
//! - The verifier finds a broker wrong or says that it has nothing against it; it mends and excuses nothing. What is left out was
//!   named by whoever called it.

mod clocks;
mod dice;
mod faults;
mod life;
mod london;
mod message;
pub mod observed;
pub mod play;
mod registrar;
mod scribe;
pub mod truth;
pub mod verify;
mod wire_fhir;
mod wire_v2;

use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

pub use faults::Faults;
pub use registrar::{BIRTH_TRIPLE, DEMOGRAPHIC, FAILSAFE, RETRY, SEAL, TRANSFERS};

/// What a broker may lack and a verifier may leave out.
pub const FEATURES: [&str; 6] = [BIRTH_TRIPLE, DEMOGRAPHIC, RETRY, SEAL, TRANSFERS, FAILSAFE];

use self::london::Sender;
use self::message::{DAY, Planned};
use self::truth::{Line, Summary};
use crate::mapping::Bundle;

/// The city cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}")]
pub struct CityError {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

impl CityError {
    fn new(file: &Path, what: impl std::fmt::Display) -> Self {
        Self { file: file.display().to_string(), what: what.to_string() }
    }
}

/// What is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Another seed, another city.
    pub seed: u64,
    /// Children, those moved in too.
    pub births: usize,
    /// Days that the city lives, from 5 January 2026.
    pub days: i64,
    /// How much goes wrong.
    pub faults: Faults,
}

/// Makes the city and writes it into `folder`: `city.toml`, `mappings/`, `clock`, `messages.ndjson`, `truth.ndjson`, `acts.ndjson`, `city.json`.
///
/// # Errors
///
/// A file that cannot be written.
pub fn write(plan: Plan, folder: &Path) -> Result<Summary, CityError> {
    let end = life::BEGIN + plan.days * DAY;
    let mut city = life::live(plan.seed, plan.births, plan.days);
    faults::spoil(plan.seed, plan.faults, end, &mut city);
    let registrar = registrar::register(&city, end);
    let truth = scribe::write(&city, &registrar, end);
    let stories = life::stories(&city).into_iter().map(|(story, count)| (story.to_owned(), count)).collect();
    let summary = Summary {
        seed: plan.seed,
        births: city.children.len(),
        days: plan.days,
        faults: plan.faults,
        messages: city.messages.len(),
        sealed: city.acts.len(),
        begins: scribe::moment(life::BEGIN),
        ends: scribe::moment(end),
        stories,
    };
    make_folder(folder)?;
    write_mappings(&folder.join("mappings"))?;
    write_text(&folder.join("city.toml"), &london::configuration())?;
    write_text(&folder.join("clock"), &format!("{}\n", summary.begins))?;
    write_lines(&folder.join("messages.ndjson"), lines(&city.messages))?;
    write_lines(&folder.join("truth.ndjson"), truth.iter())?;
    write_lines(&folder.join("acts.ndjson"), scribe::acts(&city).iter())?;
    let text = serde_json::to_string_pretty(&summary).unwrap_or_default();
    write_text(&folder.join("city.json"), &format!("{text}\n"))?;
    Ok(summary)
}

/// Reads `truth.ndjson` of a city.
///
/// # Errors
///
/// A file that is not there or is no truth.
pub fn truth_of(folder: &Path) -> Result<Vec<truth::TruthChild>, CityError> {
    read_lines(&folder.join("truth.ndjson"))?.collect()
}

/// Reads `city.json` of a city.
///
/// # Errors
///
/// A file that is not there or is no plan.
pub fn summary_of(folder: &Path) -> Result<Summary, CityError> {
    let file = folder.join("city.json");
    let text = std::fs::read_to_string(&file).map_err(|error| CityError::new(&file, error))?;
    serde_json::from_str(&text).map_err(|error| CityError::new(&file, error))
}

/// The London dates that a city lived.
pub fn days_of(summary: &Summary) -> std::collections::BTreeSet<String> {
    let zone = message::zone();
    let day = |day: i64| message::day_of(life::BEGIN + day * DAY, &zone).to_string();
    (0..summary.days).map(day).collect()
}

fn lines(messages: &[Planned]) -> impl Iterator<Item = Line> {
    let addresses: std::collections::HashMap<Sender, String> =
        london::sources().into_iter().map(|source| (source.sender, source.address)).collect();
    let zone = message::zone();
    messages.iter().map(move |message| {
        let (text, protocol, path, media) = match message.sender {
            Sender::Spine => match wire_fhir::write(message, &zone) {
                (text, true) => (text, "http", "/fhir/stu3/$process-message", "application/fhir+xml"),
                (text, false) => (text, "http", "/fhir/stu3/$process-message", "application/fhir+json"),
            },
            _ => (wire_v2::write(message, &zone), "mllp", "", ""),
        };
        Line {
            at: scribe::moment(message.at),
            source: message.sender.name(),
            from: addresses.get(&message.sender).cloned().unwrap_or_default(),
            protocol: protocol.to_owned(),
            path: path.to_owned(),
            media: media.to_owned(),
            control: message.control.clone(),
            text,
        }
    })
}

/// MSH-10 or MessageHeader.id: one of its own for each message of a city.
fn control_id(seed: u64, sender: Sender, number: usize) -> String {
    match sender {
        Sender::Spine => uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, format!("city {seed} {number}").as_bytes()).to_string(),
        _ => format!("C{number:09}"),
    }
}

/// The shipped mappings, with the hubs and directories of the city.
fn write_mappings(folder: &Path) -> Result<(), CityError> {
    let mut files = Bundle::shipped();
    files.retain(|name, _| !name.starts_with("directories/"));
    files.insert("hubs.toml".into(), london::hubs_toml().into_bytes());
    files.insert("directories/postcodes.csv".into(), london::postcodes_csv().into_bytes());
    files.insert("directories/practices.csv".into(), london::practices_csv().into_bytes());
    for (name, bytes) in files {
        let file = folder.join(name);
        if let Some(parent) = file.parent() {
            make_folder(parent)?;
        }
        std::fs::write(&file, bytes).map_err(|error| CityError::new(&file, error))?;
    }
    Ok(())
}

fn make_folder(folder: &Path) -> Result<(), CityError> {
    std::fs::create_dir_all(folder).map_err(|error| CityError::new(folder, error))
}

fn write_text(file: &Path, text: &str) -> Result<(), CityError> {
    std::fs::write(file, text).map_err(|error| CityError::new(file, error))
}

fn write_lines<T: Serialize>(file: &Path, lines: impl Iterator<Item = T>) -> Result<(), CityError> {
    let failed = |error: std::io::Error| CityError::new(file, error);
    let mut out = BufWriter::new(std::fs::File::create(file).map_err(failed)?);
    for line in lines {
        serde_json::to_writer(&mut out, &line).map_err(|error| CityError::new(file, error))?;
        out.write_all(b"\n").map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// Reads a file of one JSON value a line.
fn read_lines<T: serde::de::DeserializeOwned>(file: &Path) -> Result<impl Iterator<Item = Result<T, CityError>> + use<T>, CityError> {
    use std::io::BufRead;
    let path = file.to_owned();
    let reader = std::io::BufReader::new(std::fs::File::open(file).map_err(|error| CityError::new(file, error))?);
    Ok(reader.lines().enumerate().map(move |(number, line)| {
        let line = line.map_err(|error| CityError::new(&path, error))?;
        serde_json::from_str(&line).map_err(|error| CityError::new(&path, format!("line {}: {error}", number + 1)))
    }))
}

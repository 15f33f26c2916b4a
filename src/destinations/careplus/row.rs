//! What a vaccination is in the file, or why it cannot be said right.
//!
//! # Invariants
//!
//! - A reason is a text of ours: it says what is missing and what to do, and quotes nothing of the child.
//! - Address Line 1 of a restricted child is blank.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::tz::TimeZone;
use rust_embed::RustEmbed;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::CareplusConfig;
use crate::canon::{Action, Child, Immunisation, ImmunisationStatus, Precision, Sex};
use crate::outbox::FiledEvent;

/// Code tables as they were when the program was built.
#[derive(RustEmbed)]
#[folder = "mappings/careplus/"]
struct Shipped;

/// Vaccinations in one row.
pub(super) const VACCINES_MAX: usize = 5;

/// The columns, in order (destination rules, section 2).
pub const COLUMNS: [&str; 52] = [
    "NHS Number",
    "Surname",
    "Forename",
    "Date of Birth",
    "Address Line 1",
    "Person Giving Consent",
    "Ethnicity",
    "Date Attended",
    "Time Attended",
    "Venue Type",
    "Venue Code",
    "Staff Type",
    "Staff Code",
    "Attended",
    "Reason Not Attended",
    "Suspension End Date",
    "Vaccine 1",
    "Vaccine Code 1",
    "Dose 1",
    "Reason Not Given 1",
    "Site 1",
    "Manufacturer 1",
    "Batch No 1",
    "Vaccine 2",
    "Vaccine Code 2",
    "Dose 2",
    "Reason Not Given 2",
    "Site 2",
    "Manufacturer 2",
    "Batch No 2",
    "Vaccine 3",
    "Vaccine Code 3",
    "Dose 3",
    "Reason Not Given 3",
    "Site 3",
    "Manufacturer 3",
    "Batch No 3",
    "Vaccine 4",
    "Vaccine Code 4",
    "Dose 4",
    "Reason Not Given 4",
    "Site 4",
    "Manufacturer 4",
    "Batch No 4",
    "Vaccine 5",
    "Vaccine Code 5",
    "Dose 5",
    "Reason Not Given 5",
    "Site 5",
    "Manufacturer 5",
    "Batch No 5",
    "Gender",
];

/// One vaccination on its way into a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Stable id of the vaccination: of its publisher and key.
    pub(super) id: Uuid,
    /// False where it is taken back.
    pub(super) stands: bool,
    /// Columns before the vaccines.
    pub(super) head: Vec<String>,
    /// Seven columns of one vaccine.
    pub(super) vaccine: Vec<String>,
    /// The last column.
    pub(super) gender: String,
}

impl Entry {
    /// Vaccinations of one row share child, place and day.
    pub(super) fn row(&self) -> [&str; 3] {
        let at = |place: usize| self.head.get(place).map_or("", String::as_str);
        [at(0), at(7), at(10)]
    }
}

/// Codes of products and of body sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Codes {
    /// Product to code and the words of its doses; none: `1P`, `2P`, …
    vaccines: BTreeMap<String, (String, Vec<String>)>,
    sites: BTreeMap<String, String>,
}

impl Codes {
    pub(super) fn read(vaccines: Option<&Path>, sites: Option<&Path>) -> Result<Self, String> {
        let shipped = |name: &str| Shipped::get(name).map(|file| String::from_utf8_lossy(&file.data).into_owned()).unwrap_or_default();
        let text = |setting: &str, own: Option<&Path>, name: &str| match own {
            Some(own) => super::read(setting, own).map(|text| (text, own.display().to_string())),
            None => Ok((shipped(name), format!("mappings/careplus/{name}"))),
        };
        let (vaccines, vaccine_file) = text("vaccines", vaccines, "vaccine.csv")?;
        let (sites, site_file) = text("sites", sites, "site.csv")?;
        let doses = |words: String| words.split_whitespace().map(str::to_owned).collect();
        let vaccines = rows("vaccines", &vaccine_file, &vaccines, &["from", "to", "doses"])?;
        let sites = rows("sites", &site_file, &sites, &["from", "to"])?;
        let [known, ..] = SITES;
        for (line, cells) in &sites {
            if let [_, to, ..] = cells.as_slice()
                && !SITES.contains(&to.as_str())
            {
                return Err(format!("`sites`: {site_file}, line {line}: \"{to}\" is no site; write one like {known}, LA or RT"));
            }
        }
        let cell = |cells: &[String], place: usize| cells.get(place).cloned().unwrap_or_default();
        Ok(Self {
            vaccines: vaccines.into_iter().map(|(_, cells)| (cell(&cells, 0), (cell(&cells, 1), doses(cell(&cells, 2))))).collect(),
            sites: sites.into_iter().map(|(_, cells)| (cell(&cells, 0), cell(&cells, 1))).collect(),
        })
    }
}

/// The words of column Site.
const SITES: [&str; 25] = [
    "AB", "ALT", "L", "LA", "LALT", "LB", "LL", "LLIF", "LT", "MOU", "N", "NA", "NK", "O", "R", "RA", "RALT", "RB", "RL", "RLIF", "RT",
    "U", "UA", "ULA", "URA",
];

/// The rows of a table with their lines: the columns named, each code once.
fn rows(setting: &str, file: &str, text: &str, columns: &[&str]) -> Result<Vec<(usize, Vec<String>)>, String> {
    let wrong = |line: usize, what: &str| {
        format!("`{setting}`: {file}, line {line}: {what}; the header is {} and a note, and each code stands once", columns.join(","))
    };
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|_| wrong(1, "this is no CSV"))?.clone();
    let mut places = Vec::new();
    for column in columns {
        places
            .push(headers.iter().position(|header| header == *column).ok_or_else(|| wrong(1, &format!("there is no column `{column}`")))?);
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|_| wrong(rows.len() + 2, "this is no CSV"))?;
        let line = record.position().map_or(0, |position| usize::try_from(position.line()).unwrap_or(0));
        let cells: Vec<String> = places.iter().map(|place| record.get(*place).unwrap_or_default().to_owned()).collect();
        if !seen.insert(cells.first().cloned()) || cells.iter().take(2).any(String::is_empty) {
            return Err(wrong(line, "a code is missing or stands twice"));
        }
        rows.push((line, cells));
    }
    Ok(rows)
}

/// True where a vaccination was given or is taken back; what was not given has no row.
pub(super) fn says_anything(event: &FiledEvent) -> bool {
    event.statement.event.action != Action::New || event.statement.immunisations.iter().any(|one| one.status != ImmunisationStatus::NotDone)
}

/// The entries of an event, or why one of them cannot be said right.
pub(super) fn entries(event: &FiledEvent, config: &CareplusConfig, codes: &Codes) -> Result<Vec<Entry>, String> {
    let is_delete = event.statement.event.action == Action::Delete;
    let mut entries = Vec::new();
    for (place, given) in event.statement.immunisations.iter().enumerate() {
        let id = id(event, given.publisher.as_deref(), given.key.as_deref(), place);
        if is_delete || given.status != ImmunisationStatus::Completed {
            entries.push(Entry { id, stands: false, head: Vec::new(), vaccine: Vec::new(), gender: String::new() });
            continue;
        }
        let (head, gender) = head(event, given, config)?;
        entries.push(Entry { id, stands: true, head, vaccine: vaccine(given, codes)?, gender });
    }
    if entries.is_empty() && is_delete {
        entries.push(Entry { id: id(event, None, None, 0), stands: false, head: Vec::new(), vaccine: Vec::new(), gender: String::new() });
    }
    Ok(entries)
}

fn id(event: &FiledEvent, publisher: Option<&str>, key: Option<&str>, place: usize) -> Uuid {
    let header = &event.statement.event;
    let publisher = publisher.or(header.publisher.as_deref()).unwrap_or(event.source.as_str());
    let key = key.or(header.key.as_deref()).map_or_else(|| format!("@{}.{place}", event.event), str::to_owned);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("immunisation\u{1f}{publisher}\u{1f}{key}").as_bytes())
}

fn head(event: &FiledEvent, given: &Immunisation, config: &CareplusConfig) -> Result<(Vec<String>, String), String> {
    let child = &event.record;
    let refused = |what: &str| Err(format!("no row: {what}"));
    let Some((number, Some("01"))) = child.nhs_number() else {
        return refused("the child has no verified NHS number; release this when it has one");
    };
    let name = child.name_to_show();
    let (Some(surname), Some(forename)) = (name.and_then(|name| name.family.clone()), name.and_then(|name| name.given.first().cloned()))
    else {
        return refused("the child has no family name or no given name");
    };
    let Some(born) = child.birth.date.as_ref().and_then(crate::canon::Date::civil) else {
        return refused("the date of birth is not known to the day");
    };
    let Some(date) = given.occurrence.as_ref().and_then(crate::canon::Instant::date) else {
        return refused("the day of the vaccination is not known");
    };
    let venue = given.location_ods.as_deref().map(str::trim).filter(|venue| !venue.is_empty());
    let Some(venue) = venue else { return refused("the vaccination has no code of a site; enter it by hand") };
    let day = |date: jiff::civil::Date| date.strftime("%d/%m/%Y").to_string();
    let setting = |setting: &Option<String>, default: &str| setting.clone().unwrap_or_else(|| default.to_owned());
    let blank = String::new;
    let head = vec![
        number.to_string(),
        surname,
        forename,
        day(born),
        address_line(child),
        blank(),
        blank(),
        day(date),
        time(given),
        setting(&config.venue_type, "CL"),
        venue.to_owned(),
        setting(&config.staff_type, ""),
        setting(&config.staff_code, ""),
        "Y".to_owned(),
        blank(),
        blank(),
    ];
    Ok((head, gender(child.sex).to_owned()))
}

/// The first line of the home, where it may be said.
fn address_line(child: &Child) -> String {
    let is_open = matches!(child.flags.sensitivity.as_deref(), None | Some("unrestricted")) && !child.flags.is_restricted();
    child.home().filter(|_| is_open).and_then(|home| home.lines.first().cloned()).unwrap_or_default()
}

/// The hour in London, where one was said.
fn time(given: &Immunisation) -> String {
    let at = given.occurrence.as_ref().filter(|at| Precision::Minute <= at.precision);
    let at = at.and_then(|at| at.value.parse::<jiff::Timestamp>().ok());
    let local = at.and_then(|at| Some(at.to_zoned(TimeZone::get("Europe/London").ok()?)));
    local.map(|at| at.strftime("%H:%M").to_string()).unwrap_or_default()
}

fn gender(sex: Option<Sex>) -> &'static str {
    match sex {
        Some(Sex::Female) => "F",
        Some(Sex::Male) => "M",
        Some(Sex::NotSpecified) => "I",
        Some(Sex::NotKnown) | None => "U",
    }
}

fn vaccine(given: &Immunisation, codes: &Codes) -> Result<Vec<String>, String> {
    let refused = |what: &str| Err(format!("no row: {what}"));
    let product = given.vaccine.as_ref().map(|vaccine| vaccine.code.as_str()).unwrap_or_default();
    let Some((code, doses)) = codes.vaccines.get(product) else {
        return refused("the product has no vaccine code; add a line for it to the file that `vaccines` names, reload, and release this");
    };
    let dose = match given.dose_number {
        None => String::new(),
        Some(number) if doses.is_empty() && 0 < number => format!("{number}P"),
        Some(number) => match usize::try_from(number - 1).ok().and_then(|place| doses.get(place)) {
            Some(word) => word.clone(),
            None => return refused("the file has no word for a dose of this number"),
        },
    };
    let site = match given.site.as_ref().map(|site| site.code.as_str()) {
        None => String::new(),
        Some(site) => match codes.sites.get(site) {
            Some(site) => site.clone(),
            None => {
                return refused("the body site has no code; add a line for it to the file that `sites` names, reload, and release this");
            }
        },
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok(vec![product.to_owned(), code.clone(), dose, String::new(), site, text(&given.manufacturer), text(&given.batch)])
}

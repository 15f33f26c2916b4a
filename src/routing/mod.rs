//! Which hub is responsible for a child, on which ground, and which other hubs get a copy (routing rules).
//!
//! # The decision
//!
//! The first ground that says something wins; the numbers are those of routing rules, section 2:
//!
//!     1 a person decided            5 the mother's home, in the first 28 days
//!     2 the child's practice        6 the organisation that the birth notification names
//!     3 the mother's practice,      7 the place of birth
//!       in the first 28 days        8 nobody: UNKNOWN, and the default hub looks
//!     4 the child's home
//!
//! # What always holds
//!
//! - A [`Directory`] was read whole and cannot be wrong afterwards; it never changes, it is exchanged.
//! - Deciding looks nothing up outside, takes microseconds, and gives the same answer for the same record and day.
//! - A child whose address was hidden stays where it was: hiding never makes it UNKNOWN.
//!
//! # Not here
//!
//! No transfer between hubs, no work items, no history. Whose word on the address counts was settled in the record.

mod load;
mod places;
mod postcode;
mod report;
mod rows;
mod table;

use std::collections::HashMap;
use std::path::Path;

use jiff::civil;

use crate::canon::{Address, Child, GpRegistration, HubAssignment, HubBasis, Relation};
use crate::identity::age_days;
use crate::names::HubName;

pub use places::Places;
use postcode::Postcode;
pub use postcode::normal_postcode;
pub use report::{DirectoryReport, HubReport};
pub use rows::{FileReport, Skipped};
use table::Postcodes;

/// One mistake in `hubs.toml` or a directory file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct RoutingError {
    /// File.
    pub file: String,
    /// Line from 1.
    pub line: usize,
    /// Column from 1.
    pub column: usize,
    /// Bytes of the file.
    pub span: std::ops::Range<usize>,
    /// What is wrong and what would help.
    pub message: String,
}

/// Hubs, local authorities, sub-ICBs, practices and postcodes: all that routing looks up. Immutable; swapped whole.
#[derive(Debug, Default)]
pub struct Directory {
    hubs: Vec<Hub>,
    default: usize,
    policy: Policy,
    /// ODS codes of hubs.
    organisations: HashMap<String, usize>,
    authorities: HashMap<String, usize>,
    sub_icbs: HashMap<String, usize>,
    birth_sites: HashMap<String, usize>,
    practices: HashMap<String, Area>,
    practices_report: FileReport,
    postcodes: Postcodes,
    /// Outcodes that lie in one hub with every postcode.
    whole_outcodes: HashMap<u64, usize>,
}

#[derive(Debug)]
struct Hub {
    name: HubName,
    title: String,
    /// Wants stillbirths on its births lists.
    stillbirths: bool,
}

/// `policy` of `hubs.toml` (routing rules, section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Policy {
    /// The practice first; the hub of the home gets a copy where it is another.
    #[default]
    GpThenResidence,
    /// The practice is not asked.
    ResidenceOnly,
    /// Says outright what `gp_then_residence` does by default: both hubs have the record, the practice's is responsible.
    Both,
}

impl Policy {
    const ALL: [Self; 3] = [Self::GpThenResidence, Self::ResidenceOnly, Self::Both];

    fn word(self) -> &'static str {
        match self {
            Self::GpThenResidence => "gp_then_residence",
            Self::ResidenceOnly => "residence_only",
            Self::Both => "both",
        }
    }
}

/// Where a practice or a home lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    Hub(usize),
    /// Outside the area of all hubs.
    Out,
}

/// Opens a file that hubs.toml names, given its path as written. It is read from its start to its end, and never held whole.
pub type Open<'a> = &'a dyn Fn(&str) -> std::io::Result<Box<dyn std::io::Read>>;

/// Days from the birth. Mother's details, the place of birth of a child that lives elsewhere: only so long (routing rules, sections 2 and 3).
pub const NEWBORN_DAYS: i64 = 28;

/// So many rows of a directory file may be of no use before anybody is told.
const SKIPPED_MAX: usize = 10;

impl Directory {
    /// `hubs.toml` text, and the CSV directories it names, read by `open` (given the path as written).
    pub fn load(hubs_toml: &str, file: &str, open: Open<'_>) -> Result<Self, Vec<RoutingError>> {
        load::load(hubs_toml, file, open)
    }

    /// `hubs.toml` and directories of a mappings folder.
    pub fn load_dir(dir: &Path) -> Result<Self, Vec<RoutingError>> {
        let file = dir.join("hubs.toml");
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).map_err(|error| {
            let message = format!("cannot be read ({error})");
            vec![RoutingError { file: name.clone(), line: 1, column: 1, span: 0..0, message }]
        })?;
        Self::load(&text, &name, &|path| Ok(Box::new(std::fs::File::open(dir.join(path))?)))
    }

    /// The hubs by name with their titles.
    pub fn hubs(&self) -> Vec<(HubName, String)> {
        self.hubs.iter().map(|hub| (hub.name.clone(), hub.title.clone())).collect()
    }

    /// The hub that looks after what nobody is responsible for.
    pub fn default_hub(&self) -> HubName {
        self.name(self.default)
    }

    /// The hub that works on a child: the responsible one, or the default hub where nobody is. None for a child
    /// outside: hubs that still take an interest get copies and no task.
    pub fn acting_hub(&self, assignment: &HubAssignment) -> Option<HubName> {
        match assignment.hub.as_str() {
            HubName::UNKNOWN => Some(self.default_hub()),
            HubName::OUT => None,
            _ => Some(assignment.hub.clone()),
        }
    }

    /// What is missing for good routing: no postcode file, no practice file.
    pub fn degraded(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let in_no_hub = "lies in the area of a hub; are the codes of the same kind as in hubs.toml?";
        if self.postcodes.is_empty() {
            missing.push("no postcode directory: a home is found only where the message names its local authority".to_owned());
        } else if !self.postcodes.authorities().iter().any(|la| self.authorities.contains_key(la)) {
            missing.push(format!("no postcode of the postcode directory {in_no_hub}"));
        }
        for (what, report) in [("postcode", &self.postcodes.report), ("practice", &self.practices_report)] {
            // A few have no place (post boxes, forces, ZZ99); more is a file of another kind.
            if SKIPPED_MAX < report.skipped_rows() && report.rows < report.skipped_rows() * 100 {
                let skipped = report.skipped_rows();
                missing.push(format!(
                    "{skipped} of {} rows of the {what} directory could not be used; `directories check` says why",
                    report.rows
                ));
            }
        }
        if self.practices.is_empty() {
            missing.push("no practice directory: no child is found by its practice".to_owned());
        } else if !self.practices.values().any(|area| matches!(area, Area::Hub(_))) {
            missing.push(format!("no practice of the practice directory {in_no_hub}"));
        }
        missing
    }

    /// Decides for the merged record as of `today` (section 2, eight steps). `previous` is kept for a restricted child.
    pub fn decide(&self, child: &Child, previous: Option<&HubAssignment>, today: civil::Date) -> HubAssignment {
        let grounds = Grounds::of(self, child, today);
        let (hub, basis) = self.responsible(&grounds, child, previous);
        let mut interested = Vec::new();
        // Where the child lives is for the responsible hub alone (identity rules, section 9).
        if !child.flags.is_restricted() {
            self.take_interest(&grounds, &hub, previous, &mut interested);
        }
        let left = if hub.as_str() == HubName::OUT { previous.and_then(|previous| self.last_hub(previous)) } else { None };
        HubAssignment { hub, basis, interested, left }
    }

    fn responsible(&self, grounds: &Grounds, child: &Child, previous: Option<&HubAssignment>) -> (HubName, HubBasis) {
        if let Some(manual) = previous.filter(|previous| previous.basis == HubBasis::Manual) {
            return (manual.hub.clone(), manual.basis);
        }
        let own = grounds.gp.map(|area| (area, HubBasis::Gp));
        let home = grounds.home.map(|area| (area, HubBasis::Address));
        let kept = previous.filter(|previous| child.flags.is_restricted() && previous.hub.as_str() != HubName::UNKNOWN);
        if let (None, None, Some(kept)) = (own, home, kept) {
            return (kept.hub.clone(), kept.basis);
        }
        let mothers_gp = grounds.mothers_gp.map(|area| (area, HubBasis::MotherGp));
        let mothers_home = grounds.mothers_home.map(|area| (area, HubBasis::MotherAddress));
        let notified = grounds.notified.map(|hub| (Area::Hub(hub), HubBasis::ChoCode));
        let born = grounds.birth_site.map(|hub| (Area::Hub(hub), HubBasis::Default));
        match own.or(mothers_gp).or(home).or(mothers_home).or(notified).or(born) {
            Some((Area::Hub(hub), basis)) => (self.name(hub), basis),
            Some((Area::Out, basis)) => (HubName::new(HubName::OUT), basis),
            None => (HubName::new(HubName::UNKNOWN), HubBasis::Default),
        }
    }

    /// A child missed is worse than a child copied (routing rules, sections 2 and 3; identity rules, section 10).
    fn take_interest(&self, grounds: &Grounds, hub: &HubName, previous: Option<&HubAssignment>, interested: &mut Vec<HubName>) {
        let mut add = |name: HubName| {
            let is_hub = ![HubName::OUT, HubName::UNKNOWN].contains(&name.as_str());
            if is_hub && name != *hub && !interested.contains(&name) {
                interested.push(name);
            }
        };
        // Health visiting goes by the home.
        if let (Some(Area::Hub(home)), false) = (grounds.home.or(grounds.mothers_home), self.policy == Policy::ResidenceOnly) {
            add(self.name(home));
        }
        if hub.as_str() != HubName::OUT {
            return;
        }
        let born_in = grounds.birth_site.map(|site| self.name(site));
        if let Some(previous) = previous {
            // The last hub is told, and goes on getting what still comes; the hospital's hub only while it is a newborn, unless it is the last.
            add(previous.hub.clone());
            self.last_hub(previous).into_iter().for_each(&mut add);
            let lasting = previous.interested.iter().filter(|name| previous.hub == *hub && Some(*name) != born_in.as_ref());
            lasting.cloned().for_each(&mut add);
        }
        if let Some(name) = born_in.filter(|_| grounds.is_newborn) {
            add(name);
        }
    }

    /// The hub that worked on the child last, of one that is outside now or was not before: also the default hub, where nobody was responsible.
    fn last_hub(&self, previous: &HubAssignment) -> Option<HubName> {
        match previous.hub.as_str() {
            HubName::OUT => previous.left.clone(),
            _ => self.acting_hub(previous),
        }
    }

    fn name(&self, hub: usize) -> HubName {
        self.hubs.get(hub).map_or_else(|| HubName::new(HubName::UNKNOWN), |hub| hub.name.clone())
    }

    fn by_practice(&self, ods: &str) -> Option<Area> {
        lookup(&self.practices, ods)
    }

    /// By postcode; by the local authority that the message names where the postcode leads nowhere.
    fn by_home(&self, home: &Address) -> Option<Area> {
        let postcode = place_of(home);
        let by_la = |la: &str| self.authorities.get(la).map_or(Area::Out, |hub| Area::Hub(*hub));
        let exact = postcode.and_then(|postcode| self.postcodes.find(postcode)).map(by_la);
        let named = || home.la_gss.as_deref().map(by_la);
        let near = || Some(Area::Hub(*self.whole_outcodes.get(&postcode?.outcode())?));
        exact.or_else(named).or_else(near)
    }

    /// The site, or the trust it belongs to: the first three characters of its code.
    fn by_birth_site(&self, ods: &str) -> Option<usize> {
        lookup(&self.birth_sites, ods).or_else(|| lookup(&self.birth_sites, ods.trim().get(..3)?))
    }

    /// An outcode serves for a postcode that the file does not know only if it leaves no doubt (section 3).
    fn find_whole_outcodes(&mut self) {
        let mut outcodes: HashMap<u64, Option<usize>> = HashMap::new();
        for (postcode, place) in self.postcodes.all() {
            let hub = self.authorities.get(place).copied();
            outcodes.entry(postcode.outcode()).and_modify(|all| *all = all.filter(|all| Some(*all) == hub)).or_insert(hub);
        }
        self.whole_outcodes = outcodes.into_iter().filter_map(|(outcode, hub)| Some((outcode, hub?))).collect();
    }
}

/// All that the directory says about a child on one day.
struct Grounds {
    is_newborn: bool,
    gp: Option<Area>,
    mothers_gp: Option<Area>,
    home: Option<Area>,
    mothers_home: Option<Area>,
    notified: Option<usize>,
    birth_site: Option<usize>,
}

impl Grounds {
    fn of(directory: &Directory, child: &Child, today: civil::Date) -> Self {
        let is_newborn = age_days(child, today).is_some_and(|age| age < NEWBORN_DAYS);
        let with_practice = directory.policy != Policy::ResidenceOnly;
        let practice = child.gp.as_ref().and_then(GpRegistration::practice).filter(|_| with_practice);
        let mother = child.mother().filter(|mother| is_newborn && is_linked(mother));
        let has_home = child.home().is_some_and(|home| place_of(home).is_some() || home.la_gss.is_some());
        let mothers_gp = mother.and_then(|mother| mother.gp_practice_ods.as_deref());
        let mothers_gp = mothers_gp.filter(|ods| GpRegistration::is_practice(ods) && with_practice);
        let mothers_home = mother.and_then(|mother| mother.address.as_ref()).filter(|_| !has_home);
        Self {
            is_newborn,
            gp: practice.and_then(|ods| directory.by_practice(ods)),
            mothers_gp: mothers_gp.filter(|_| practice.is_none()).and_then(|ods| directory.by_practice(ods)),
            home: child.home().and_then(|home| directory.by_home(home)),
            mothers_home: mothers_home.and_then(|home| directory.by_home(home)),
            notified: child.birth.responsible_cho.as_deref().and_then(|ods| lookup(&directory.organisations, ods)),
            birth_site: child.birth.place_ods.as_deref().and_then(|ods| directory.by_birth_site(ods)),
        }
    }
}

/// The postcode, where it names a place.
fn place_of(home: &Address) -> Option<Postcode> {
    let text = home.postcode.as_deref().filter(|_| !home.no_fixed_abode)?;
    Postcode::read(text).filter(|postcode| !postcode.is_pseudo())
}

/// Codes are compared in capitals; most come so.
fn lookup<T: Copy>(codes: &HashMap<String, T>, code: &str) -> Option<T> {
    let code = code.trim();
    codes.get(code).or_else(|| codes.get(&code.to_ascii_uppercase())).copied()
}

/// A link that was ended or severed leads nowhere (identity rules, section 8).
fn is_linked(mother: &Relation) -> bool {
    mother.link_status.as_deref().is_none_or(|status| status == "active")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{BirthFacts, Date, Flags, Precision};
    use crate::identity::Record;

    const NOTHING: [String; 0] = [];

    const HUBS: &str = r#"
default_hub = "NE"
[directories]
postcodes = "postcodes.csv"
practices = "practices.csv"
[[hub]]
name = "NE"
title = "North East"
ods = "RAT"
las = ["E09000012"]
sub_icbs = ["A3A8R"]
[[hub]]
name = "SE"
title = "South East"
ods = "HUB_SE"
las = ["E09000028", "E09000006"]
sub_icbs = ["72Q"]
[[hub]]
name = "SW"
title = "South West"
ods = "HUB_SW"
las = ["E09000032"]
sub_icbs = ["36L"]
[[birth_site]]
ods = "RJ1"
hub = "SE"
"#;
    const POSTCODES: &str = "pcds,doterm,oslaua\nE8 4RP,,E09000012\nE8 1AA,199901,E09000012\nSE1 9ZZ,,E09000028\nSE1 1AA,,E09000032\nSW18 4RP,,E09000032\nM1 1AE,,E08000003\nM1 1AF,,E08000003\nCF10 9ZZ,,W06000015\n";
    const PRACTICES: &str = "practice_ods,sub_icb,name\nF84001,A3A8R,Dalston\nG85001,72Q,Lambeth\nH85001,36L,Putney\nA83001,84H,Elvet\n";

    fn directory(policy: &str) -> Directory {
        let open = |path: &str| -> std::io::Result<Box<dyn std::io::Read>> {
            let text = match path {
                "postcodes.csv" => POSTCODES,
                "practices.csv" => PRACTICES,
                _ => return Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
            };
            Ok(Box::new(text.as_bytes()))
        };
        Directory::load(&format!("policy = \"{policy}\"\n{HUBS}"), "hubs.toml", &open).unwrap()
    }

    /// Words: `gp=G85001`, `home=SE1_9ZZ`, `la=E09000028`, `mother-gp=`, `mother-home=`, `cho=`, `site=`, `nfa`, `restricted`, `severed`. Born on 1 April 2026.
    fn child(words: &str) -> Child {
        let mut mother = Relation { kind: Relation::MOTHER.to_owned(), ..Relation::default() };
        let mut birth =
            BirthFacts { date: Some(Date { value: "2026-04-01".to_owned(), precision: Precision::Day }), ..BirthFacts::default() };
        let mut home = Address::default();
        let mut child = Child::default();
        for word in words.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let value = Some(if key.ends_with("home") { value.replace('_', " ") } else { value.to_owned() });
            match key {
                "gp" => child.gp = Some(GpRegistration { practice_ods: value, ..GpRegistration::default() }),
                "home" => home.postcode = value,
                "la" => home.la_gss = value,
                "nfa" => home.no_fixed_abode = true,
                "mother-gp" => mother.gp_practice_ods = value,
                "mother-home" => mother.address = Some(Address { postcode: value, ..Address::default() }),
                "severed" => mother.link_status = Some("adoption_severed".to_owned()),
                "cho" => birth.responsible_cho = value,
                "site" => birth.place_ods = value,
                "restricted" => child.flags = Flags { sensitivity: Some("restricted".to_owned()), ..Flags::default() },
                other => panic!("{other}?"),
            }
        }
        if home != Address::default() {
            child.addresses.push(home);
        }
        child.relations.push(mother);
        child.birth = birth;
        child
    }

    /// `SE gp`, `OUT address + SE NE`.
    fn text(assignment: &HubAssignment) -> String {
        let basis = serde_json::to_value(assignment.basis).unwrap();
        let mut text = format!("{} {}", assignment.hub, basis.as_str().unwrap());
        if !assignment.interested.is_empty() {
            text.push_str(" +");
        }
        assignment.interested.iter().for_each(|hub| text.push_str(&format!(" {hub}")));
        text
    }

    fn assigned(hub: &str, basis: HubBasis, interested: &[&str]) -> HubAssignment {
        HubAssignment { hub: HubName::new(hub), basis, interested: interested.iter().map(HubName::new).collect(), left: None }
    }

    fn on(day: i8) -> civil::Date {
        // Day 0 is the birth.
        civil::date(2026, 4, 1).checked_add(jiff::Span::new().days(day)).unwrap()
    }

    #[track_caller]
    fn check(directory: &Directory, previous: Option<&HubAssignment>, day: i8, words: &str, expected: &str) {
        assert_eq!(text(&directory.decide(&child(words), previous, on(day))), expected, "day {day}: {words}");
    }

    #[test]
    fn the_first_ground_that_says_something_wins() {
        let directory = directory("gp_then_residence");
        let everything = "gp=G85001 mother-gp=F84001 home=SW18_4RP mother-home=E8_4RP cho=RAT site=RJ122";
        let cases = [
            (everything, "SE gp + SW"),
            (&everything.replace("gp=G85001 ", ""), "NE mother_gp + SW"),
            ("home=SW18_4RP mother-home=E8_4RP cho=RAT site=RJ122", "SW address"),
            ("mother-home=E8_4RP cho=HUB_SE site=RJ122", "NE mother_address"),
            ("cho=HUB_SW site=RJ122", "SW cho_code"),
            ("cho=X26 site=RJ122", "SE default"),
            ("site=RJ1", "SE default"),
            ("site=R1H", "UNKNOWN default"),
            ("", "UNKNOWN default"),
            // A practice that no directory knows says nothing; neither does a code for "none".
            ("gp=Z99999 mother-gp=F84001 home=SW18_4RP", "SW address"),
            ("gp=V81997 mother-gp=F84001 home=SW18_4RP", "NE mother_gp + SW"),
            // The practice and the home are the same hub's: nobody else needs a copy.
            ("gp=G85001 home=SE1_9ZZ", "SE gp"),
            ("gp=g85001 home=se19zz", "SE gp"),
        ];
        for (words, expected) in cases {
            check(&directory, None, 1, words, expected);
        }
    }

    #[test]
    fn the_mothers_details_serve_for_28_days() {
        let directory = directory("gp_then_residence");
        for (day, expected) in [(0, "NE mother_gp"), (27, "NE mother_gp"), (28, "UNKNOWN default")] {
            check(&directory, None, day, "mother-gp=F84001 mother-home=E8_4RP", expected);
        }
        check(&directory, None, 1, "severed mother-gp=F84001 mother-home=E8_4RP", "UNKNOWN default");
        // Nobody knows how old the child is.
        let mut ageless = child("mother-gp=F84001");
        ageless.birth.date = None;
        assert_eq!(text(&directory.decide(&ageless, None, on(1))), "UNKNOWN default");
    }

    #[test]
    fn policies_differ_in_whether_the_practice_is_asked() {
        let words = "gp=G85001 home=SW18_4RP";
        check(&directory("gp_then_residence"), None, 1, words, "SE gp + SW");
        check(&directory("both"), None, 1, words, "SE gp + SW");
        check(&directory("residence_only"), None, 1, words, "SW address");
        check(&directory("residence_only"), None, 1, "gp=G85001 mother-gp=F84001 mother-home=SW18_4RP", "SW mother_address");
        check(&directory("residence_only"), None, 1, "gp=G85001", "UNKNOWN default");
    }

    #[test]
    fn a_child_outside_is_kept_by_the_hospitals_hub_for_28_days_and_by_its_last_hub() {
        let directory = directory("gp_then_residence");
        for words in ["gp=A83001 site=RJ122", "home=M1_1AE site=RJ122", "home=CF10_9ZZ site=RJ122", "la=W06000015 site=RJ122"] {
            let basis = if words.starts_with("gp") { "gp" } else { "address" };
            check(&directory, None, 27, words, &format!("OUT {basis} + SE"));
            check(&directory, None, 28, words, &format!("OUT {basis}"));
        }
        check(&directory, None, 40, "gp=A83001 home=E8_4RP", "OUT gp + NE");

        // It moved: the last hub is told, and stays told.
        let last = assigned("SW", HubBasis::Address, &[]);
        check(&directory, Some(&last), 40, "home=M1_1AE", "OUT address + SW");
        let out = assigned("OUT", HubBasis::Address, &["SW", "SE"]);
        check(&directory, Some(&out), 40, "home=M1_1AE site=RJ122", "OUT address + SW");
        check(&directory, Some(&out), 40, "home=SE1_9ZZ site=RJ122", "SE address");
    }

    #[test]
    fn the_last_hub_stays_told_also_where_the_child_was_born_in_its_hospital() {
        let directory = directory("gp_then_residence");
        let moved = child("home=M1_1AE site=RJ122");
        let first = directory.decide(&moved, Some(&assigned("SE", HubBasis::Address, &[])), on(57));
        assert_eq!(text(&first), "OUT address + SE");
        let second = directory.decide(&moved, Some(&first), on(60));
        assert_eq!(text(&second), "OUT address + SE", "a result that comes later");
        assert_eq!(text(&directory.decide(&moved, Some(&second), on(90))), "OUT address + SE");
        // Nobody was responsible: who worked on it then is told, and stays told.
        let unknown = directory.decide(&moved, Some(&assigned("UNKNOWN", HubBasis::Default, &[])), on(57));
        assert_eq!(text(&unknown), "OUT address + NE");
        assert_eq!(text(&directory.decide(&moved, Some(&unknown), on(90))), "OUT address + NE");
        // It was never theirs: only the hospital's hub, and only while it is a newborn.
        let never = directory.decide(&moved, None, on(1));
        assert_eq!(text(&never), "OUT address + SE");
        assert_eq!(text(&directory.decide(&moved, Some(&never), on(60))), "OUT address");
    }

    #[test]
    fn a_postcode_is_found_in_use_or_terminated_or_by_an_outcode_that_leaves_no_doubt() {
        let directory = directory("gp_then_residence");
        let cases = [
            ("home=E8_1AA", "NE address"),
            // A new building: all of E8 lies in one hub, SE1 does not, M1 lies in none.
            ("home=E8_9XX", "NE address"),
            ("home=SE1_8XX", "UNKNOWN default"),
            ("home=M1_9XX", "UNKNOWN default"),
            ("home=N1_9XX", "UNKNOWN default"),
            // The message names the local authority.
            ("home=SE1_8XX la=E09000006", "SE address"),
            ("la=E09000032", "SW address"),
            // No place at all.
            ("home=ZZ99_3VZ site=RJ1", "SE default"),
            ("home=ZZ99_3WZ", "UNKNOWN default"),
            ("home=E8_4RP nfa site=RJ1", "SE default"),
            ("home=ZZ99_3WZ mother-home=E8_4RP", "NE mother_address"),
            ("home=NONSENSE mother-home=E8_4RP", "NE mother_address"),
            // A home in the right shape is a home, known or not.
            ("home=SE1_8XX mother-home=E8_4RP site=RJ1", "SE default"),
        ];
        for (words, expected) in cases {
            check(&directory, None, 1, words, expected);
        }
    }

    #[test]
    fn hiding_an_address_moves_no_child_and_sends_no_copies() {
        let directory = directory("gp_then_residence");
        let last = assigned("SW", HubBasis::Address, &["NE"]);
        check(&directory, Some(&last), 1, "restricted", "SW address");
        check(&directory, Some(&last), 1, "restricted mother-gp=F84001 cho=RAT site=RJ1", "SW address");
        // What is still known of the child itself counts, and only the responsible hub gets it.
        check(&directory, Some(&last), 1, "restricted gp=G85001 home=E8_4RP", "SE gp");
        check(&directory, None, 1, "restricted mother-home=E8_4RP", "NE mother_address");
        let nobody = assigned("UNKNOWN", HubBasis::Default, &[]);
        check(&directory, Some(&nobody), 1, "restricted site=RJ1", "SE default");
    }

    #[test]
    fn what_a_person_decided_stands() {
        let directory = directory("gp_then_residence");
        let manual = assigned("NE", HubBasis::Manual, &[]);
        check(&directory, Some(&manual), 1, "gp=G85001 home=SW18_4RP", "NE manual + SW");
        check(&directory, Some(&assigned("NE", HubBasis::Gp, &[])), 1, "gp=G85001", "SE gp");
    }

    #[test]
    fn the_default_hub_works_on_what_nobody_is_responsible_for() {
        let directory = directory("gp_then_residence");
        let acting =
            |hub: &str, interested: &[&str]| directory.acting_hub(&assigned(hub, HubBasis::Default, interested)).map(|hub| hub.to_string());
        assert_eq!(acting("SE", &["SW"]).as_deref(), Some("SE"));
        assert_eq!(acting("UNKNOWN", &[]).as_deref(), Some("NE"));
        assert_eq!(acting("OUT", &["SW"]), None);
    }

    #[test]
    fn what_is_missing_for_good_routing_is_said() {
        assert_eq!(directory("both").degraded(), NOTHING);
        let bare = HUBS.replace("postcodes = \"postcodes.csv\"", "").replace("practices = \"practices.csv\"", "");
        let bare = Directory::load(&bare, "hubs.toml", &|_| unreachable!()).unwrap();
        assert_eq!(bare.degraded().len(), 2);
        assert_eq!(text(&bare.decide(&child("la=E09000028 gp=G85001"), None, on(1))), "SE address");
        assert_eq!(bare.hubs().len(), 3);
        assert_eq!(bare.default_hub(), HubName::new("NE"));
        // Codes of another kind than in hubs.toml would send every child outside.
        let other = |path: &str| -> std::io::Result<Box<dyn std::io::Read>> {
            let practices = "practice_ods,sub_icb\nF84001,E38000255\n".to_owned();
            let text = if path == "postcodes.csv" { POSTCODES.replace("E0", "X0") } else { practices };
            Ok(Box::new(std::io::Cursor::new(text.into_bytes())))
        };
        let other = Directory::load(HUBS, "hubs.toml", &other);
        assert!(other.unwrap().degraded().iter().all(|text| text.contains("codes of the same kind")));
    }

    #[test]
    fn a_report_says_what_the_files_cover_and_what_they_lack() {
        let report = directory("both").report();
        assert_eq!((report.authorities, report.authorities_missing.as_slice()), (4, ["E09000006".to_owned()].as_slice()));
        assert_eq!((report.practices_outside, report.outcodes, report.outcodes_whole), (1, 5, 2));
        let hubs: Vec<_> = report.hubs.iter().map(|hub| (hub.hub.as_str(), hub.postcodes, hub.practices, hub.outcodes)).collect();
        assert_eq!(hubs, [("NE", 2, 1, 1), ("SE", 1, 1, 0), ("SW", 2, 1, 1)]);
        assert_eq!(report.postcodes.map(|file| (file.file, file.rows, file.used)), Some(("postcodes.csv".to_owned(), 8, 8)));
    }

    #[test]
    fn places_are_told_each_by_itself_and_a_late_word_that_leads_elsewhere_is_known() {
        let directory = directory("gp_then_residence");
        let places = directory.places(&child("gp=G85001 home=SW18_4RP site=R1H"), on(1));
        assert_eq!((places.gp, places.home, places.birth_site), (Some(HubName::new("SE")), Some(HubName::new("SW")), None));
        assert_eq!(directory.places(&child("home=M1_1AE"), on(1)).home, Some(HubName::new("OUT")));
        assert!(!directory.asks_for_stillbirths(&HubName::new("SE")));

        let route = assigned("SW", HubBasis::Address, &[]);
        let heard = |at_us| {
            let said = crate::identity::Said { at_us, ..crate::identity::Said::default() };
            Record { said: [("addresses.home".to_owned(), said)].into(), ..Record::default() }
        };
        let late = |words: &str, at_us| directory.is_late_for(&child(words), &heard(500), &route, at_us);
        assert!(late("home=E8_4RP", 499));
        assert!(!late("home=E8_4RP", 500), "what was said at the same moment is not late");
        assert!(!late("home=SW18_4RP", 499), "it leads to where the child is");
        assert!(!late("gp=G85001", 499), "the hub rests on the home");
    }

    #[test]
    fn a_folder_is_read_with_its_files_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let errors = Directory::load_dir(folder.path()).unwrap_err();
        assert!(errors[0].to_string().contains("hubs.toml:1:1: cannot be read"), "{errors:?}");
        for (name, text) in [("hubs.toml", HUBS), ("postcodes.csv", POSTCODES), ("practices.csv", PRACTICES)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let directory = Directory::load_dir(folder.path()).unwrap();
        check(&directory, None, 1, "gp=G85001", "SE gp");
    }
}

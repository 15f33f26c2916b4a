//! What is in a directory, for whoever looks after its files.

use serde::Serialize;

use super::rows::FileReport;
use super::{Area, Directory};

/// What the files gave, and what they cover.
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryReport {
    /// The postcode file; none where hubs.toml names none.
    pub postcodes: Option<FileReport>,
    /// The practice file.
    pub practices: Option<FileReport>,
    /// Local authorities that hubs.toml gives to hubs.
    pub authorities: usize,
    /// Those of them without a postcode in the file.
    pub authorities_missing: Vec<String>,
    /// Practices whose sub-ICB belongs to no hub of hubs.toml: their children are outside.
    pub practices_outside: usize,
    /// Outcodes of the file, and those that lie in one hub with every postcode.
    pub outcodes: usize,
    /// See `outcodes`.
    pub outcodes_whole: usize,
    /// What each hub has.
    pub hubs: Vec<HubReport>,
}

/// What a hub has.
#[derive(Clone, Debug, Serialize)]
pub struct HubReport {
    /// The hub.
    pub hub: String,
    /// Postcodes in its local authorities.
    pub postcodes: usize,
    /// Practices of its sub-ICBs.
    pub practices: usize,
    /// Outcodes that lie in it whole.
    pub outcodes: usize,
}

impl Directory {
    /// What is in it.
    pub fn report(&self) -> DirectoryReport {
        let mut hubs: Vec<HubReport> =
            self.hubs.iter().map(|hub| HubReport { hub: hub.name.to_string(), postcodes: 0, practices: 0, outcodes: 0 }).collect();
        let (mut outcodes, mut last) = (0, None);
        for (postcode, la) in self.postcodes.all() {
            if last != Some(postcode.outcode()) {
                outcodes += 1;
                last = Some(postcode.outcode());
            }
            if let Some(hub) = self.authorities.get(la).and_then(|hub| hubs.get_mut(*hub)) {
                hub.postcodes += 1;
            }
        }
        for hub in self.whole_outcodes.values() {
            hubs.get_mut(*hub).into_iter().for_each(|hub| hub.outcodes += 1);
        }
        let mut practices_outside = 0;
        for area in self.practices.values() {
            match area {
                Area::Hub(hub) => hubs.get_mut(*hub).into_iter().for_each(|hub| hub.practices += 1),
                Area::Out => practices_outside += 1,
            }
        }
        let has_postcode = |la: &&String| self.postcodes.authorities().contains(la);
        let mut authorities_missing: Vec<String> = self.authorities.keys().filter(|la| !has_postcode(la)).cloned().collect();
        authorities_missing.sort();
        let named = |report: &FileReport| Some(report.clone()).filter(|report| !report.file.is_empty());
        DirectoryReport {
            postcodes: named(&self.postcodes.report),
            practices: named(&self.practices_report),
            authorities: self.authorities.len(),
            authorities_missing,
            practices_outside,
            outcodes,
            outcodes_whole: self.whole_outcodes.len(),
            hubs,
        }
    }
}

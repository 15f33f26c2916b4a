//! Which hub is responsible and on which ground (routing rules).

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil;

use crate::canon::{Child, HubAssignment};
use crate::names::HubName;

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
    _private: BTreeMap<String, String>,
}

/// Postcode `SE1 9ZZ` from any spelling; `None` where it cannot be one (routing rules, section 4).
pub fn normal_postcode(_text: &str) -> Option<String> {
    unimplemented!()
}

impl Directory {
    /// `hubs.toml` text, and the CSV directories it names, read by `open` (given the path as written).
    pub fn load(_hubs_toml: &str, _file: &str, _open: &dyn Fn(&str) -> std::io::Result<Vec<u8>>) -> Result<Self, Vec<RoutingError>> {
        unimplemented!()
    }
    /// `hubs.toml` and directories of a mappings folder.
    pub fn load_dir(_dir: &Path) -> Result<Self, Vec<RoutingError>> {
        unimplemented!()
    }
    /// The hubs by name with their titles.
    pub fn hubs(&self) -> Vec<(HubName, String)> {
        unimplemented!()
    }
    /// Decides for the merged record as of `today` (section 2, eight steps). `previous` is kept for a restricted child.
    pub fn decide(&self, _child: &Child, _previous: Option<&HubAssignment>, _today: civil::Date) -> HubAssignment {
        unimplemented!()
    }
    /// The hub that works on it: the default hub for UNKNOWN, none for OUT.
    pub fn acting_hub(&self, _assignment: &HubAssignment) -> Option<HubName> {
        unimplemented!()
    }
    /// The hub that looks after what nobody is responsible for.
    pub fn default_hub(&self) -> HubName {
        unimplemented!()
    }
    /// What is missing for good routing: no postcode file, no practice file.
    pub fn degraded(&self) -> Vec<String> {
        unimplemented!()
    }
}

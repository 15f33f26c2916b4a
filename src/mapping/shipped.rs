//! The files of a bundle: those inside the binary, those of a directory, and their hash.
//!
//! # Invariants
//!
//! - The hash covers names and bytes of every file that says what messages mean, each with its length, so that no two
//!   bundles share one by moving text. Directories of postcodes and practices are not among them: they say where a
//!   child belongs, may be very large, and are read by routing.
//! - Hidden files and what is neither TOML nor CSV is left out, and so are the templates and tables of destinations (`viewer/`, `careplus/`).

use std::path::Path;

use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use super::Files;
use crate::names::BundleHash;

/// `mappings/` as it was when the binary was built.
#[derive(RustEmbed)]
#[folder = "mappings/"]
struct Shipped;

/// The folder of routing's directory files.
const DIRECTORIES: &str = "directories";
/// How deep folders of a mappings directory may nest.
const DEPTH_MAX: usize = 6;

/// The shipped files, with the small directory files that routing begins with.
pub(super) fn files() -> Files {
    let wanted = Shipped::iter().filter(|name| is_ours(name) && !is_outbound(name));
    wanted.filter_map(|name| Some((name.to_string(), Shipped::get(&name)?.data.into_owned()))).collect()
}

/// The files of a directory.
pub(super) fn files_of(dir: &Path) -> std::io::Result<Files> {
    let mut files = Files::new();
    collect(dir, "", 0, &mut files)?;
    Ok(files)
}

fn collect(dir: &Path, prefix: &str, depth: usize, files: &mut Files) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        // Through links too: sites keep their own files elsewhere and link them in.
        if path.is_dir() {
            if depth < DEPTH_MAX && name != DIRECTORIES && !is_outbound(&format!("{prefix}{name}/")) {
                collect(&path, &format!("{prefix}{name}/"), depth + 1, files)?;
            }
        } else if is_ours(&name) {
            files.insert(format!("{prefix}{name}"), std::fs::read(&path)?);
        }
    }
    Ok(())
}

/// What says how messages go out is read by its destination, and no message means anything else because of it.
fn is_outbound(name: &str) -> bool {
    ["viewer/", "careplus/"].iter().any(|folder| name.starts_with(folder))
}

fn is_ours(name: &str) -> bool {
    name.ends_with(".toml") || name.ends_with(".csv")
}

/// SHA-256 over all files.
pub(super) fn hash(files: &Files) -> BundleHash {
    let mut sum = Sha256::new();
    for (name, bytes) in files.iter().filter(|(name, _)| !name.split('/').any(|part| part == DIRECTORIES)) {
        for part in [name.as_bytes(), bytes] {
            sum.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            sum.update(part);
        }
    }
    let hex: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    BundleHash::new(hex)
}

//! Files that the broker lays into a folder for other programs to fetch.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Lays a file under its name: whole, or not at all, also over a power cut. One of that name is replaced. `mode` is who may read it.
pub(super) fn lay(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".{name}.part"));
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, folder.join(name))?;
    std::fs::File::open(folder)?.sync_all()
}

//! The data folder of a ledger: who has it, and the ballast that is given up when its disk is full.

use std::path::Path;

use super::StoreError;

/// Given up when the disk is full, so that deliveries can still be noted.
const BALLAST_BYTES: u64 = 64 * 1024 * 1024;

/// Takes the folder for this process; exit 75 where another broker has it.
pub(super) fn lock(data: &Path) -> Result<std::fs::File, StoreError> {
    let path = data.join("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| StoreError { text: format!("{} cannot be opened: {error}", path.display()), exit: 77 })?;
    file.try_lock().map_err(|_| StoreError { text: format!("another broker works on {}: stop it first", data.display()), exit: 75 })?;
    Ok(file)
}

/// Lays the file that is given up when the disk is full.
pub(super) fn lay_ballast(data: &Path) {
    let path = data.join("ballast");
    if path.exists() {
        return;
    }
    // Without room for it there is nothing to give up later; the broker works all the same.
    let laid = std::fs::File::create(&path)
        .and_then(|mut file| std::io::copy(&mut std::io::Read::take(std::io::repeat(1), BALLAST_BYTES), &mut file));
    if laid.is_err() {
        let _gone = std::fs::remove_file(&path);
    }
}

//! Folds the write-ahead log into the database beside the writer, on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::StoreError;
use super::schema::{broken, checkpoint, ledger_file, prepare};
use super::writer::Shared;

/// How often it is asked whether the log should be folded into the database.
const FOLD_EVERY: Duration = Duration::from_millis(500);
/// It is folded when so many frames (32 MiB) are not in the database yet, and when the writer has nothing to do.
const FOLD_FRAMES: i64 = 8_192;

/// Folds the log into the database beside the writer, on a connection of its own.
pub(super) fn start(shared: Arc<Shared>) -> Result<(), StoreError> {
    let file = ledger_file(&shared.data);
    let connection = Connection::open(&file).map_err(|error| broken(&file, &error))?;
    prepare(&connection, true).map_err(|error| broken(&file, &error))?;
    let spawned = std::thread::Builder::new().name("ledger-folding".into()).spawn(move || {
        let (mut seen, mut unfolded) = (0, false);
        while !shared.stopped.is_cancelled() {
            std::thread::sleep(FOLD_EVERY);
            let turns = shared.turns.load(Ordering::Relaxed);
            let is_idle = turns == seen;
            seen = turns;
            unfolded |= !is_idle;
            let Ok((frames, folded)) = checkpoint(&connection, "NOOP") else { continue };
            shared.wal_frames.store(frames, Ordering::Relaxed);
            // Folding makes every commit wait for the disk, so it is done seldom, or when nobody waits.
            if !unfolded || (!is_idle && frames - folded < FOLD_FRAMES) {
                continue;
            }
            unfolded = false;
            let outcome = checkpoint(&connection, "PASSIVE");
            metrics::counter!("chis_store_checkpoints_total", "result" => if outcome.is_ok() { "ok" } else { "failed" }).increment(1);
            if let Err(error) = outcome {
                tracing::warn!(error = %error, "store.checkpoint: the log could not be folded in; it is tried again");
            }
        }
    });
    spawned.map(drop).map_err(|error| StoreError { text: format!("the checkpoint thread cannot be started: {error}"), exit: 71 })
}

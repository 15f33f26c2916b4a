//! Has this message come before? Control ids of all accepted entries, for ever.
//!
//! A plain index over random keys dirties a page of the database for each message, which is most of what an append would
//! write. So the newest keys stand in memory only, and are laid into the table in sorted runs, a little with each turn
//! of the writer: neighbours share their pages. After a start the newest are read again from the entries themselves.
//!
//! # Invariants
//!
//! - A key is in memory, or in the table, or in both; never in neither.
//! - What a turn that was undone had laid is laid again; laying twice changes nothing.

use std::collections::HashMap;

use rusqlite::{Connection, params};

/// A run begins when so many keys stand in memory.
const RUN_MIN: usize = 32_768;
/// Keys laid with one turn.
const STEP: usize = 256;

/// The keys in memory and the run that is being laid.
#[derive(Debug, Default)]
pub(super) struct Controls {
    /// Key to entries; mostly one.
    recent: HashMap<i64, Vec<i64>>,
    /// How many entries `recent` has.
    count: usize,
    /// Sorted by key; laid up to `laid`.
    run: Vec<(i64, i64)>,
    laid: usize,
    /// The highest entry of the run.
    run_through: i64,
}

impl Controls {
    /// Reads the newest keys again.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut controls = Self::default();
        let sql = "SELECT control_key, seq FROM entry WHERE seq > (SELECT value FROM meta WHERE key = 'controls_through') AND accepted = 1";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            controls.add(row.get(0)?, row.get(1)?);
        }
        Ok(controls)
    }

    /// Remembers an accepted entry.
    pub(super) fn add(&mut self, key: i64, seq: i64) {
        self.recent.entry(key).or_default().push(seq);
        self.count += 1;
    }

    /// Entries that may have this key, oldest first; the caller compares what they hold.
    pub(super) fn find(&self, connection: &Connection, key: i64) -> rusqlite::Result<Vec<i64>> {
        let mut statement = connection.prepare_cached("SELECT seq FROM control WHERE key = ?1")?;
        let mut found: Vec<i64> = statement.query_map([key], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        found.extend(self.recent.get(&key).into_iter().flatten());
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Lays the next piece of a run, inside the writer's transaction; gives what [`Controls::committed`] needs.
    pub(super) fn lay(&mut self, connection: &Connection) -> rusqlite::Result<usize> {
        if self.run.is_empty() && RUN_MIN <= self.count {
            self.begin_run();
        }
        let piece = self.run.get(self.laid..self.run.len().min(self.laid + STEP)).unwrap_or_default();
        if piece.is_empty() {
            return Ok(self.laid);
        }
        let mut statement = connection.prepare_cached("INSERT INTO control(key, seq) VALUES(?1, ?2) ON CONFLICT DO NOTHING")?;
        for (key, seq) in piece {
            statement.execute(params![key, seq])?;
        }
        let laid = self.laid + piece.len();
        if laid == self.run.len() {
            connection.prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'controls_through'")?.execute([self.run_through])?;
        }
        Ok(laid)
    }

    /// The turn that laid up to here was committed.
    pub(super) fn committed(&mut self, laid: usize) {
        self.laid = laid;
        if self.run.is_empty() || laid < self.run.len() {
            return;
        }
        let through = self.run_through;
        self.recent.retain(|_, seqs| {
            seqs.retain(|seq| through < *seq);
            !seqs.is_empty()
        });
        self.count = self.recent.values().map(Vec::len).sum();
        (self.run, self.laid) = (Vec::new(), 0);
    }

    /// Forgets what an undone turn had added.
    pub(super) fn undo(&mut self, after: i64) {
        self.recent.retain(|_, seqs| {
            seqs.retain(|seq| *seq <= after);
            !seqs.is_empty()
        });
        self.count = self.recent.values().map(Vec::len).sum();
        if after < self.run_through {
            (self.run, self.laid) = (Vec::new(), 0);
        }
    }

    fn begin_run(&mut self) {
        self.run = self.recent.iter().flat_map(|(key, seqs)| seqs.iter().map(|seq| (*key, *seq))).collect();
        self.run.sort_unstable();
        self.run_through = self.run.iter().map(|(_, seq)| *seq).max().unwrap_or(0);
        self.laid = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_while_it_stands_in_memory_while_its_run_is_laid_and_after() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE control(key INTEGER, seq INTEGER, PRIMARY KEY(key, seq)) WITHOUT ROWID; CREATE TABLE meta(key TEXT, value INTEGER); INSERT INTO meta VALUES('controls_through', 0)").unwrap();
        let mut controls = Controls::default();
        let count = RUN_MIN as i64 + 100;
        let key = |seq: i64| seq.wrapping_mul(0x5DEE_CE66_D1CE_4E5B) >> 1;
        for seq in 1..=count {
            controls.add(key(seq), seq);
        }
        for turn in 0..RUN_MIN.div_ceil(STEP) + 2 {
            for seq in [1, count / 2, count] {
                assert_eq!(controls.find(&connection, key(seq)).unwrap(), [seq], "turn {turn}");
            }
            let laid = controls.lay(&connection).unwrap();
            if turn % 3 != 0 {
                controls.committed(laid);
            }
        }
        while !controls.run.is_empty() {
            let laid = controls.lay(&connection).unwrap();
            controls.committed(laid);
        }
        assert_eq!(controls.count, 0);
        assert_eq!(connection.query_row("SELECT count(*) FROM control", [], |row| row.get::<_, i64>(0)).unwrap(), count);
        assert_eq!(controls.find(&connection, key(7)).unwrap(), [7]);
        assert_eq!(controls.find(&connection, 12).unwrap(), [0_i64; 0]);
    }
}

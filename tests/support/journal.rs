//! A journal in memory that can be told to be full, to fail, to wait, and what became of an entry.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chis_broker::journal::{Admission, Entry, Journal, JournalError, Place, Receipt, Standing};
use chis_broker::names::Seq;
use tokio::sync::{Semaphore, watch};

/// See the file. Clones are the same journal.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kept: Mutex<Vec<Entry>>,
    placed: Mutex<Vec<(Place, Seq)>>,
    trouble: Mutex<Option<JournalError>>,
    standing: Mutex<Standing>,
    /// One permit for each append that may go on.
    gate: Semaphore,
    /// Control ids in the order in which their appends were begun.
    begun: watch::Sender<Vec<String>>,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::with_permits(Semaphore::MAX_PERMITS)
    }
}

impl MemoryJournal {
    /// A journal whose appends wait for [`MemoryJournal::let_through`].
    pub fn gated() -> Self {
        Self::with_permits(0)
    }

    fn with_permits(permits: usize) -> Self {
        let inner = Inner {
            kept: Mutex::default(),
            placed: Mutex::default(),
            trouble: Mutex::default(),
            standing: Mutex::new(Standing::Filed),
            gate: Semaphore::new(permits),
            begun: watch::Sender::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Lets so many waiting appends end.
    pub fn let_through(&self, appends: usize) {
        self.inner.gate.add_permits(appends);
    }

    /// From now on every append fails so; `None`: no more.
    pub fn fail_with(&self, error: Option<JournalError>) {
        *self.inner.trouble.lock().unwrap() = error;
    }

    /// What [`Journal::outcome`] says.
    pub fn file_as(&self, standing: Standing) {
        *self.inner.standing.lock().unwrap() = standing;
    }

    /// All that is kept, in order.
    pub fn kept(&self) -> Vec<Entry> {
        self.inner.kept.lock().unwrap().clone()
    }

    /// Control ids and admissions of all that is kept: `1 accepted`, ` AR 101 …`.
    pub fn admissions(&self) -> Vec<String> {
        let say = |entry: Entry| match entry.admission {
            Admission::Accepted => format!("{} accepted", entry.control_id),
            Admission::Refused(reason) => format!("{} refused {reason}", entry.control_id),
            Admission::Ignored(reason) => format!("{} ignored {reason}", entry.control_id),
        };
        self.kept().into_iter().map(say).collect()
    }

    /// Waits until so many appends were begun and gives their control ids in order.
    pub async fn begun(&self, count: usize) -> Vec<String> {
        let mut begun = self.inner.begun.subscribe();
        begun.wait_for(|ids| count <= ids.len()).await.unwrap().clone()
    }
}

impl Journal for MemoryJournal {
    async fn append(&self, entry: Entry) -> Result<Receipt, JournalError> {
        self.inner.begun.send_modify(|begun| begun.push(entry.control_id.clone()));
        self.inner.gate.acquire().await.unwrap().forget();
        if let Some(trouble) = self.inner.trouble.lock().unwrap().clone() {
            return Err(trouble);
        }
        let mut kept = self.inner.kept.lock().unwrap();
        let is_same = |old: &Entry| old.source == entry.source && old.control_id == entry.control_id && old.body == entry.body;
        let first = kept.iter().position(is_same).map(|at| Seq(at as i64 + 1));
        kept.push(entry);
        Ok(Receipt::after_commit(Seq(kept.len() as i64), first))
    }

    async fn append_placed(&self, entry: Entry, place: Place) -> Result<Receipt, JournalError> {
        let known = self.inner.placed.lock().unwrap().iter().find(|(known, _)| *known == place).map(|(_, seq)| *seq);
        if let Some(seq) = known {
            return Ok(Receipt::after_commit(seq, None));
        }
        let receipt = self.append(entry).await?;
        self.inner.placed.lock().unwrap().push((place, receipt.seq()));
        Ok(receipt)
    }

    async fn outcome(&self, _seq: Seq, _patience: Duration) -> Standing {
        *self.inner.standing.lock().unwrap()
    }
}

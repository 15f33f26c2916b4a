//! The memory that long messages of all connections together may use while they are in hand.
//!
//! # Invariants
//!
//! - What was taken comes back when its [`Share`] is dropped, on every path.
//! - Short messages never ask: ten thousand quiet connections and one flood of documents do not meet here.

use std::sync::Arc;

use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Bytes counted as one.
const UNIT_BYTES: usize = 64 * 1024;
/// The whole budget: 256 MiB, twice what the longest frame allowed can use while its buffer grows.
const UNITS: usize = 4096;

/// See the file.
#[derive(Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    freed: Arc<Notify>,
}

/// Part of the budget, given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Share {
    permit: Option<OwnedSemaphorePermit>,
    freed: Option<Arc<Notify>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(UNITS)
    }
}

impl Budget {
    pub(super) fn of(units: usize) -> Self {
        Self { units: Arc::new(Semaphore::new(units)), freed: Arc::default() }
    }

    /// Ends when somebody gives something back, from the moment of this call on.
    pub(super) fn freed(&self) -> OwnedNotified {
        Arc::clone(&self.freed).notified_owned()
    }
}

impl Share {
    /// Takes what is missing to `bytes`. False, and nothing taken, where there is not so much.
    pub(super) fn grow_to(&mut self, bytes: usize, budget: &Budget) -> bool {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(missing) = u32::try_from(bytes.div_ceil(UNIT_BYTES).saturating_sub(held)) else { return false };
        let Ok(more) = Arc::clone(&budget.units).try_acquire_many_owned(missing) else { return false };
        self.freed = Some(Arc::clone(&budget.freed));
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            drop(permit);
            if let Some(freed) = &self.freed {
                // All who wait look again: the one that is first may want more than was given back.
                freed.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_used_up_comes_back_and_wakes_who_waits() {
        let budget = Budget::of(3);
        let mut first = Share::default();
        assert!(first.grow_to(UNIT_BYTES, &budget));
        assert!(first.grow_to(2 * UNIT_BYTES, &budget), "one more");
        let mut second = Share::default();
        assert!(second.grow_to(UNIT_BYTES, &budget), "exactly what is left");
        assert!(!second.grow_to(UNIT_BYTES + 1, &budget), "one byte more");
        let freed = budget.freed();
        tokio::pin!(freed);
        tokio::select! {
            biased;
            () = &mut freed => panic!("nothing was given back"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        freed.await;
        assert!(second.grow_to(3 * UNIT_BYTES, &budget));
        drop(second);
        assert_eq!(budget.units.available_permits(), 3);
    }
}

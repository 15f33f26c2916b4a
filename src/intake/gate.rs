//! How many may be inside at once: all together, and each peer.
//!
//! # Invariants
//!
//! - What entered is counted until its [`Pass`] is dropped, on every path.
//! - A peer without a pass in hand is not in the table, so the table is as long as there are connections, never longer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// By what a connection is counted beside the total.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// An address whose certificate is not verified yet.
    Handshake(IpAddr),
    /// An address that no certificate names.
    Address(IpAddr),
    /// The first name of a verified certificate.
    Certificate(String),
    /// Not counted by itself: this machine.
    Uncounted,
}

/// Why a connection may not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Total,
    Peer,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    peers: HashMap<Key, usize>,
}

/// Counts connections; one for all listeners.
#[derive(Debug)]
pub(super) struct Gate {
    total_max: usize,
    peer_max: usize,
    counts: Mutex<Counts>,
}

/// A place inside, given back when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    key: Key,
}

impl Gate {
    pub(super) fn new(total_max: usize, peer_max: usize) -> Arc<Self> {
        Arc::new(Self { total_max, peer_max, counts: Mutex::default() })
    }

    pub(super) fn enter(self: &Arc<Self>, key: Key) -> Result<Pass, Full> {
        let mut counts = self.lock();
        if self.total_max <= counts.total {
            return Err(Full::Total);
        }
        self.count(&mut counts, &key)?;
        counts.total += 1;
        Ok(Pass { gate: Arc::clone(self), key })
    }

    fn count(&self, counts: &mut Counts, key: &Key) -> Result<(), Full> {
        let max = match key {
            Key::Uncounted => return Ok(()),
            // Strangers get half of what a known peer gets.
            Key::Handshake(_) => self.peer_max.div_ceil(2),
            Key::Address(_) | Key::Certificate(_) => self.peer_max,
        };
        let seen = counts.peers.get(key).copied().unwrap_or_default();
        if max <= seen {
            return Err(Full::Peer);
        }
        counts.peers.insert(key.clone(), seen + 1);
        Ok(())
    }

    fn uncount(counts: &mut Counts, key: &Key) {
        if let Some(seen) = counts.peers.get_mut(key) {
            *seen = seen.saturating_sub(1);
            if *seen == 0 {
                counts.peers.remove(key);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Counting cannot panic half-way, so a poisoned table is still right.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The peer is known better now and is counted as that.
    pub(super) fn become_known(&mut self, key: Key) -> Result<(), Full> {
        let mut counts = self.gate.lock();
        self.gate.count(&mut counts, &key)?;
        Gate::uncount(&mut counts, &self.key);
        self.key = key;
        Ok(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.gate.lock();
        counts.total = counts.total.saturating_sub(1);
        Gate::uncount(&mut counts, &self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn the_last_place_is_given_and_the_next_is_not() {
        let gate = Gate::new(3, 2);
        let first = gate.enter(Key::Address(address(1))).unwrap();
        let _second = gate.enter(Key::Address(address(1))).unwrap();
        assert_eq!(gate.enter(Key::Address(address(1))).unwrap_err(), Full::Peer);
        let _third = gate.enter(Key::Uncounted).unwrap();
        assert_eq!(gate.enter(Key::Uncounted).unwrap_err(), Full::Total);
        drop(first);
        let _again = gate.enter(Key::Address(address(1))).unwrap();
    }

    #[test]
    fn a_stranger_that_becomes_known_frees_its_place_among_strangers() {
        let gate = Gate::new(10, 2);
        let mut pass = gate.enter(Key::Handshake(address(1))).unwrap();
        assert_eq!(gate.enter(Key::Handshake(address(1))).unwrap_err(), Full::Peer, "half of two");
        pass.become_known(Key::Certificate("urn:nhs:ods:RJ1".into())).unwrap();
        let _next = gate.enter(Key::Handshake(address(1))).unwrap();
    }

    #[test]
    fn an_empty_house_has_an_empty_table() {
        let gate = Gate::new(10, 2);
        let mut pass = gate.enter(Key::Handshake(address(1))).unwrap();
        pass.become_known(Key::Certificate("a".into())).unwrap();
        drop(pass);
        assert_eq!(gate.lock().total, 0);
        assert!(gate.lock().peers.is_empty());
    }
}

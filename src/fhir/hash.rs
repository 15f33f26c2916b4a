//! A hash for names: of elements, of types, of codes in tables.
//!
//! # Not here
//!
//! What a sender chooses is never a key by this hash, only looked up with it: it could be made to collide.

use std::hash::Hasher;

/// The hash of Fowler, Noll and Vo: fast for short texts.
#[derive(Clone, Debug)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

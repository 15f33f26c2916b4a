//! A hash for names: of elements, of types, of codes in tables.
//!
//! # Not here
//!
//! What a sender chooses is never a key by this hash, only looked up with it: it could be made to collide.

use std::hash::Hasher;

/// The hash of Firefox and of rustc: eight bytes at a time, a rotation and a multiplication for each, fast for short texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameHash(u64);

impl NameHash {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for NameHash {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            self.add(rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // A table takes its place from the low bits and its mark from the high ones.
        self.0.rotate_left(26)
    }
}

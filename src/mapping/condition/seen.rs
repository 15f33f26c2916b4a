//! Different texts, counted.

use std::collections::BTreeSet;

/// Bytes of texts that are seen without allocating.
const SEEN_ROOM: usize = 128;

/// Different texts. Nearly always there are one or two short ones.
pub(super) struct Seen {
    /// How many.
    pub(super) count: usize,
    /// Short ones, each behind its length.
    short: [u8; SEEN_ROOM],
    used: usize,
    /// Those for which there was no room.
    others: BTreeSet<String>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { count: 0, short: [0; SEEN_ROOM], used: 0, others: BTreeSet::new() }
    }
}

impl Seen {
    /// Adds one, where it is another.
    pub(super) fn add(&mut self, text: &str) {
        let mut known = self.short.get(..self.used).unwrap_or_default();
        while let Some((length, rest)) = known.split_first() {
            let Some((one, others)) = rest.split_at_checked(usize::from(*length)) else { break };
            if one == text.as_bytes() {
                return;
            }
            known = others;
        }
        let room = self.short.get_mut(self.used..).and_then(|room| room.split_first_mut());
        match (u8::try_from(text.len()), room) {
            (Ok(length), Some((first, room))) if text.len() <= room.len() => {
                *first = length;
                room.iter_mut().zip(text.bytes()).for_each(|(slot, byte)| *slot = byte);
                self.used += 1 + text.len();
                self.count += 1;
            }
            _ => self.count += usize::from(self.others.insert(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_once_however_many_and_long_they_are() {
        let long = "x".repeat(300);
        let texts: Vec<String> = (0..99).map(|n| format!("text {}", n % 40)).chain([long.clone(), long, "a".to_owned()]).collect();
        let mut seen = Seen::default();
        texts.iter().for_each(|text| seen.add(text));
        assert_eq!(seen.count, 42);
    }
}

//! Which segments a message has, by name: found once, and asked by all mappings that look at it.

use crate::hl7::{Message, narrow, wide};

/// Different segment names in one message; no version of the standard has so many.
const IDS_MAX: usize = 1_000;

/// Segments of one name in the order of the message: a slice of the index, or of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segments {
    /// Which group, from 1; 0 for the index.
    pub(super) group: u32,
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Segments {
    /// How many.
    pub(super) fn len(self) -> usize {
        wide(self.to - self.from)
    }

    /// None.
    pub(super) fn is_empty(self) -> bool {
        self.to <= self.from
    }
}

/// A segment name that the message has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    /// As [`number_of`] gives it.
    pub(super) number: u32,
    pub(super) segments: Segments,
    /// The fields in which one of its segments holds something, as bits of [`field_bit`]. Most rules ask for a field that is empty:
    /// one look here answers them, before scopes, repetitions and components are asked.
    pub(super) filled: u64,
}

/// Places for segment names: most messages have a dozen.
const NAMES_ROOM: usize = 64;

/// Segment names with the places of their segments.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) names: Vec<Name>,
    pub(super) places: Vec<u32>,
    /// For each place of [`room_of`] the first name that has it, from 1: which name a path means is asked for every path.
    first: [u16; NAMES_ROOM],
}

/// The place of a segment name among [`NAMES_ROOM`].
#[inline]
fn room_of(number: u32) -> usize {
    // The upper bits of a product depend on all letters.
    wide(number.wrapping_mul(0x9E37_79B1) >> 26)
}

/// The name of a segment as one number; 0 for what is no name.
#[inline]
pub(super) fn number_of(id: &str) -> u32 {
    match id.as_bytes() {
        [a, b, c] => u32::from_be_bytes([0, *a, *b, *c]),
        _ => 0,
    }
}

impl Index {
    /// Which of the names has this number.
    #[inline]
    pub(super) fn known(&self, number: u32) -> Option<usize> {
        let first = usize::from(*self.first.get(room_of(number))?).checked_sub(1)?;
        if self.names.get(first).is_some_and(|name| name.number == number) {
            return Some(first);
        }
        self.names.iter().position(|name| name.number == number)
    }

    /// Of a message.
    pub(super) fn of(message: &Message) -> Self {
        let mut next = 0;
        let names = message.names().iter().take(IDS_MAX).map(|([a, b, c], count)| {
            let from = narrow(next);
            next += count;
            Name { number: u32::from_be_bytes([0, *a, *b, *c]), segments: Segments { group: 0, from, to: from }, filled: 0 }
        });
        let mut index = Self { names: names.collect(), places: vec![0; next], first: [0; NAMES_ROOM] };
        for (place, name) in (1..).zip(&index.names) {
            if let Some(first) = index.first.get_mut(room_of(name.number)).filter(|first| **first == 0) {
                *first = place;
            }
        }
        for (at, name) in message.segment_names().enumerate() {
            let Some(name) = name.and_then(|name| index.names.get_mut(name)) else { continue };
            name.filled |= message.filled_fields(at);
            if let Some(place) = index.places.get_mut(wide(name.segments.to)) {
                *place = narrow(at);
                name.segments.to += 1;
            }
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::ReadOptions;

    #[test]
    fn every_name_of_a_message_is_known_and_no_other_also_where_many_share_a_place() {
        let letter = |n: u16| char::from(b'A' + u8::try_from(n).unwrap());
        let names: Vec<String> = (0..300_u16).map(|n| format!("Z{}{}", letter(n / 26), letter(n % 26))).collect();
        let segments: Vec<String> = names.iter().step_by(2).map(|name| format!("{name}|x\r")).collect();
        let message = Message::read(format!("MSH|^~\\&|A\r{}", segments.concat()).as_bytes(), &ReadOptions::default()).unwrap();
        let index = Index::of(&message);
        for (number, name) in names.iter().enumerate() {
            let known = index.known(number_of(name)).and_then(|at| index.names.get(at)).map(|name| name.number);
            assert_eq!(known, (number % 2 == 0).then_some(number_of(name)), "{name}");
        }
        assert_eq!(index.known(0), None);
    }
}

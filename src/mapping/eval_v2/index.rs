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

/// Segment names with the places of their segments.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) names: Vec<Name>,
    pub(super) places: Vec<u32>,
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
    /// Of a message.
    pub(super) fn of(message: &Message) -> Self {
        let mut next = 0;
        let names = message.names().iter().take(IDS_MAX).map(|([a, b, c], count)| {
            let from = narrow(next);
            next += count;
            Name { number: u32::from_be_bytes([0, *a, *b, *c]), segments: Segments { group: 0, from, to: from }, filled: 0 }
        });
        let mut index = Self { names: names.collect(), places: vec![0; next] };
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

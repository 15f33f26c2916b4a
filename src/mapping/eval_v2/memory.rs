//! What paths found in a message, so that it is looked for once: conditions ask the same few paths again and again.
//!
//! # Invariants
//!
//! - An answer is kept for a path (by its number) and a scope, or a path and the segment that a scope stands on. A place keeps the last answer that belongs to it; one that was lost is
//!   looked for again, never guessed.

use std::borrow::Cow;
use std::ops::Range;

use super::super::path::{Root, V2Path};
use super::super::view::{is_blank, trimmed};
use super::index::number_of;
use super::{Scope, V2View, name_bit};
use crate::hl7::{Message, Repetition, Span, narrow, wide};

/// How many bits of a scope's number in the memory are its own; above them stands whose it is.
pub(super) const SCOPE_BITS: u32 = 24;

/// Places for answers, at least and at most: a power of two each.
const PLACES_MIN: usize = 256;
const PLACES_MAX: usize = 4_096;
/// Paths that conditions ask of a segment. Where there are no more places than answers they push each other out.
const PATHS_OF_SEGMENT: usize = 24;
/// How far apart the places of two scopes lie: the paths of a file have numbers that follow each other.
const APART: u32 = 61;

/// A part of a message, and whether it is null.
pub(super) type Part = (Span, bool);

/// What is asked: the number of a path, and the scope in which it is asked, or, with [`IN_SEGMENT`], the segment.
type Key = (u32, u32);

/// The bit of a path's number that says that the other number is that of a segment.
const IN_SEGMENT: u32 = 1 << 31;

/// What a path found.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// One part.
    One(Part),
    /// Several: which of the parts that are kept.
    Several(Range<usize>),
}

/// The answers.
#[derive(Debug)]
pub(super) struct Memory {
    /// How many places there will be once something is kept.
    room: usize,
    /// Number of the path, scope, kind of the answer, and two numbers of it.
    places: Vec<[u32; 5]>,
    parts: Vec<Part>,
}

const NOTHING: u32 = 0;
const ONE: u32 = 1;
const ONE_NULL: u32 = 2;
const SEVERAL: u32 = 3;
/// One that conditions compare as it stands: without escapes, and without blanks at its ends.
const PLAIN: u32 = 4;

impl Memory {
    /// For a message of so many segments.
    pub(super) fn of(segments: usize) -> Self {
        let room = segments.saturating_mul(PATHS_OF_SEGMENT).clamp(PLACES_MIN, PLACES_MAX).next_power_of_two();
        Self { room, places: Vec::new(), parts: Vec::new() }
    }

    #[inline]
    fn place(&self, (number, scope): Key) -> usize {
        wide(number.wrapping_add(scope.wrapping_mul(APART))) & (self.room - 1)
    }

    /// What a path is known to find in a scope.
    #[inline]
    pub(super) fn known(&self, key: Key) -> Option<Found> {
        let [number, scope, kind, a, b] = *self.places.get(self.place(key))?;
        if (number, scope) != key {
            return None;
        }
        Some(match kind {
            NOTHING => Found::Nothing,
            SEVERAL => Found::Several(wide(a)..wide(b)),
            kind => Found::One((Span { start: a, end: b }, kind == ONE_NULL)),
        })
    }

    /// The only text that a path is known to find; the empty text for nothing, [`None`] where more has to be done for it.
    #[inline]
    fn plain<'m>(&self, key: Key, message: &'m Message) -> Option<&'m str> {
        let [number, scope, kind, start, end] = *self.places.get(self.place(key))?;
        match kind {
            _ if (number, scope) != key => None,
            NOTHING => Some(""),
            PLAIN => Some(message.text_of(Span { start, end })),
            _ => None,
        }
    }

    /// Says that the part which was kept for a path is plain.
    fn is_plain(&mut self, key: Key) {
        let place = self.place(key);
        if let Some([number, scope, kind @ ONE, ..]) = self.places.get_mut(place)
            && (*number, *scope) == key
        {
            *kind = PLAIN;
        }
    }

    /// Keeps one more part of the answer that [`Memory::keep`] ends.
    pub(super) fn add(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// How many parts there are.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// One of the parts.
    pub(super) fn part(&self, at: usize) -> Option<Part> {
        self.parts.get(at).copied()
    }

    /// Keeps an answer: the parts from `first` on.
    pub(super) fn keep(&mut self, key: Key, first: usize) -> Found {
        let found = match self.parts.get(first..) {
            None | Some([]) => Found::Nothing,
            Some([one]) => {
                let one = *one;
                self.parts.truncate(first);
                Found::One(one)
            }
            Some(_) => Found::Several(first..self.parts.len()),
        };
        self.note(key, &found);
        found
    }

    /// Keeps what is known already for another scope too.
    pub(super) fn note(&mut self, key: Key, found: &Found) {
        if self.places.is_empty() {
            self.places = vec![[0; 5]; self.room];
        }
        let (kind, a, b) = match found {
            Found::Nothing => (NOTHING, 0, 0),
            Found::One((span, false)) => (ONE, span.start, span.end),
            Found::One((span, true)) => (ONE_NULL, span.start, span.end),
            Found::Several(parts) => (SEVERAL, narrow(parts.start), narrow(parts.end)),
        };
        let place = self.place(key);
        if let Some(place) = self.places.get_mut(place) {
            *place = [key.0, key.1, kind, a, b];
        }
    }
}

/// The key of what a path finds in the segment that its scope stands on.
#[inline]
fn in_segment(path: &V2Path, segment: u32) -> Key {
    (path.number | IN_SEGMENT, segment)
}

impl V2View<'_, '_> {
    /// The innermost scope that owns segments of a name, or may: a path to that name finds the same in all scopes inside it. `None`
    /// where the field is empty in all segments of this name.
    #[inline]
    fn owner(&self, scope: Scope, name: u32, field: usize) -> Option<u32> {
        let scopes = self.scopes.borrow();
        let mut at = scope.number;
        let inside = |at: u32| at.checked_sub(1).and_then(|at| scopes.get(wide(at)));
        if inside(at).is_some_and(|inside| inside.name == name) {
            return Some(at);
        }
        let bit = name_bit(self.filled(name, field)?);
        while let Some(inside) = inside(at).filter(|inside| inside.owns & bit == 0) {
            at = inside.around;
        }
        Some(at)
    }

    /// What a path that can be remembered finds in a scope, as conditions compare it; `None` where it is none of these.
    #[inline]
    fn found(&self, scope: Scope, path: &V2Path) -> Option<Found> {
        if path.number == 0 || scope.number >> SCOPE_BITS != 0 {
            return None;
        }
        // What a path finds in the segment that its scope stands on depends on nothing else: all scopes on it share the answer.
        if let (Root::Segment(id, None), Some(_)) = (&path.root, &path.field)
            && let Some(segment) = self.own_segment(scope, number_of(id))
        {
            let key = in_segment(path, segment);
            let known = self.memory.borrow().known(key);
            return Some(known.unwrap_or_else(|| self.find((scope, Some(segment)), path, key)));
        }
        // Mostly it was asked in this very scope; which scope owns its segment need not be found again then.
        let here = self.sharer? | scope.number;
        if let Some(found) = self.memory.borrow().known((path.number, here)) {
            return Some(found);
        }
        let at = match (&path.root, &path.field) {
            (Root::Let(_), _) => here,
            (Root::Segment(..), None) => return None,
            (Root::Segment(id, _), Some((field, _))) => match self.owner(scope, number_of(id), *field) {
                // The whole message is the same for all views of it.
                Some(0) => 0,
                Some(at) => self.sharer? | at,
                None => {
                    self.memory.borrow_mut().note((path.number, here), &Found::Nothing);
                    return Some(Found::Nothing);
                }
            },
        };
        let key = (path.number, at);
        let known = self.memory.borrow().known(key);
        let found = known.unwrap_or_else(|| self.find((scope, None), path, key));
        if at != here {
            self.memory.borrow_mut().note((path.number, here), &found);
        }
        Some(found)
    }

    /// The segment with this name that a scope stands on, where it stands on no repetition.
    #[inline]
    fn own_segment(&self, scope: Scope, name: u32) -> Option<u32> {
        let scopes = self.scopes.borrow();
        let inside = scopes.get(wide(scope.number.checked_sub(1)?))?;
        (inside.name == name && !inside.has_current).then_some(inside.on)
    }

    /// Looks for what [`V2View::found`] does not know yet; in this segment, where the scope stands on it.
    fn find(&self, (scope, own): (Scope, Option<u32>), path: &V2Path, key: Key) -> Found {
        let mut memory = self.memory.borrow_mut();
        let first = memory.len();
        let only = match (own, &path.field) {
            (Some(segment), Some((field, among))) if self.spend(1) => {
                self.only_among(self.first_repetition(wide(segment), *field), among.as_ref())
            }
            _ => self.only(scope, path),
        };
        let mut is_plain = false;
        let mut look = |repetition: &Repetition| {
            let Some(part) = self.part(repetition, path, true) else { return false };
            let text = self.text(part);
            if !is_blank(&text) {
                is_plain = matches!(text, Cow::Borrowed(text) if trimmed(text).len() == text.len());
                memory.add(part);
            }
            false
        };
        match only {
            Some(repetition) => {
                repetition.as_ref().map(&mut look);
            }
            None => {
                self.any_whole(scope, path, false, &mut look);
            }
        }
        let found = memory.keep(key, first);
        if is_plain {
            memory.is_plain(key);
        }
        found
    }

    /// The only text that a path finds, as conditions compare it; the empty text where there is none. `None` where it finds several, or
    /// one that has escapes.
    #[inline]
    pub(super) fn only_remembered(&self, scope: Scope, path: &V2Path) -> Option<&str> {
        // Most are known, and plain.
        if let (Root::Segment(id, None), Some(_)) = (&path.root, &path.field)
            && path.number != 0
            && let Some(segment) = self.own_segment(scope, number_of(id))
            && let Some(plain) = self.memory.borrow().plain(in_segment(path, segment), self.message)
        {
            return Some(plain);
        }
        match self.found(scope, path)? {
            Found::Nothing => Some(""),
            Found::One(part) => match self.text(part) {
                Cow::Borrowed(text) => Some(trimmed(text)),
                Cow::Owned(_) => None,
            },
            Found::Several(_) => None,
        }
    }

    /// Shows the texts that a path finds, as conditions compare them, until one is such; `None` where they cannot be remembered.
    #[inline]
    pub(super) fn any_remembered(&self, scope: Scope, path: &V2Path, such: &mut dyn FnMut(&str) -> bool) -> Option<bool> {
        let mut is_such = |part: Part| such(trimmed(&self.text(part)));
        Some(match self.found(scope, path)? {
            Found::Nothing => false,
            Found::One(part) => is_such(part),
            // Asking may remember more: nothing stays borrowed.
            Found::Several(mut parts) => parts.any(|at| {
                let part = self.memory.borrow().part(at);
                part.is_some_and(&mut is_such)
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(memory: &mut Memory, key: Key, parts: &[Part]) -> String {
        let first = memory.len();
        parts.iter().for_each(|part| memory.add(*part));
        format!("{:?}", memory.keep(key, first))
    }

    #[test]
    fn an_answer_is_known_until_another_takes_its_place() {
        let (a, b) = ((Span { start: 3, end: 5 }, false), (Span { start: 7, end: 9 }, true));
        let mut memory = Memory::of(1);
        let places = narrow(PLACES_MIN);
        assert!(memory.known((1, 0)).is_none());
        for (number, scope, parts) in [(1, 0, vec![]), (2, 0, vec![a]), (3, 0, vec![b]), (4, 0, vec![a, b]), (1, 7, vec![b, a])] {
            let said = kept(&mut memory, (number, scope), &parts);
            assert_eq!(memory.known((number, scope)).map(|found| format!("{found:?}")), Some(said), "{number} in {scope}");
        }
        assert!(matches!(memory.known((4, 0)), Some(Found::Several(parts)) if parts.clone().filter_map(|at| memory.part(at)).eq([a, b])));
        assert!(memory.known((1, 0)).is_some() && memory.known((2, 7)).is_none() && memory.known((1 | IN_SEGMENT, 0)).is_none());
        // Another number has the place of number 1 in scope 0 too.
        kept(&mut memory, (1 + places, 0), &[]);
        assert!(memory.known((1, 0)).is_none() && memory.known((1 + places, 0)).is_some());
    }
}

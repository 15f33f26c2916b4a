//! An HL7 v2 message as paths see it: segments in scopes, repetitions chosen once, places with their bytes.
//!
//! # Scopes
//!
//! A scope says, for some segment names, which segments a record owns; all other names mean the whole message.
//! `over = "NK1"` owns one NK1; `span = ["OBX"]` the OBX up to the next; `group_by` all of one group;
//! `over = "PID-3"` one repetition, which is then what `PID-3` means.
//!
//! Scopes are entries of one list, each with the number of the scope around it, so that entering a record copies nothing. What a
//! scope owns is nearly always a slice of the index; only groups have lists of their own.
//!
//! # Invariants
//!
//! - A path without a selector means the first segment and the first repetition that its scope has.
//! - HL7 null is null in all its parts: where PD1-3 is `""`, PD1-3.3 is null too.
//! - Work is counted; a message that repeats itself into millions of steps finds nothing more and says so.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use jiff::civil::Date;

use super::explain::{At, Notes, Place};
use super::load::Let;
use super::path::{Path, Root, Selector, V2Path};
use super::record::{Over, Record};
use super::view::{Entered, Hit, Mode, View, is_blank, trimmed};
use crate::hl7::{Condition, Message, Piece};

/// Segments and repetitions that reading one message may touch.
const WORK_MAX: u64 = 3_000_000;

/// Different segment names in one message; no version of the standard has so many.
const IDS_MAX: usize = 1_000;

/// A place in a message, before somebody keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    segment: usize,
    /// From 1; 0 for the whole segment.
    field: usize,
    /// From 1.
    repetition: usize,
    component: Option<usize>,
    sub: Option<usize>,
    bytes: (usize, usize),
}

/// One repetition of a field.
#[derive(Clone, Copy, Debug)]
struct Repetition<'m> {
    segment: usize,
    field: usize,
    /// From 1.
    number: usize,
    piece: Piece<'m>,
}

/// Scopes that most messages need.
const SCOPES_ROOM: usize = 32;

/// Where MSH-2 begins, which has no components.
const DELIMITERS: usize = 4;

/// Components that are found at once.
const CUTS: usize = 16;

/// Where the first components of a repetition end: what is asked for one of them is soon asked for the next.
#[derive(Debug, Default)]
struct Cuts {
    start: usize,
    length: usize,
    count: usize,
    ends: [usize; CUTS],
}

/// Segments of one name in the order of the message: a slice of the index, or of a group.
#[derive(Clone, Copy, Debug, Default)]
struct Segments {
    group: Option<usize>,
    from: usize,
    to: usize,
}

impl Segments {
    fn len(self) -> usize {
        self.to - self.from
    }
}

/// What a record owns of one segment name (by its place in the index).
#[derive(Clone, Copy, Debug)]
struct Owned {
    name: usize,
    segments: Segments,
}

/// Texts that are remembered.
const MEMO: usize = 256;

/// The text of a part of a repetition: conditions ask for the same few parts again and again.
#[derive(Clone, Copy, Debug, Default)]
struct Seen<'m> {
    /// [`key`]; 0 for none.
    key: u64,
    text: Option<&'m str>,
}

/// A number that only the same part of the first repetition of a field has, and no [`key`]; 0 where one of the numbers does not fit.
fn key_of_first(segment: usize, path: &V2Path, field: usize) -> u64 {
    let parts = [field, path.component.unwrap_or(0), path.sub.unwrap_or(0)];
    if segment > 0xF_FFFF || parts.iter().any(|part| *part > 0xFFF) {
        return 0;
    }
    parts.into_iter().fold(1 << 27 | u64::try_from(segment).unwrap_or(0), |key, part| key << 12 | u64::try_from(part).unwrap_or(0))
}

/// A number that only the same part of the same repetition has; 0 where one of the numbers does not fit.
fn key(repetition: &Repetition<'_>, path: &V2Path) -> u64 {
    let (component, sub) = (path.component.unwrap_or(0), path.sub.unwrap_or(0));
    // A repetition begins where no other does, unless it is empty: then its end is the beginning of none.
    let (start, is_empty) = (repetition.piece.start, repetition.piece.text.is_empty());
    if is_empty || component > 0xFFF || sub > 0xFFF || start > 0xFFFF_FFFF {
        return 0;
    }
    [component, sub].into_iter().fold(u64::try_from(start).unwrap_or(0), |key, part| key << 12 | u64::try_from(part).unwrap_or(0))
}

/// What a record's paths may see: a scope by its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    number: usize,
    /// The repetitions that `over` stands on count for nothing: a name of `[let]` is the same for all of them.
    bare: bool,
}

#[derive(Clone, Debug, Default)]
struct Inside<'m> {
    /// The scope around it; none around the whole message.
    around: Option<usize>,
    /// Which of the list of what scopes own.
    owned: Range<usize>,
    /// The repetition that `over` stands on.
    current: Option<Repetition<'m>>,
    /// The segment that this scope stands on: the first that it sees of its name.
    on: Option<usize>,
    /// Its name; 0 where there is none.
    name: u32,
    /// It stands on a repetition, or a scope around it does.
    has_current: bool,
}

/// Segment names with the places of their segments.
#[derive(Debug, Default)]
struct Index {
    names: Vec<(u32, Segments)>,
    places: Vec<usize>,
}

/// The name of a segment as one number.
fn number_of([a, b, c]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

impl Index {
    fn of(message: &Message) -> Self {
        let mut next = 0;
        let names = message.names().iter().take(IDS_MAX).map(|(name, count)| {
            let from = next;
            next += count;
            (number_of(*name), Segments { group: None, from, to: from })
        });
        let mut index = Self { names: names.collect(), places: vec![0; next] };
        for (at, name) in message.segment_names().enumerate() {
            let Some((_, segments)) = name.and_then(|name| index.names.get_mut(name)) else { continue };
            if let Some(place) = index.places.get_mut(segments.to) {
                *place = at;
                segments.to += 1;
            }
        }
        index
    }
}

/// The place of a key among what is remembered.
fn slot(key: u64) -> usize {
    usize::try_from(key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).unwrap_or(0)
}

/// A message, ready to be asked.
pub(super) struct V2View<'m, 'l> {
    message: &'m Message,
    lets: &'l [Let],
    index: Rc<Index>,
    work: Cell<u64>,
    scopes: RefCell<Vec<Inside<'m>>>,
    owned: RefCell<Vec<Owned>>,
    groups: RefCell<Vec<Vec<usize>>>,
    /// What `[let]` chose: scope, name, repetition.
    chosen: RefCell<Vec<(usize, usize, Option<Repetition<'m>>)>>,
    cuts: RefCell<Cuts>,
    memo: RefCell<Vec<Seen<'m>>>,
    received: Option<Date>,
}

impl<'m, 'l> V2View<'m, 'l> {
    /// The same message for another mapping.
    pub fn with<'n>(&self, lets: &'n [Let]) -> V2View<'m, 'n> {
        V2View::of(self.message, lets, Rc::clone(&self.index))
    }

    /// Indexes a message by segment names.
    pub fn new(message: &'m Message, lets: &'l [Let]) -> Self {
        Self::of(message, lets, Rc::new(Index::of(message)))
    }

    fn of(message: &'m Message, lets: &'l [Let], index: Rc<Index>) -> Self {
        let mut scopes = Vec::with_capacity(SCOPES_ROOM);
        scopes.push(Inside::default());
        let (scopes, owned) = (RefCell::new(scopes), RefCell::new(Vec::with_capacity(SCOPES_ROOM)));
        let (groups, chosen) = (RefCell::default(), RefCell::default());
        let (cuts, memo) = (RefCell::default(), RefCell::default());
        Self { message, lets, index, work: Cell::new(0), scopes, owned, groups, chosen, cuts, memo, received: None }
    }

    /// The same view of a message that came on this day.
    pub fn received(self, received: Option<Date>) -> Self {
        Self { received, ..self }
    }

    fn spend(&self, steps: usize) -> bool {
        let spent = self.work.get().saturating_add(u64::try_from(steps).unwrap_or(u64::MAX));
        self.work.set(spent);
        spent <= WORK_MAX
    }

    /// The place of a segment name in the index; none where the message has no such segment.
    fn known(&self, id: &str) -> Option<usize> {
        let id = number_of(id.as_bytes().try_into().ok()?);
        self.index.names.iter().position(|(known, _)| *known == id)
    }

    /// One of some segments, from 0.
    fn segment(&self, segments: Segments, at: usize) -> Option<usize> {
        let at = Some(segments.from + at).filter(|at| *at < segments.to)?;
        match segments.group {
            None => self.index.places.get(at).copied(),
            Some(group) => self.groups.borrow().get(group)?.get(at).copied(),
        }
    }

    fn each(&self, segments: Segments) -> impl Iterator<Item = usize> {
        (0..segments.len()).filter_map(move |at| self.segment(segments, at))
    }

    /// How many of some segments fulfil what the first ones do and the others do not.
    fn partition_point(&self, segments: Segments, such: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (0, segments.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.segment(segments, middle).is_some_and(&such) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The segments with this name that a scope sees.
    fn visible(&self, scope: Scope, id: &str) -> Segments {
        let Some(known) = self.known(id) else { return Segments::default() };
        let whole = || self.index.names.get(known).map(|(_, segments)| *segments).unwrap_or_default();
        if scope.number == 0 {
            return whole();
        }
        let (scopes, owned) = (self.scopes.borrow(), self.owned.borrow());
        let mut at = Some(scope.number);
        while let Some(inside) = at.and_then(|at| scopes.get(at)) {
            let here = owned.get(inside.owned.clone()).unwrap_or_default();
            if let Some(owned) = here.iter().rev().find(|owned| owned.name == known) {
                return owned.segments;
            }
            at = inside.around;
        }
        whole()
    }

    /// The first segment with this name that a scope sees.
    fn first_segment(&self, scope: Scope, id: &str) -> Option<usize> {
        let name = number_of(id.as_bytes().try_into().ok()?);
        let stands = self.scopes.borrow().get(scope.number).filter(|inside| inside.name == name).and_then(|inside| inside.on);
        stands.or_else(|| self.segment(self.visible(scope, id), 0)).filter(|_| self.spend(1))
    }

    /// Whether a scope or one around it stands on a repetition.
    fn has_current(&self, scope: Scope) -> bool {
        !scope.bare && self.scopes.borrow().get(scope.number).is_some_and(|inside| inside.has_current)
    }

    /// The repetition of a field that a scope stands on.
    fn current(&self, scope: Scope, segment: usize, field: usize) -> Option<Repetition<'m>> {
        if !self.has_current(scope) {
            return None;
        }
        let scopes = self.scopes.borrow();
        let mut at = Some(scope.number);
        while let Some(inside) = at.and_then(|at| scopes.get(at)) {
            if let Some(current) = inside.current.filter(|current| current.segment == segment && current.field == field) {
                return Some(current);
            }
            at = inside.around;
        }
        None
    }

    /// Shows the segments that a path means until one is such.
    fn any_segment(
        &self,
        scope: Scope,
        id: &str,
        (selector, every): (Option<&Selector>, bool),
        such: &mut dyn FnMut(usize) -> bool,
    ) -> bool {
        let all = self.visible(scope, id);
        if !self.spend(1 + if selector.is_some() || every { all.len() } else { 0 }) {
            return false;
        }
        let nth = |at: usize| self.segment(all, at);
        match selector {
            None if !every => nth(0).is_some_and(such),
            Some(Selector::All) | None => self.each(all).any(such),
            Some(Selector::Last) => all.len().checked_sub(1).and_then(nth).is_some_and(such),
            Some(Selector::Number(number)) => number.checked_sub(1).and_then(nth).is_some_and(such),
            Some(Selector::Where(condition)) => self.each(all).any(|segment| self.segment_fits(segment, condition) && such(segment)),
        }
    }

    /// The segments that a path means.
    fn segments(&self, scope: Scope, id: &str, selector: Option<&Selector>) -> Vec<usize> {
        let mut segments = Vec::new();
        self.any_segment(scope, id, (selector, true), &mut |segment| {
            segments.push(segment);
            false
        });
        segments
    }

    fn segment_fits(&self, segment: usize, condition: &Condition) -> bool {
        let (field, rest) = condition.element.split_first().map_or((0, &[][..]), |(field, rest)| (*field, rest));
        let equal = match self.message.field(segment, field) {
            Some(piece) => self.message.each_repetition(piece).any(|repetition| self.element_is(repetition, rest, &condition.text)),
            None => condition.text.is_empty(),
        };
        equal == condition.equal
    }

    fn repetition_fits(&self, repetition: Piece<'m>, condition: &Condition) -> bool {
        self.element_is(repetition, &condition.element, &condition.text) == condition.equal
    }

    /// Does a part of a repetition (all of it, where no part is named: or its first part) say this text.
    fn element_is(&self, repetition: Piece<'m>, element: &[usize], text: &str) -> bool {
        let says = |piece: Piece<'m>| trimmed(&self.message.unescape(piece)) == text;
        match element {
            [] => says(repetition) || says(self.message.first_part(repetition)),
            [component] => match self.message.component(repetition, *component, None) {
                Some(piece) => says(piece) || self.message.component(repetition, *component, Some(1)).is_some_and(says),
                None => text.is_empty(),
            },
            [component, sub, ..] => self.message.component(repetition, *component, Some(*sub)).map_or(text.is_empty(), says),
        }
    }

    /// Shows the repetitions that a path means in a segment until one is such.
    fn any_repetition(
        &self,
        scope: Scope,
        segment: usize,
        (field, selector, every): (usize, Option<&Selector>, bool),
        such: &mut dyn FnMut(Repetition<'m>) -> bool,
    ) -> bool {
        let fits = |repetition: &Repetition<'m>| match selector {
            Some(Selector::Where(condition)) => self.repetition_fits(repetition.piece, condition),
            _ => true,
        };
        if let Some(current) = self.current(scope, segment, field) {
            // Inside `over`, the field is this one repetition; only a condition can still say no.
            return fits(&current) && such(current);
        }
        let Some(whole) = self.message.field(segment, field).filter(|whole| !whole.text.is_empty()) else { return false };
        let nth = |at: usize, piece| Repetition { segment, field, number: at + 1, piece };
        let mut all = self.message.each_repetition(whole).enumerate().map(|(at, piece)| nth(at, piece));
        if selector.is_none() && !every {
            return all.next().is_some_and(such);
        }
        let total = self.message.repetition_count(whole);
        if total > 1 && !self.spend(total) {
            return false;
        }
        match selector {
            Some(Selector::All) | None => all.any(such),
            Some(Selector::Last) => all.last().is_some_and(such),
            Some(Selector::Number(number)) => number.checked_sub(1).and_then(|at| all.nth(at)).is_some_and(such),
            Some(Selector::Where(_)) => all.any(|repetition| fits(&repetition) && such(repetition)),
        }
    }

    /// The repetition that a `[let]` names here, chosen once for each scope.
    fn chosen(&self, scope: Scope, index: usize) -> Option<Repetition<'m>> {
        let known =
            self.chosen.borrow().iter().find(|(number, name, _)| (*number, *name) == (scope.number, index)).map(|(.., found)| *found);
        if let Some(known) = known {
            return known;
        }
        let sources = self.lets.get(index).map_or(&[][..], |one| one.sources.as_slice());
        let found = sources.iter().filter_map(Path::v2).find_map(|path| {
            let mut found = None;
            self.any_whole(Scope { bare: true, ..scope }, path, false, &mut |repetition| {
                found = (!repetition.piece.text.is_empty()).then_some(repetition);
                found.is_some()
            });
            found
        });
        self.chosen.borrow_mut().push((scope.number, index, found));
        found
    }

    /// Shows the repetitions that a path with a field means, whatever part of them it names, until one is such.
    fn any_whole(&self, scope: Scope, path: &V2Path, every: bool, such: &mut dyn FnMut(Repetition<'m>) -> bool) -> bool {
        match (&path.root, &path.field) {
            (Root::Let(index), _) => self.chosen(scope, *index).is_some_and(such),
            (Root::Segment(id, selector), Some((field, among))) => {
                let asked = (*field, among.as_ref(), every);
                self.any_segment(scope, id, (selector.as_ref(), every), &mut |segment| self.any_repetition(scope, segment, asked, such))
            }
            (Root::Segment(..), None) => false,
        }
    }

    /// What is remembered under a key.
    fn seen(&self, key: u64) -> Option<Option<&'m str>> {
        self.memo.borrow().get(slot(key)).filter(|seen| key != 0 && seen.key == key).map(|seen| seen.text)
    }

    fn remember(&self, key: u64, text: Option<&'m str>) {
        let mut memo = self.memo.borrow_mut();
        if memo.is_empty() {
            memo.resize(MEMO, Seen::default());
        }
        if let Some(seen) = memo.get_mut(slot(key)).filter(|_| key != 0) {
            *seen = Seen { key, text };
        }
    }

    /// The repetition that a path without any selector means; the outer `None`: it has one.
    #[expect(clippy::option_option, reason = "`nothing is there` and `look further` are different answers")]
    fn plain(&self, scope: Scope, path: &V2Path) -> Option<Option<Repetition<'m>>> {
        let (Root::Segment(id, None), Some((field, None))) = (&path.root, &path.field) else { return None };
        let Some(segment) = self.first_segment(scope, id) else { return Some(None) };
        let first = || {
            let whole = self.message.field(segment, *field).filter(|whole| !whole.text.is_empty())?;
            Some(Repetition { segment, field: *field, number: 1, piece: self.message.each_repetition(whole).next()? })
        };
        Some(self.current(scope, segment, *field).or_else(first))
    }

    /// Component `number` of a repetition, or a part of it.
    fn component(&self, repetition: Piece<'m>, number: usize, sub: Option<usize>) -> Option<Piece<'m>> {
        let (Some(delimiter), Some(before)) = (self.message.delimiters().component, number.checked_sub(2)) else {
            return self.message.component(repetition, number, sub);
        };
        if repetition.start <= DELIMITERS {
            return self.message.component(repetition, number, sub);
        }
        let mut cuts = self.cuts.borrow_mut();
        if (cuts.start, cuts.length) != (repetition.start, repetition.text.len()) {
            (cuts.start, cuts.length, cuts.count) = (repetition.start, repetition.text.len(), 0);
            let Cuts { ends, count, .. } = &mut *cuts;
            let delimiters = repetition.text.bytes().enumerate().filter(|(_, byte)| *byte == delimiter);
            for (slot, (at, _)) in ends.iter_mut().zip(delimiters) {
                *slot = at;
                *count += 1;
            }
        }
        if cuts.count <= before {
            // There are no more, or more than were found.
            return if cuts.count < CUTS { None } else { self.message.component(repetition, number, sub) };
        }
        let from = cuts.ends.get(before)? + 1;
        let to = if before + 1 < cuts.count { *cuts.ends.get(before + 1)? } else { repetition.text.len() };
        if before + 1 >= CUTS {
            return self.message.component(repetition, number, sub);
        }
        let whole = Piece { text: repetition.text.get(from..to)?, start: repetition.start + from };
        match sub {
            Some(sub) => self.message.sub_component(whole, sub),
            None => Some(whole),
        }
    }

    /// Separators at the end say nothing (protocol rules, section 8).
    fn without_trailing(&self, piece: Piece<'m>) -> Piece<'m> {
        let delimiters = self.message.delimiters();
        let is_one = |c: char| u8::try_from(c).is_ok_and(|byte| [delimiters.component, delimiters.sub].contains(&Some(byte)));
        Piece { text: piece.text.trim_end_matches(is_one), ..piece }
    }

    /// The part of a repetition that a path names; `None` where it is not there or blank.
    fn part(&self, repetition: Repetition<'m>, path: &V2Path, scalar: bool) -> Option<Hit<'m, Spot>> {
        let hit = |piece: Piece<'m>, null: bool| {
            let bytes = (piece.start, piece.start + piece.text.len());
            let place = Spot {
                segment: repetition.segment,
                field: repetition.field,
                repetition: repetition.number,
                component: path.component,
                sub: path.sub,
                bytes,
            };
            let text = if null { Cow::Borrowed(piece.text) } else { self.message.unescape(piece) };
            (!is_blank(&text)).then_some(Hit { text, null, place })
        };
        if repetition.piece.is_null() {
            return hit(repetition.piece, true);
        }
        let piece = match (path.component, path.sub) {
            (None, _) if scalar => self.message.first_part(repetition.piece),
            (None, _) => self.without_trailing(repetition.piece),
            (Some(component), None) => {
                let whole = self.component(repetition.piece, component, None)?;
                if scalar { self.component(repetition.piece, component, Some(1)).unwrap_or(whole) } else { self.without_trailing(whole) }
            }
            (Some(component), Some(sub)) => {
                if let Some(whole) = self.component(repetition.piece, component, None).filter(Piece::is_null) {
                    return hit(whole, true);
                }
                self.component(repetition.piece, component, Some(sub))?
            }
        };
        if piece.text.is_empty() { None } else { hit(piece, piece.is_null()) }
    }

    fn inner(&self, scope: Scope, owned: impl IntoIterator<Item = Owned>, current: Option<Repetition<'m>>, on: usize) -> Scope {
        let mut all = self.owned.borrow_mut();
        let from = all.len();
        all.extend(owned);
        let mut scopes = self.scopes.borrow_mut();
        let has_current = current.is_some() || scopes.get(scope.number).is_some_and(|around| around.has_current);
        let name = self.message.segment_id(on).as_bytes().try_into().map_or(0, number_of);
        let owned = from..all.len();
        scopes.push(Inside { around: Some(scope.number), owned, current, on: Some(on), name, has_current });
        Scope { number: scopes.len() - 1, bare: false }
    }

    /// A list of segments that is no slice of the index.
    fn group(&self, segments: Vec<usize>) -> Segments {
        let mut groups = self.groups.borrow_mut();
        groups.push(segments);
        Segments { group: Some(groups.len() - 1), from: 0, to: groups.last().map_or(0, Vec::len) }
    }

    /// One segment as a slice of those of its name.
    fn alone(&self, known: usize, segment: usize) -> Segments {
        let all = self.index.names.get(known).map(|(_, segments)| *segments).unwrap_or_default();
        let from = all.from + self.partition_point(all, |place| place < segment);
        Segments { group: None, from, to: from + 1 }
    }

    fn enter_segments(&self, scope: Scope, record: &Record, path: &V2Path) -> Entered<Scope> {
        let Root::Segment(id, selector) = &path.root else { return Entered::of(vec![scope]) };
        let anchors = self.visible(scope, id);
        let taken = self.segments(scope, id, selector.as_ref());
        let orphans = self.orphans(scope, record, (id, anchors));
        let mut entered = Entered { scopes: Vec::new(), orphans, cleared: false };
        let Some(known) = self.known(id) else { return entered };
        let mut enter = |first: usize, own: Segments| {
            // Segments are in the order of the message, so what lies between two of them is one slice.
            let after = |segments: Segments| self.partition_point(segments, |place| place <= first);
            let end = self.segment(anchors, after(anchors)).unwrap_or(usize::MAX);
            let mut size = own.len();
            let mut owned = Vec::with_capacity(record.lead.len() + record.span.len() + 1);
            let before = self.partition_point(anchors, |place| place < first).checked_sub(1).and_then(|at| self.segment(anchors, at));
            for id in &record.lead {
                let segments = self.visible(scope, id);
                let from = before.map_or(0, |before| self.partition_point(segments, |place| place < before));
                let to = self.partition_point(segments, |place| place < first);
                let Some(name) = self.known(id) else { continue };
                let ahead = Segments { from: segments.from + from, to: segments.from + to.max(from), ..segments };
                size += ahead.len();
                owned.push(Owned { name, segments: ahead });
            }
            for id in &record.span {
                let segments = self.visible(scope, id);
                let (from, to) = (after(segments), self.partition_point(segments, |place| place < end));
                let Some(name) = self.known(id) else { continue };
                let inside = Segments { from: segments.from + from, to: segments.from + to.max(from), ..segments };
                size += inside.len();
                owned.push(Owned { name, segments: inside });
            }
            owned.push(Owned { name: known, segments: own });
            if self.spend(size) {
                entered.scopes.push(self.inner(scope, owned, None, first));
            }
        };
        match &record.group_by {
            Some(by) => {
                for group in self.groups(scope, &taken, by) {
                    let Some(first) = group.first().copied() else { continue };
                    enter(first, if group.len() == 1 { self.alone(known, first) } else { self.group(group) });
                }
            }
            None => taken.into_iter().for_each(|segment| enter(segment, self.alone(known, segment))),
        }
        entered
    }

    /// Segments of the span before the first one that could own them, and of the lead behind the last.
    fn orphans(&self, scope: Scope, record: &Record, (id, anchors): (&str, Segments)) -> Vec<(String, String)> {
        let first = self.segment(anchors, 0);
        let last = anchors.len().checked_sub(1).and_then(|last| self.segment(anchors, last));
        let before = |segment: &usize| first.is_none_or(|first| *segment < first);
        let behind = |segment: &usize| last.is_none_or(|last| last < *segment);
        let of_span = record.span.iter().flat_map(|owned| self.each(self.visible(scope, owned)).filter(before));
        let of_lead = record.lead.iter().flat_map(|owned| self.each(self.visible(scope, owned)).filter(behind));
        of_span.chain(of_lead).take(100).map(|segment| (self.numbered(segment), id.to_owned())).collect()
    }

    fn groups(&self, scope: Scope, segments: &[usize], by: &V2Path) -> Vec<Vec<usize>> {
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for segment in segments {
            let mut value = String::new();
            if let Some((field, among)) = &by.field {
                self.any_repetition(scope, *segment, (*field, among.as_ref(), false), &mut |repetition| {
                    value = self.part(repetition, by, true).map_or_else(String::new, |hit| hit.text.trim().to_owned());
                    true
                });
            }
            if !self.spend(groups.len()) {
                break;
            }
            match groups.iter_mut().find(|(known, _)| *known == value && !value.is_empty()) {
                Some((_, group)) => group.push(*segment),
                None => groups.push((value, vec![*segment])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    fn enter_repetitions(&self, scope: Scope, path: &V2Path) -> Entered<Scope> {
        let Root::Segment(id, selector) = &path.root else { return Entered::of(vec![scope]) };
        let Some((field, among)) = &path.field else { return Entered::of(vec![scope]) };
        let mut entered = Entered::of(Vec::new());
        let mut found = Vec::new();
        self.any_segment(scope, id, (selector.as_ref(), true), &mut |segment| {
            self.any_repetition(scope, segment, (*field, among.as_ref(), true), &mut |repetition| {
                if repetition.piece.is_null() {
                    entered.cleared = true;
                } else if !is_blank(&self.message.unescape(repetition.piece)) {
                    found.push(repetition);
                }
                false
            })
        });
        let known = self.known(id);
        let enter = |repetition: Repetition<'m>| {
            let owned = known.map(|name| Owned { name, segments: self.alone(name, repetition.segment) });
            self.inner(scope, owned, Some(repetition), repetition.segment)
        };
        entered.scopes = found.into_iter().map(enter).collect();
        entered
    }

    /// `PID`, or `OBX[2]` where there are several.
    pub fn numbered(&self, segment: usize) -> String {
        let id = self.message.segment_id(segment);
        match self.message.segment_occurrence(segment) {
            (_, 0 | 1) => id.to_owned(),
            (number, _) => format!("{id}[{number}]"),
        }
    }

    /// Whether its field has several repetitions.
    fn repeats(&self, spot: &Spot) -> bool {
        let whole = self.message.field(spot.segment, spot.field).filter(|_| spot.field > 0);
        spot.repetition > 1 || whole.is_some_and(|whole| self.message.each_repetition(whole).nth(1).is_some())
    }

    fn kept(&self, spot: &Spot) -> Place {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (occurrence, count) = self.message.segment_occurrence(spot.segment);
        Place {
            id: self.message.segment_id(spot.segment).as_bytes().try_into().unwrap_or_default(),
            occurrence: if count > 1 { number(occurrence) } else { 0 },
            field: number(spot.field),
            repetition: if self.repeats(spot) { number(spot.repetition) } else { 0 },
            component: spot.component.map_or(0, number),
            sub: spot.sub.map_or(0, number),
            bytes: (number(spot.bytes.0), number(spot.bytes.1)),
        }
    }
}

impl<'m> View<'m> for V2View<'m, '_> {
    type Scope = Scope;
    type Place = Spot;

    fn root(&self) -> Scope {
        Scope { number: 0, bare: false }
    }

    fn any(&self, scope: &Scope, path: &Path, mode: Mode, such: &mut dyn FnMut(Hit<'m, Spot>) -> bool) -> bool {
        let Path::V2(path) = path else { return false };
        if path.field.is_none()
            && let Root::Segment(id, selector) = &path.root
        {
            return self.any_segment(*scope, id, (selector.as_ref(), true), &mut |segment| {
                let Some(piece) = self.message.segment(segment) else { return false };
                let bytes = (piece.start, piece.start + piece.text.len());
                let place = Spot { segment, field: 0, repetition: 1, component: None, sub: None, bytes };
                such(Hit { text: Cow::Borrowed(self.message.segment_id(segment)), null: false, place })
            });
        }
        if !mode.every
            && let Some(found) = self.plain(*scope, path)
        {
            return found.and_then(|repetition| self.part(repetition, path, mode.scalar)).is_some_and(such);
        }
        self.any_whole(*scope, path, mode.every, &mut |repetition| self.part(repetition, path, mode.scalar).is_some_and(&mut *such))
    }

    fn any_text(&self, scope: &Scope, path: &Path, such: &mut dyn FnMut(&str) -> bool) -> bool {
        let mode = Mode { scalar: true, every: false };
        let Path::V2(plain) = path else { return false };
        let (Root::Segment(id, None), Some((field, None))) = (&plain.root, &plain.field) else {
            return self.any(scope, path, mode, &mut |hit| such(trimmed(&hit.text)));
        };
        let first = self.first_segment(*scope, id).filter(|_| !self.has_current(*scope));
        let key_of_first = first.map_or(0, |segment| key_of_first(segment, plain, *field));
        if let Some(known) = self.seen(key_of_first) {
            return known.is_some_and(such);
        }
        let Some(repetition) = self.plain(*scope, plain).flatten() else { return false };
        let (key, path) = (if key_of_first == 0 { key(&repetition, plain) } else { key_of_first }, plain);
        if let Some(known) = self.seen(key) {
            return known.is_some_and(such);
        }
        let text = match self.part(repetition, path, true).map(|hit| hit.text) {
            Some(Cow::Borrowed(text)) => Some(trimmed(text)),
            // What an escape was undone in has no place in the message.
            Some(Cow::Owned(text)) => return such(trimmed(&text)),
            None => None,
        };
        self.remember(key, text);
        text.is_some_and(such)
    }

    fn first(&self, scope: &Scope, path: &Path, mode: Mode) -> Option<Hit<'m, Spot>> {
        if let Path::V2(path) = path
            && let Some(found) = self.plain(*scope, path)
        {
            return self.part(found?, path, mode.scalar);
        }
        let mut first = None;
        self.any(scope, path, mode, &mut |hit| {
            first = Some(hit);
            true
        });
        first
    }

    fn count(&self, scope: &Scope, path: &Path) -> usize {
        let mut count = 0;
        self.any(scope, path, Mode { scalar: false, every: true }, &mut |_| {
            count += 1;
            false
        });
        count
    }

    fn enter(&self, scope: &Scope, record: &Record) -> Entered<Scope> {
        match &record.over {
            Some(Over::Segment(path)) => self.enter_segments(*scope, record, path),
            Some(Over::Field(path)) => self.enter_repetitions(*scope, path),
            Some(Over::Nodes(_)) | None => Entered::of(vec![*scope]),
        }
    }

    fn place(&self, spot: &Spot) -> String {
        let mut text = String::new();
        self.kept(spot).write(&mut text);
        text
    }

    fn note(&self, spot: &Spot, _notes: &mut Notes) -> At {
        At::Segment(self.kept(spot))
    }

    fn bytes(&self, spot: &Spot) -> Option<Range<usize>> {
        Some(spot.bytes.0..spot.bytes.1)
    }

    fn stands_on(&self, scope: &Scope) -> String {
        let on = self.scopes.borrow().get(scope.number).and_then(|inside| inside.on);
        on.map_or_else(String::new, |segment| self.numbered(segment))
    }

    fn received(&self) -> Option<Date> {
        self.received
    }

    fn is_exhausted(&self) -> bool {
        self.work.get() > WORK_MAX
    }
}

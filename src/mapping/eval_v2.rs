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

mod index;
mod memory;
mod only;

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
use crate::hl7::{
    Condition, Cuts, Message, Repetition, Span, field_bit, has_further_sub_components, narrow, repetitions, sub_component, wide,
};
use index::{Index, Segments, number_of};
use memory::{Memory, SCOPE_BITS};

/// Segments and repetitions that reading one message may touch.
const WORK_MAX: u64 = 3_000_000;

/// A place in a message, before somebody keeps it. Small, because most are thrown away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    segment: u32,
    /// From 1; 0 for the whole segment.
    field: u32,
    /// From 1.
    repetition: u32,
    /// The field has several repetitions.
    is_one_of_several: bool,
    /// From 1; 0 for the whole.
    component: u32,
    /// From 1; 0 for the whole.
    sub: u32,
    span: Span,
}

/// Scopes that most messages need.
const SCOPES_ROOM: usize = 32;

/// What a record owns of one segment name (by its place in the index).
#[derive(Clone, Copy, Debug)]
struct Owned {
    name: u32,
    segments: Segments,
}

/// What a record's paths may see: a scope by its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// From 1; 0 for the whole message.
    number: u32,
    /// The repetitions that `over` stands on count for nothing: a name of `[let]` is the same for all of them.
    bare: bool,
}

/// A scope inside another.
#[derive(Clone, Copy, Debug)]
struct Inside {
    /// The scope around it; 0 for the whole message.
    around: u32,
    /// Which of the list of what scopes own.
    owned: (u32, u32),
    /// The repetition that `over` stands on.
    current: Option<Repetition>,
    /// The segment that this scope stands on: the first that it sees of its name.
    on: u32,
    /// Its name; 0 where it has none.
    name: u32,
    /// It stands on a repetition, or a scope around it does.
    has_current: bool,
    /// Of which segment names it owns some, as bits of [`name_bit`].
    owns: u64,
}

/// The bit of a segment name by its place in the index; names that come late in a message share the last.
#[inline]
fn name_bit(known: usize) -> u64 {
    1 << known.min(63)
}

/// Scopes that were entered together.
#[derive(Clone, Debug, Default)]
pub(super) struct Scopes(Range<u32>);

impl Iterator for Scopes {
    type Item = Scope;

    fn next(&mut self) -> Option<Scope> {
        self.0.next().map(|number| Scope { number, bare: false })
    }
}

/// What a `[let]` chose once: for a scope, or for all scopes that see the same segments of the name that its paths begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    In(u32),
    Among(Segments),
}

/// Selections that are remembered: a file names the same few in path after path.
const SELECTIONS_MAX: usize = 32;

/// Which of some segments fulfil a condition.
struct Selection {
    among: Segments,
    /// [`V2Path::choice`].
    choice: u32,
    found: Segments,
}

/// What a record found in a scope that others go over too.
struct Known {
    /// The scope, and the first of these records.
    place: (u32, usize),
    scopes: Range<u32>,
    cleared: bool,
}

/// What all views of a message share.
struct Shared {
    index: Rc<Index>,
    cuts: Rc<RefCell<Cuts>>,
    memory: Rc<RefCell<Memory>>,
    sharers: Rc<Cell<u32>>,
}

/// A message, ready to be asked.
pub(super) struct V2View<'m, 'l> {
    message: &'m Message,
    lets: &'l [Let],
    index: Rc<Index>,
    work: Cell<u64>,
    scopes: RefCell<Vec<Inside>>,
    owned: RefCell<Vec<Owned>>,
    groups: RefCell<Vec<Vec<u32>>>,
    selections: RefCell<Vec<Selection>>,
    /// What `[let]` chose: where, name, repetition.
    chosen: RefCell<Vec<(Chosen, usize, Option<Repetition>)>>,
    /// Shared by all mappings that ask this message.
    cuts: Rc<RefCell<Cuts>>,
    /// Shared likewise; what is known of a scope is known to one of them only.
    memory: Rc<RefCell<Memory>>,
    /// Which of those that share the memory this is, in the upper bits of a number of 32.
    sharer: Option<u32>,
    sharers: Rc<Cell<u32>>,
    /// What records that go over the same found in a scope.
    entered: RefCell<Vec<Known>>,
    received: Option<Date>,
}

impl<'m, 'l> V2View<'m, 'l> {
    /// The same message for another mapping.
    pub fn with<'n>(&self, lets: &'n [Let]) -> V2View<'m, 'n> {
        let sharer = self.sharers.get();
        self.sharers.set(sharer.saturating_add(1));
        V2View { sharer: sharer.checked_mul(1 << SCOPE_BITS), ..V2View::of(self.message, lets, self.shared()) }
    }

    /// Indexes a message by segment names.
    pub fn new(message: &'m Message, lets: &'l [Let]) -> Self {
        Self::of(
            message,
            lets,
            Shared {
                index: Rc::new(Index::of(message)),
                cuts: Rc::default(),
                memory: Rc::new(RefCell::new(Memory::of(message.segment_count()))),
                sharers: Rc::new(Cell::new(1)),
            },
        )
    }

    fn shared(&self) -> Shared {
        let Self { index, cuts, memory, sharers, .. } = self;
        Shared { index: Rc::clone(index), cuts: Rc::clone(cuts), memory: Rc::clone(memory), sharers: Rc::clone(sharers) }
    }

    fn of(message: &'m Message, lets: &'l [Let], Shared { index, cuts, memory, sharers }: Shared) -> Self {
        Self {
            message,
            lets,
            index,
            work: Cell::new(0),
            scopes: RefCell::default(),
            owned: RefCell::default(),
            groups: RefCell::default(),
            selections: RefCell::default(),
            chosen: RefCell::default(),
            cuts,
            memory,
            sharer: Some(0),
            sharers,
            entered: RefCell::default(),
            received: None,
        }
    }

    /// The same view of a message that came on this day.
    pub fn received(self, received: Option<Date>) -> Self {
        Self { received, ..self }
    }

    #[inline]
    fn spend(&self, steps: usize) -> bool {
        let spent = self.work.get().saturating_add(u64::try_from(steps).unwrap_or(u64::MAX));
        self.work.set(spent);
        spent <= WORK_MAX
    }

    /// The place of a segment name in the index; none where the message has no such segment.
    #[inline]
    fn known(&self, name: u32) -> Option<usize> {
        self.index.known(name)
    }

    /// The place in the index of a segment name of which some segment holds something in a field; where there is none, no path to the
    /// field finds anything.
    #[inline]
    fn filled(&self, name: u32, field: usize) -> Option<usize> {
        let known = self.known(name)?;
        self.index.names.get(known).filter(|name| name.filled & field_bit(field) != 0).map(|_| known)
    }

    /// One of some segments, from 0.
    #[inline]
    fn segment(&self, segments: Segments, at: usize) -> Option<usize> {
        let at = Some(wide(segments.from) + at).filter(|at| *at < wide(segments.to))?;
        match segments.group.checked_sub(1) {
            None => self.index.places.get(at).copied().map(wide),
            Some(group) => self.groups.borrow().get(wide(group))?.get(at).copied().map(wide),
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
    fn visible(&self, scope: Scope, name: u32) -> Segments {
        self.known(name).map(|known| self.visible_of(scope, known)).unwrap_or_default()
    }

    /// [`V2View::visible`] of a name by its place in the index.
    fn visible_of(&self, scope: Scope, known: usize) -> Segments {
        if scope.number != 0 {
            let (scopes, owned) = (self.scopes.borrow(), self.owned.borrow());
            let bit = name_bit(known);
            let known = narrow(known);
            let mut at = scope.number;
            while let Some(inside) = at.checked_sub(1).and_then(|at| scopes.get(wide(at))) {
                if inside.owns & bit == 0 {
                    at = inside.around;
                    continue;
                }
                let here = owned.get(wide(inside.owned.0)..wide(inside.owned.1)).unwrap_or_default();
                if let Some(owned) = here.iter().rev().find(|owned| owned.name == known) {
                    return owned.segments;
                }
                at = inside.around;
            }
        }
        self.index.names.get(known).map(|name| name.segments).unwrap_or_default()
    }

    /// A scope that is not the whole message.
    #[inline]
    fn inside(&self, scope: Scope) -> Option<Inside> {
        let at = scope.number.checked_sub(1)?;
        self.scopes.borrow().get(wide(at)).copied()
    }

    /// The repetition of a field that a scope stands on.
    #[inline]
    fn current(&self, scope: Scope, segment: usize, field: usize) -> Option<Repetition> {
        let at = scope.number.checked_sub(1).filter(|_| !scope.bare)?;
        let scopes = self.scopes.borrow();
        let mut inside = scopes.get(wide(at)).filter(|inside| inside.has_current)?;
        loop {
            if let Some(current) = inside.current.filter(|current| (wide(current.segment), wide(current.field)) == (segment, field)) {
                return Some(current);
            }
            inside = scopes.get(wide(inside.around.checked_sub(1)?))?;
        }
    }

    /// Shows the segments that a path means until one is such.
    fn any_segment(&self, scope: Scope, path: &V2Path, every: bool, such: &mut impl FnMut(usize) -> bool) -> bool {
        let Root::Segment(id, selector) = &path.root else { return false };
        let selector = selector.as_ref();
        let all = self.visible(scope, number_of(id));
        if !self.spend(1 + if selector.is_some() || every { all.len() } else { 0 }) {
            return false;
        }
        let nth = |at: usize| self.segment(all, at);
        match selector {
            None if !every => nth(0).is_some_and(such),
            Some(Selector::All) | None => self.each(all).any(such),
            Some(Selector::Last) => all.len().checked_sub(1).and_then(nth).is_some_and(such),
            Some(Selector::Number(number)) => number.checked_sub(1).and_then(nth).is_some_and(such),
            Some(Selector::Where(condition)) => match self.selected(all, (path.choice, condition)) {
                Some(selected) => self.each(selected).any(such),
                None => self.each(all).any(|segment| self.segment_fits(segment, condition) && such(segment)),
            },
        }
    }

    /// Those of some segments that fulfil a condition; `None` where too much is remembered already.
    fn selected(&self, among: Segments, (choice, condition): (u32, &Condition)) -> Option<Segments> {
        let known = |one: &&Selection| one.choice == choice && one.among == among;
        if let Some(known) = self.selections.borrow().iter().find(known).map(|one| one.found) {
            return Some(known);
        }
        if choice == 0 || SELECTIONS_MAX <= self.selections.borrow().len() {
            return None;
        }
        let found: Vec<usize> = self.each(among).filter(|segment| self.segment_fits(*segment, condition)).collect();
        let found = if found.is_empty() { Segments::default() } else { self.group(found) };
        self.selections.borrow_mut().push(Selection { among, choice, found });
        Some(found)
    }

    /// The segments that a path means.
    fn segments(&self, scope: Scope, path: &V2Path) -> Vec<usize> {
        let mut segments = Vec::new();
        self.any_segment(scope, path, true, &mut |segment| {
            segments.push(segment);
            false
        });
        segments
    }

    fn segment_fits(&self, segment: usize, condition: &Condition) -> bool {
        let (field, rest) = condition.element.split_first().map_or((0, &[][..]), |(field, rest)| (*field, rest));
        let equal = match self.first_repetition(segment, field) {
            // An only repetition has its cuts kept: the next condition that chooses by another part of it finds them.
            Some(first) if !first.is_one_of_several => self.element_is(&first, rest, &condition.text),
            Some(_) => repetitions(self.message, segment, field).any(|repetition| self.element_is(&repetition, rest, &condition.text)),
            // An empty field has one repetition, which is empty.
            None => condition.text.is_empty(),
        };
        equal == condition.equal
    }

    fn repetition_fits(&self, repetition: &Repetition, condition: &Condition) -> bool {
        self.element_is(repetition, &condition.element, &condition.text) == condition.equal
    }

    /// Does a part of a repetition (all of it, where no part is named: or its first part) say this text.
    fn element_is(&self, repetition: &Repetition, element: &[usize], text: &str) -> bool {
        let says = |span: Span| trimmed(&self.message.unescaped(span)) == text;
        match element {
            [] => says(repetition.span) || self.first_part(repetition).is_some_and(says),
            [component] => match self.component(repetition, *component) {
                Some(span) => says(span) || sub_component(self.message, span, 1).is_some_and(says),
                None => text.is_empty(),
            },
            [component, sub, ..] => {
                let found = self.component(repetition, *component).and_then(|span| sub_component(self.message, span, *sub));
                found.map_or(text.is_empty(), says)
            }
        }
    }

    /// The first sub-component of the first component.
    fn first_part(&self, repetition: &Repetition) -> Option<Span> {
        self.component(repetition, 1).and_then(|component| sub_component(self.message, component, 1))
    }

    #[inline]
    fn component(&self, repetition: &Repetition, number: usize) -> Option<Span> {
        self.cuts.borrow().component(self.message, repetition, number)
    }

    /// The first repetition of a field.
    #[inline]
    fn first_repetition(&self, segment: usize, field: usize) -> Option<Repetition> {
        self.cuts.borrow_mut().first(self.message, segment, field)
    }

    /// Shows the repetitions that a path means in a segment until one is such.
    fn any_repetition(
        &self,
        scope: Scope,
        segment: usize,
        (field, selector, every): (usize, Option<&Selector>, bool),
        such: &mut impl FnMut(&Repetition) -> bool,
    ) -> bool {
        let fits = |repetition: &Repetition| match selector {
            Some(Selector::Where(condition)) => self.repetition_fits(repetition, condition),
            _ => true,
        };
        if let Some(current) = self.current(scope, segment, field) {
            // Inside `over`, the field is this one repetition; only a condition can still say no.
            return fits(&current) && such(&current);
        }
        let Some(first) = self.first_repetition(segment, field) else { return false };
        if selector.is_none() && !every {
            return such(&first);
        }
        if !first.is_one_of_several {
            return match selector {
                Some(Selector::Number(number)) => *number == 1 && such(&first),
                Some(_) | None => fits(&first) && such(&first),
            };
        }
        let all = || repetitions(self.message, segment, field);
        if !self.spend(all().count()) {
            return false;
        }
        match selector {
            Some(Selector::All) | None => all().any(|repetition| such(&repetition)),
            Some(Selector::Last) => all().last().is_some_and(|repetition| such(&repetition)),
            Some(Selector::Number(number)) => {
                number.checked_sub(1).and_then(|at| all().nth(at)).is_some_and(|repetition| such(&repetition))
            }
            Some(Selector::Where(_)) => all().any(|repetition| fits(&repetition) && such(&repetition)),
        }
    }

    /// The repetition that a `[let]` names here, chosen once for all scopes where nothing else can be meant.
    fn chosen(&self, scope: Scope, index: usize) -> Option<Repetition> {
        let sources = self.lets.get(index).map_or(&[][..], |one| one.sources.as_slice());
        let known = |of: Chosen| {
            let chosen = self.chosen.borrow();
            chosen.iter().find(|(known, name, _)| *name == index && *known == of).map(|(.., found)| *found)
        };
        // The repetitions that scopes stand on do not count here, so the segments that a scope sees are all that matters.
        let of = only_segment(sources).map_or(Chosen::In(scope.number), |id| Chosen::Among(self.visible(scope, number_of(id))));
        if let Some(known) = known(of) {
            return known;
        }
        let found = sources.iter().filter_map(Path::v2).find_map(|path| {
            let mut found = None;
            self.any_whole(Scope { bare: true, ..scope }, path, false, &mut |repetition| {
                found = (!repetition.span.is_empty()).then_some(*repetition);
                found.is_some()
            });
            found
        });
        self.chosen.borrow_mut().push((of, index, found));
        found
    }

    /// Shows the repetitions that a path with a field means, whatever part of them it names, until one is such.
    fn any_whole(&self, scope: Scope, path: &V2Path, every: bool, such: &mut dyn FnMut(&Repetition) -> bool) -> bool {
        match (&path.root, &path.field) {
            (Root::Let(index), _) => self.chosen(scope, *index).is_some_and(|repetition| such(&repetition)),
            (Root::Segment(id, _), Some((field, among))) if self.filled(number_of(id), *field).is_some() => {
                let asked = (*field, among.as_ref(), every);
                self.any_segment(scope, path, every, &mut |segment| {
                    self.any_repetition(scope, segment, asked, &mut |repetition| such(repetition))
                })
            }
            (Root::Segment(..), _) => false,
        }
    }

    /// Separators at the end say nothing (protocol rules, section 8).
    fn without_trailing(&self, span: Span) -> Span {
        let delimiters = self.message.delimiters();
        let is_one = |byte: &u8| [delimiters.component, delimiters.sub].contains(&Some(*byte));
        let trailing = self.message.text_of(span).bytes().rev().take_while(is_one).count();
        Span { end: span.end - narrow(trailing), ..span }
    }

    fn is_null(&self, span: Span) -> bool {
        span.end - span.start == 2 && self.message.text_of(span) == "\"\""
    }

    /// The bytes of a repetition that a path names, and whether they are null; `None` where there are none.
    #[inline]
    fn part(&self, repetition: &Repetition, path: &V2Path, scalar: bool) -> Option<(Span, bool)> {
        if self.is_null(repetition.span) {
            return Some((repetition.span, true));
        }
        let span = match (path.component, path.sub) {
            (None, _) if scalar => self.first_part(repetition).unwrap_or(repetition.span),
            (None, _) => self.without_trailing(repetition.span),
            (Some(component), None) => {
                let whole = self.component(repetition, component)?;
                if scalar { sub_component(self.message, whole, 1).unwrap_or(whole) } else { self.without_trailing(whole) }
            }
            (Some(component), Some(sub)) => {
                let whole = self.component(repetition, component)?;
                if self.is_null(whole) {
                    return Some((whole, true));
                }
                sub_component(self.message, whole, sub)?
            }
        };
        (!span.is_empty()).then(|| (span, self.is_null(span)))
    }

    /// What stands in a part, as sent where it is null.
    #[inline]
    fn text(&self, (span, null): (Span, bool)) -> Cow<'m, str> {
        if null { Cow::Borrowed(self.message.text_of(span)) } else { self.message.unescaped(span) }
    }

    /// The part of a repetition that a path names; `None` where it is not there or blank.
    #[inline]
    fn hit(&self, repetition: &Repetition, path: &V2Path, scalar: bool) -> Option<Hit<'m, Spot>> {
        let part = self.part(repetition, path, scalar)?;
        let text = self.text(part);
        if is_blank(&text) {
            return None;
        }
        let place = Spot {
            segment: repetition.segment,
            field: repetition.field,
            repetition: repetition.number,
            is_one_of_several: repetition.is_one_of_several,
            component: path.component.map_or(0, narrow),
            sub: path.sub.map_or(0, narrow),
            span: part.0,
        };
        Some(Hit { text, null: part.1, place })
    }

    /// Adds a scope.
    fn inner(&self, scope: Scope, owned: (u32, u32), current: Option<Repetition>, on: usize) {
        let has_current = current.is_some() || self.inside(scope).is_some_and(|around| around.has_current);
        let name = self.message.segment_name(on).map_or(0, |[a, b, c]| u32::from_be_bytes([0, a, b, c]));
        let all = self.owned.borrow();
        let owns =
            all.get(wide(owned.0)..wide(owned.1)).unwrap_or_default().iter().fold(0, |bits, owned| bits | name_bit(wide(owned.name)));
        let mut scopes = self.scopes.borrow_mut();
        if scopes.is_empty() {
            scopes.reserve(SCOPES_ROOM);
        }
        scopes.push(Inside { around: scope.number, owned, current, on: narrow(on), name, has_current, owns });
    }

    /// The number of the next scope.
    fn next_scope(&self) -> u32 {
        narrow(self.scopes.borrow().len()) + 1
    }

    fn own(&self, name: usize, segments: Segments) {
        let mut owned = self.owned.borrow_mut();
        if owned.is_empty() {
            owned.reserve(SCOPES_ROOM);
        }
        owned.push(Owned { name: narrow(name), segments });
    }

    fn owned_so_far(&self) -> u32 {
        narrow(self.owned.borrow().len())
    }

    /// A list of segments that is no slice of the index.
    fn group(&self, segments: Vec<usize>) -> Segments {
        let mut groups = self.groups.borrow_mut();
        let to = narrow(segments.len());
        groups.push(segments.into_iter().map(narrow).collect());
        Segments { group: narrow(groups.len()), from: 0, to }
    }

    /// One segment as a slice of those of its name.
    fn alone(&self, known: usize, segment: usize) -> Segments {
        let all = self.index.names.get(known).map(|name| name.segments).unwrap_or_default();
        let from = all.from + narrow(self.partition_point(all, |place| place < segment));
        Segments { group: 0, from, to: from + 1 }
    }

    fn enter_segments(&self, scope: Scope, record: &Record, path: &V2Path) -> Entered<Scopes> {
        let Root::Segment(id, _) = &path.root else { return Entered::default() };
        let anchors = self.visible(scope, number_of(id));
        let taken = self.segments(scope, path);
        let orphans = self.orphans(scope, record, (id, anchors));
        let begin = self.next_scope();
        let Some(known) = self.known(number_of(id)) else { return Entered { orphans, ..Entered::default() } };
        let enter = |first: usize, own: Segments| {
            // Segments are in the order of the message, so what lies between two of them is one slice.
            let after = |segments: Segments| self.partition_point(segments, |place| place <= first);
            let end = self.segment(anchors, after(anchors)).unwrap_or(usize::MAX);
            let mut size = own.len();
            let begin = self.owned_so_far();
            // What a scope sees nothing of, the scopes inside it see nothing of: it need not be owned.
            let seen = |id: &String| {
                let segments = self.visible(scope, number_of(id));
                Some((self.known(number_of(id))?, segments)).filter(|_| !segments.is_empty())
            };
            let before = || self.partition_point(anchors, |place| place < first).checked_sub(1).and_then(|at| self.segment(anchors, at));
            for (name, segments) in record.lead.iter().filter_map(seen) {
                let from = before().map_or(0, |before| self.partition_point(segments, |place| place < before));
                let to = self.partition_point(segments, |place| place < first);
                let ahead = slice(segments, from, to);
                size += ahead.len();
                self.own(name, ahead);
            }
            for (name, segments) in record.span.iter().filter_map(seen) {
                let (from, to) = (after(segments), self.partition_point(segments, |place| place < end));
                let inside = slice(segments, from, to);
                size += inside.len();
                self.own(name, inside);
            }
            self.own(known, own);
            if self.spend(size) {
                self.inner(scope, (begin, self.owned_so_far()), None, first);
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
        Entered { scopes: Scopes(begin..self.next_scope()), orphans, cleared: false }
    }

    /// Segments of the span before the first one that could own them, and of the lead behind the last.
    fn orphans(&self, scope: Scope, record: &Record, (id, anchors): (&str, Segments)) -> Vec<(String, String)> {
        let first = self.segment(anchors, 0);
        let last = anchors.len().checked_sub(1).and_then(|last| self.segment(anchors, last));
        let before = |segment: &usize| first.is_none_or(|first| *segment < first);
        let behind = |segment: &usize| last.is_none_or(|last| last < *segment);
        let seen = |owned: &String| self.visible(scope, number_of(owned));
        let of_span = record.span.iter().flat_map(|owned| self.each(seen(owned)).filter(before));
        let of_lead = record.lead.iter().flat_map(|owned| self.each(seen(owned)).filter(behind));
        of_span.chain(of_lead).take(100).map(|segment| (self.numbered(segment), id.to_owned())).collect()
    }

    fn groups(&self, scope: Scope, segments: &[usize], by: &V2Path) -> Vec<Vec<usize>> {
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for segment in segments {
            let mut value = String::new();
            if let Some((field, among)) = &by.field {
                self.any_repetition(scope, *segment, (*field, among.as_ref(), false), &mut |repetition| {
                    value = self.hit(repetition, by, true).map_or_else(String::new, |hit| hit.text.trim().to_owned());
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

    fn enter_repetitions(&self, scope: Scope, path: &V2Path) -> Entered<Scopes> {
        let (Root::Segment(id, _), Some((field, among))) = (&path.root, &path.field) else { return Entered::default() };
        let Some(known) = self.filled(number_of(id), *field) else { return Entered::default() };
        let begin = self.next_scope();
        let mut cleared = false;
        self.any_segment(scope, path, true, &mut |segment| {
            let mut owned = None;
            self.any_repetition(scope, segment, (*field, among.as_ref(), true), &mut |repetition| {
                if self.is_null(repetition.span) {
                    cleared = true;
                } else if !is_blank(&self.message.unescaped(repetition.span)) {
                    let owned = owned.get_or_insert_with(|| {
                        self.own(known, self.alone(known, segment));
                        (self.owned_so_far() - 1, self.owned_so_far())
                    });
                    let current = self.cuts.borrow_mut().prepare(self.message, *repetition);
                    self.inner(scope, *owned, Some(current), segment);
                }
                false
            })
        });
        Entered { scopes: Scopes(begin..self.next_scope()), orphans: Vec::new(), cleared }
    }

    /// `PID`, or `OBX[2]` where there are several.
    pub fn numbered(&self, segment: usize) -> String {
        let id = self.message.segment_id(segment);
        match self.message.segment_occurrence(segment) {
            (_, 0 | 1) => id.to_owned(),
            (number, _) => format!("{id}[{number}]"),
        }
    }

    fn kept(&self, spot: &Spot) -> Place {
        let segment = wide(spot.segment);
        let (occurrence, count) = self.message.segment_occurrence(segment);
        Place {
            id: self.message.segment_name(segment).unwrap_or_default(),
            occurrence: if count > 1 { narrow(occurrence) } else { 0 },
            field: spot.field,
            repetition: if spot.is_one_of_several { spot.repetition } else { 0 },
            component: spot.component,
            sub: spot.sub,
            bytes: (spot.span.start, spot.span.end),
        }
    }
}

/// The segment that all paths begin with.
fn only_segment(paths: &[Path]) -> Option<&str> {
    let mut ids = paths.iter().map(|path| path.v2().and_then(V2Path::segment));
    let first = ids.next()??;
    ids.all(|id| id == Some(first)).then_some(first)
}

/// Some of some segments, by their numbers from 0.
fn slice(segments: Segments, from: usize, to: usize) -> Segments {
    Segments { from: segments.from + narrow(from), to: segments.from + narrow(to.max(from)), ..segments }
}

impl<'m> View<'m> for V2View<'m, '_> {
    type Scope = Scope;
    type Scopes = Scopes;
    type Place = Spot;

    fn root(&self) -> Scope {
        Scope { number: 0, bare: false }
    }

    fn any(&self, scope: &Scope, path: &Path, mode: Mode, such: &mut dyn FnMut(Hit<'m, Spot>) -> bool) -> bool {
        let Path::V2(path) = path else { return false };
        if path.field.is_none() && matches!(path.root, Root::Segment(..)) {
            return self.any_segment(*scope, path, true, &mut |segment| {
                let Some(span) = self.message.segment_span(segment) else { return false };
                let text = Cow::Borrowed(self.message.segment_id(segment));
                let segment = narrow(segment);
                let place = Spot { segment, field: 0, repetition: 1, is_one_of_several: false, component: 0, sub: 0, span };
                such(Hit { text, null: false, place })
            });
        }
        if !mode.every
            && let Some(found) = self.only(*scope, path)
        {
            return found.and_then(|repetition| self.hit(&repetition, path, mode.scalar)).is_some_and(such);
        }
        self.any_whole(*scope, path, mode.every, &mut |repetition| self.hit(repetition, path, mode.scalar).is_some_and(&mut *such))
    }

    #[inline]
    fn only_text(&self, scope: &Scope, path: &Path) -> Option<&str> {
        let Path::V2(plain) = path else { return Some("") };
        self.only_remembered(*scope, plain)
    }

    fn any_text(&self, scope: &Scope, path: &Path, such: &mut dyn FnMut(&str) -> bool) -> bool {
        let Path::V2(plain) = path else { return false };
        self.any_remembered(*scope, plain, such)
            .unwrap_or_else(|| self.any(scope, path, Mode { scalar: true, every: false }, &mut |hit| such(trimmed(&hit.text))))
    }

    fn first(&self, scope: &Scope, path: &Path, mode: Mode) -> Option<Hit<'m, Spot>> {
        if let Path::V2(path) = path
            && let Some(found) = self.only(*scope, path)
        {
            return self.hit(&found?, path, mode.scalar);
        }
        let mut first = None;
        self.any(scope, path, mode, &mut |hit| {
            first = Some(hit);
            true
        });
        first
    }

    fn exists(&self, scope: &Scope, path: &Path) -> bool {
        let Path::V2(plain) = path else { return false };
        if plain.field.is_none() && matches!(plain.root, Root::Segment(..)) {
            return self.any(scope, path, Mode { scalar: false, every: true }, &mut |_| true);
        }
        if let (Root::Segment(id, _), Some((field, _))) = (&plain.root, &plain.field)
            && self.filled(number_of(id), *field).is_none()
        {
            return false;
        }
        let mut says = |repetition: &Repetition| {
            let part = self.part(repetition, plain, false).filter(|(_, null)| !null);
            part.is_some_and(|part| !is_blank(&self.text(part)))
        };
        match self.single(*scope, plain) {
            Some(found) => found.is_some_and(|repetition| says(&repetition)),
            None => self.any_whole(*scope, plain, true, &mut says),
        }
    }

    fn count(&self, scope: &Scope, path: &Path) -> usize {
        if let Path::V2(V2Path { root: Root::Segment(id, None | Some(Selector::All)), field: None, .. }) = path {
            // All segments of a name: they are counted already.
            let all = self.visible(*scope, number_of(id)).len();
            return if self.spend(1 + all) { all } else { 0 };
        }
        let mut count = 0;
        self.any(scope, path, Mode { scalar: false, every: true }, &mut |_| {
            count += 1;
            false
        });
        count
    }

    fn enter(&self, scope: &Scope, record: &Record) -> Entered<Scopes> {
        let place = record.like.map(|like| (scope.number, like));
        if let Some(place) = place {
            let entered = self.entered.borrow();
            if let Some(Known { scopes, cleared, .. }) = entered.iter().find(|known| known.place == place) {
                return Entered { scopes: Scopes(scopes.clone()), orphans: Vec::new(), cleared: *cleared };
            }
        }
        let entered = match &record.over {
            Some(Over::Segment(path)) => self.enter_segments(*scope, record, path),
            Some(Over::Field(path)) => self.enter_repetitions(*scope, path),
            Some(Over::Nodes(_)) | None => Entered::default(),
        };
        if let Some(place) = place.filter(|_| entered.orphans.is_empty()) {
            self.entered.borrow_mut().push(Known { place, scopes: entered.scopes.0.clone(), cleared: entered.cleared });
        }
        entered
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
        Some(spot.span.range())
    }

    fn says_more(&self, spot: &Spot) -> bool {
        spot.sub == 0 && has_further_sub_components(self.message, spot.span)
    }

    fn stands_on(&self, scope: &Scope) -> String {
        self.inside(*scope).map_or_else(String::new, |inside| self.numbered(wide(inside.on)))
    }

    fn received(&self) -> Option<Date> {
        self.received
    }

    fn is_exhausted(&self) -> bool {
        self.work.get() > WORK_MAX
    }
}

//! An HL7 v2 message as paths see it: segments in scopes, repetitions chosen once, places with their bytes.
//!
//! # Scopes
//!
//! A scope says, for some segment names, which segments a record owns; all other names mean the whole message.
//! `over = "NK1"` owns one NK1; `span = ["OBX"]` the OBX up to the next; `group_by` all of one group;
//! `over = "PID-3"` one repetition, which is then what `PID-3` means.
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

use super::load::Let;
use super::path::{Path, Root, Selector, V2Path};
use super::record::{Over, Record};
use super::view::{Entered, Hit, Mode, View};
use crate::hl7::{Condition, Message, Piece};

/// Segments and repetitions that reading one message may touch.
const WORK_MAX: u64 = 3_000_000;

/// Different segment names in one message; no version of the standard has so many.
const IDS_MAX: usize = 1_000;

/// A place in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the segment, from 0.
    pub segment: usize,
    /// Field, from 1; 0 for the whole segment.
    pub field: usize,
    /// Repetition, from 1, and how many there are.
    pub repetition: (usize, usize),
    component: Option<usize>,
    sub: Option<usize>,
    bytes: (usize, usize),
}

/// One repetition of a field.
#[derive(Clone, Copy, Debug)]
struct Repetition<'m> {
    segment: usize,
    field: usize,
    number: (usize, usize),
    piece: Piece<'m>,
}

type Chosen<'m> = Rc<RefCell<Vec<Option<Option<Repetition<'m>>>>>>;

/// Segments that a scope owns, in the order of the message.
#[derive(Clone, Debug)]
enum Owned {
    One([usize; 1]),
    Many(Rc<[usize]>),
}

impl Owned {
    fn of(segments: &[usize]) -> Self {
        if let [one] = segments { Self::One([*one]) } else { Self::Many(segments.into()) }
    }
    fn as_slice(&self) -> &[usize] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

/// What a record's paths may see.
#[derive(Clone, Debug)]
pub(super) struct Scope<'m> {
    /// Segment names (by their place in the index) whose segments are limited, the innermost last.
    owned: Vec<(usize, Owned)>,
    /// Repetitions that `over` stands on, the innermost last.
    current: Vec<Repetition<'m>>,
    /// What `[let]` chose in this scope.
    chosen: Chosen<'m>,
    /// The segment that this scope stands on.
    on: Option<usize>,
}

/// A message, ready to be asked.
pub(super) struct V2View<'m, 'l> {
    message: &'m Message,
    lets: &'l [Let],
    /// Segment names with their indices.
    index: Rc<Vec<(&'m str, Vec<usize>)>>,
    work: Cell<u64>,
}

impl<'m, 'l> V2View<'m, 'l> {
    /// The same message for another mapping.
    pub fn with<'n>(&self, lets: &'n [Let]) -> V2View<'m, 'n> {
        V2View { message: self.message, lets, index: Rc::clone(&self.index), work: Cell::new(0) }
    }

    /// Indexes a message by segment names.
    pub fn new(message: &'m Message, lets: &'l [Let]) -> Self {
        let mut index: Vec<(&'m str, Vec<usize>)> = Vec::new();
        for at in 0..message.segment_count() {
            let id = message.segment_id(at);
            let full = id.is_empty() || index.len() >= IDS_MAX;
            match index.iter_mut().find(|(known, _)| *known == id) {
                Some((_, places)) => places.push(at),
                None if full => {}
                None => index.push((id, vec![at])),
            }
        }
        Self { message, lets, index: Rc::new(index), work: Cell::new(0) }
    }

    fn spend(&self, steps: usize) -> bool {
        let spent = self.work.get().saturating_add(u64::try_from(steps).unwrap_or(u64::MAX));
        self.work.set(spent);
        spent <= WORK_MAX
    }

    /// The place of a segment name in the index; none where the message has no such segment.
    fn known(&self, id: &str) -> Option<usize> {
        self.index.iter().position(|(known, _)| *known == id)
    }

    /// The segments with this name that a scope sees.
    fn visible<'s>(&'s self, scope: &'s Scope<'m>, id: &str) -> &'s [usize] {
        let Some(known) = self.known(id) else { return &[] };
        let owned = scope.owned.iter().rev().find(|(owned, _)| *owned == known);
        owned.map_or_else(|| self.index.get(known).map_or(&[][..], |(_, places)| places), |(_, owned)| owned.as_slice())
    }

    /// Shows the segments that a path means until one is such.
    fn any_segment(
        &self,
        scope: &Scope<'m>,
        id: &str,
        (selector, every): (Option<&Selector>, bool),
        such: &mut dyn FnMut(usize) -> bool,
    ) -> bool {
        let all = self.visible(scope, id);
        if !self.spend(1 + if selector.is_some() || every { all.len() } else { 0 }) {
            return false;
        }
        let fits = |segment: &usize, condition: &Condition| self.segment_fits(*segment, condition);
        any_selected(all, (selector, every), &fits, such)
    }

    /// The segments that a path means.
    fn segments(&self, scope: &Scope<'m>, id: &str, selector: Option<&Selector>, every: bool) -> Vec<usize> {
        let mut segments = Vec::new();
        self.any_segment(scope, id, (selector, every), &mut |segment| {
            segments.push(segment);
            false
        });
        segments
    }

    fn segment_fits(&self, segment: usize, condition: &Condition) -> bool {
        let (field, rest) = condition.element.split_first().map_or((0, &[][..]), |(field, rest)| (*field, rest));
        let piece = self.message.field(segment, field);
        let repetitions = piece.map_or_else(Vec::new, |piece| self.message.repetitions(piece));
        let equal = repetitions.iter().any(|repetition| self.element_is(*repetition, rest, &condition.text))
            || (repetitions.is_empty() && condition.text.is_empty());
        equal == condition.equal
    }

    fn repetition_fits(&self, repetition: Piece<'m>, condition: &Condition) -> bool {
        self.element_is(repetition, &condition.element, &condition.text) == condition.equal
    }

    /// Does a part of a repetition (all of it, where no part is named: or its first part) say this text.
    fn element_is(&self, repetition: Piece<'m>, element: &[usize], text: &str) -> bool {
        let says = |piece: Piece<'m>| self.message.unescape(piece).trim() == text;
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
        scope: &Scope<'m>,
        segment: usize,
        (field, selector, every): (usize, Option<&Selector>, bool),
        such: &mut dyn FnMut(Repetition<'m>) -> bool,
    ) -> bool {
        let fits = |repetition: &Repetition<'m>, condition: &Condition| self.repetition_fits(repetition.piece, condition);
        if let Some(current) = scope.current.iter().rev().find(|current| current.segment == segment && current.field == field) {
            // Inside `over`, the field is this one repetition; only a condition can still say no.
            let selector = selector.filter(|selector| matches!(selector, Selector::Where(_)));
            return any_selected(&[*current], (selector, true), &fits, such);
        }
        let Some(whole) = self.message.field(segment, field).filter(|whole| !whole.text.is_empty()) else { return false };
        let repeats =
            self.message.delimiters().repetition.is_some_and(|delimiter| memchr::memchr(delimiter, whole.text.as_bytes()).is_some());
        if !repeats {
            return any_selected(&[Repetition { segment, field, number: (1, 1), piece: whole }], (selector, every), &fits, such);
        }
        let pieces = self.message.repetitions(whole);
        if !self.spend(pieces.len()) {
            return false;
        }
        let total = pieces.len();
        let all: Vec<Repetition<'m>> =
            pieces.into_iter().enumerate().map(|(at, piece)| Repetition { segment, field, number: (at + 1, total), piece }).collect();
        any_selected(&all, (selector, every), &fits, such)
    }

    /// The repetition that a `[let]` names here, chosen once for each scope.
    fn chosen(&self, scope: &Scope<'m>, index: usize) -> Option<Repetition<'m>> {
        if let Some(Some(known)) = scope.chosen.borrow().get(index) {
            return *known;
        }
        let sources = self.lets.get(index).map_or(&[][..], |one| one.sources.as_slice());
        // A name means the same for every repetition that `over` goes through.
        let outer = Scope { current: Vec::new(), ..scope.clone() };
        let found = sources.iter().filter_map(Path::v2).find_map(|path| {
            let mut found = None;
            self.any_whole(&outer, path, false, &mut |repetition| {
                found = (!repetition.piece.text.is_empty()).then_some(repetition);
                found.is_some()
            });
            found
        });
        let mut chosen = scope.chosen.borrow_mut();
        if chosen.len() <= index {
            chosen.resize(index + 1, None);
        }
        if let Some(slot) = chosen.get_mut(index) {
            *slot = Some(found);
        }
        found
    }

    /// Shows the repetitions that a path with a field means, whatever part of them it names, until one is such.
    fn any_whole(&self, scope: &Scope<'m>, path: &V2Path, every: bool, such: &mut dyn FnMut(Repetition<'m>) -> bool) -> bool {
        match (&path.root, &path.field) {
            (Root::Let(index), _) => self.chosen(scope, *index).is_some_and(such),
            (Root::Segment(id, selector), Some((field, among))) => {
                let asked = (*field, among.as_ref(), every);
                self.any_segment(scope, id, (selector.as_ref(), every), &mut |segment| self.any_repetition(scope, segment, asked, such))
            }
            (Root::Segment(..), None) => false,
        }
    }

    /// The part of a repetition that a path names; `None` where it is not there or blank.
    fn part(&self, repetition: Repetition<'m>, path: &V2Path, scalar: bool) -> Option<Hit<'m, Place>> {
        let hit = |piece: Piece<'m>, null: bool| {
            let bytes = (piece.start, piece.start + piece.text.len());
            let place = Place {
                segment: repetition.segment,
                field: repetition.field,
                repetition: repetition.number,
                component: path.component,
                sub: path.sub,
                bytes,
            };
            let text = if null { Cow::Borrowed(piece.text) } else { self.message.unescape(piece) };
            (!text.trim().is_empty()).then_some(Hit { text, null, place })
        };
        if repetition.piece.is_null() {
            return hit(repetition.piece, true);
        }
        let piece = match (path.component, path.sub) {
            (None, _) if scalar => self.message.first_part(repetition.piece),
            (None, _) => repetition.piece,
            (Some(component), None) => {
                let whole = self.message.component(repetition.piece, component, None)?;
                if scalar { self.message.component(repetition.piece, component, Some(1)).unwrap_or(whole) } else { whole }
            }
            (Some(component), Some(sub)) => {
                if let Some(whole) = self.message.component(repetition.piece, component, None).filter(Piece::is_null) {
                    return hit(whole, true);
                }
                self.message.component(repetition.piece, component, Some(sub))?
            }
        };
        if piece.text.is_empty() { None } else { hit(piece, piece.is_null()) }
    }

    fn inner(
        &self,
        scope: &Scope<'m>,
        owned: impl IntoIterator<Item = (usize, Owned)>,
        current: Option<Repetition<'m>>,
        on: usize,
    ) -> Scope<'m> {
        let chosen = if self.lets.is_empty() { Rc::clone(&scope.chosen) } else { Rc::default() };
        let mut inner = Scope { owned: scope.owned.clone(), current: scope.current.clone(), chosen, on: Some(on) };
        inner.owned.extend(owned);
        inner.current.extend(current);
        inner
    }

    fn enter_segments(&self, scope: &Scope<'m>, record: &Record, path: &V2Path) -> Entered<Scope<'m>> {
        let Root::Segment(id, selector) = &path.root else { return Entered::same(scope.clone()) };
        let anchors = self.visible(scope, id).to_vec();
        let taken = self.segments(scope, id, selector.as_ref(), true);
        let orphans = self.orphans(scope, record, (id, &anchors));
        let groups: Vec<Vec<usize>> = match &record.group_by {
            Some(by) => self.groups(scope, &taken, by),
            None => taken.into_iter().map(|segment| vec![segment]).collect(),
        };
        let scopes = groups.into_iter().filter_map(|group| {
            let first = *group.first()?;
            // Segments are in the order of the message, so what lies between two of them is one slice.
            let after = |places: &[usize]| places.partition_point(|place| *place <= first);
            let end = anchors.get(after(&anchors)).copied().unwrap_or(usize::MAX);
            let spans = record.span.iter().filter_map(|id| {
                let places = self.visible(scope, id);
                let inside = places.get(after(places)..places.partition_point(|place| *place < end));
                Some((self.known(id)?, Owned::of(inside.unwrap_or_default())))
            });
            let begin = anchors.partition_point(|anchor| *anchor < first).checked_sub(1).and_then(|before| anchors.get(before)).copied();
            let leads = record.lead.iter().filter_map(|id| {
                let places = self.visible(scope, id);
                let from = begin.map_or(0, |begin| places.partition_point(|place| *place < begin));
                let ahead = places.get(from..places.partition_point(|place| *place < first));
                Some((self.known(id)?, Owned::of(ahead.unwrap_or_default())))
            });
            let owned: Vec<(usize, Owned)> = leads.chain(spans).chain(self.known(id).map(|known| (known, Owned::of(&group)))).collect();
            let size = owned.iter().map(|(_, owned)| owned.as_slice().len()).sum();
            self.spend(size).then(|| self.inner(scope, owned, None, first))
        });
        Entered { scopes: scopes.collect(), orphans, cleared: false }
    }

    /// Segments of the span before the first one that could own them, and of the lead behind the last.
    fn orphans(&self, scope: &Scope<'m>, record: &Record, (id, anchors): (&str, &[usize])) -> Vec<(String, String)> {
        let (first, last) = (anchors.first().copied(), anchors.last().copied());
        let before = |segment: &&usize| first.is_none_or(|first| **segment < first);
        let behind = |segment: &&usize| last.is_none_or(|last| last < **segment);
        let of_span = record.span.iter().flat_map(|owned| self.visible(scope, owned).iter().filter(before).copied().collect::<Vec<_>>());
        let of_lead = record.lead.iter().flat_map(|owned| self.visible(scope, owned).iter().filter(behind).copied().collect::<Vec<_>>());
        let orphans = of_span.chain(of_lead);
        orphans.take(100).map(|segment| (self.numbered(segment), id.to_owned())).collect()
    }

    fn groups(&self, scope: &Scope<'m>, segments: &[usize], by: &V2Path) -> Vec<Vec<usize>> {
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

    fn enter_repetitions(&self, scope: &Scope<'m>, path: &V2Path) -> Entered<Scope<'m>> {
        let Root::Segment(id, selector) = &path.root else { return Entered::same(scope.clone()) };
        let Some((field, among)) = &path.field else { return Entered::same(scope.clone()) };
        let mut entered = Entered { scopes: Vec::new(), orphans: Vec::new(), cleared: false };
        for segment in self.segments(scope, id, selector.as_ref(), true) {
            self.any_repetition(scope, segment, (*field, among.as_ref(), true), &mut |repetition| {
                if repetition.piece.is_null() {
                    entered.cleared = true;
                } else if !self.message.unescape(repetition.piece).trim().is_empty() {
                    let owned = self.known(id).map(|known| (known, Owned::One([segment])));
                    entered.scopes.push(self.inner(scope, owned, Some(repetition), segment));
                }
                false
            });
        }
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
}

/// Shows the ones among `all` that a selector means until one is such.
fn any_selected<T: Copy>(
    all: &[T],
    (selector, every): (Option<&Selector>, bool),
    fits: &dyn Fn(&T, &Condition) -> bool,
    such: &mut dyn FnMut(T) -> bool,
) -> bool {
    match selector {
        Some(Selector::All) => all.iter().any(|one| such(*one)),
        None if every => all.iter().any(|one| such(*one)),
        None => all.first().is_some_and(|one| such(*one)),
        Some(Selector::Last) => all.last().is_some_and(|one| such(*one)),
        Some(Selector::Number(number)) => number.checked_sub(1).and_then(|at| all.get(at)).is_some_and(|one| such(*one)),
        Some(Selector::Where(condition)) => all.iter().any(|one| fits(one, condition) && such(*one)),
    }
}

impl<'m> View<'m> for V2View<'m, '_> {
    type Scope = Scope<'m>;
    type Place = Place;

    fn root(&self) -> Scope<'m> {
        Scope { owned: Vec::new(), current: Vec::new(), chosen: Rc::default(), on: None }
    }

    fn any(&self, scope: &Scope<'m>, path: &Path, mode: Mode, such: &mut dyn FnMut(Hit<'m, Place>) -> bool) -> bool {
        let Path::V2(path) = path else { return false };
        if path.field.is_none()
            && let Root::Segment(id, selector) = &path.root
        {
            return self.any_segment(scope, id, (selector.as_ref(), true), &mut |segment| {
                let Some(piece) = self.message.segment(segment) else { return false };
                let place = Place {
                    segment,
                    field: 0,
                    repetition: (1, 1),
                    component: None,
                    sub: None,
                    bytes: (piece.start, piece.start + piece.text.len()),
                };
                such(Hit { text: Cow::Borrowed(self.message.segment_id(segment)), null: false, place })
            });
        }
        self.any_whole(scope, path, mode.every, &mut |repetition| self.part(repetition, path, mode.scalar).is_some_and(&mut *such))
    }

    fn count(&self, scope: &Scope<'m>, path: &Path) -> usize {
        let mut count = 0;
        self.any(scope, path, Mode { scalar: false, every: true }, &mut |_| {
            count += 1;
            false
        });
        count
    }

    fn enter(&self, scope: &Scope<'m>, record: &Record) -> Entered<Scope<'m>> {
        match &record.over {
            Some(Over::Segment(path)) => self.enter_segments(scope, record, path),
            Some(Over::Field(path)) => self.enter_repetitions(scope, path),
            Some(Over::Nodes(_)) | None => Entered::same(scope.clone()),
        }
    }

    fn place(&self, place: &Place) -> String {
        let mut text = self.numbered(place.segment);
        if place.field > 0 {
            text = format!("{text}-{}", place.field);
        }
        if place.repetition.1 > 1 {
            text = format!("{text}[{}]", place.repetition.0);
        }
        for part in [place.component, place.sub].into_iter().flatten() {
            text = format!("{text}.{part}");
        }
        text
    }

    fn bytes(&self, place: &Place) -> Option<Range<usize>> {
        Some(place.bytes.0..place.bytes.1)
    }

    fn stands_on(&self, scope: &Scope<'m>) -> String {
        scope.on.map_or_else(String::new, |segment| self.numbered(segment))
    }

    fn is_exhausted(&self) -> bool {
        self.work.get() > WORK_MAX
    }
}

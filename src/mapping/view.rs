//! A message as rules see it, whatever its dialect: what paths find, where, and what a record may see.
//!
//! # Not here
//!
//! Finding itself: `eval_v2.rs` for segments, `eval_fhir.rs` for trees.

use std::borrow::Cow;
use std::ops::Range;

use jiff::civil::Date;

use super::condition::{Ask, Condition};
use super::explain::{At, Notes};
use super::path::Path;
use super::record::Record;

/// Something that a path found.
#[derive(Clone, Debug)]
pub(super) struct Hit<'d, P> {
    /// The text, unescaped; never blank.
    pub text: Cow<'d, str>,
    /// HL7 null; the text is then two quotation marks.
    pub null: bool,
    /// Where.
    pub place: P,
}

/// How much a path without selectors means, and how deep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mode {
    /// Without a component, the first component.
    pub scalar: bool,
    /// Without a selector, all of them.
    pub every: bool,
}

/// The scopes of a record's instances.
#[derive(Default)]
pub(super) struct Entered<I> {
    /// One for each instance.
    pub scopes: I,
    /// Places that belong to no instance, with what they should belong to: `OBX[1]`, `OBR`.
    pub orphans: Vec<(String, String)>,
    /// The field that `over` names was sent as null.
    pub cleared: bool,
}

/// A message as paths see it.
pub(super) trait View<'d> {
    /// What a record's paths may see.
    type Scope: Copy;
    /// Scopes of several instances.
    type Scopes: Iterator<Item = Self::Scope> + Default;
    /// A place in the message.
    type Place: Clone;
    /// The whole message.
    fn root(&self) -> Self::Scope;
    /// Shows values that are not blank, in order, until one is such.
    fn any(&self, scope: &Self::Scope, path: &Path, mode: Mode, such: &mut dyn FnMut(Hit<'d, Self::Place>) -> bool) -> bool;
    /// The only text that [`View::any_text`] would show; the empty text where it would show none. `None` where there may be several, or
    /// where it has to be put together first.
    fn only_text(&self, scope: &Self::Scope, path: &Path) -> Option<&str>;
    /// Shows the texts of [`View::any`] as conditions compare them, without blanks at their ends.
    fn any_text(&self, scope: &Self::Scope, path: &Path, such: &mut dyn FnMut(&str) -> bool) -> bool {
        self.any(scope, path, Mode { scalar: true, every: false }, &mut |hit| such(trimmed(&hit.text)))
    }
    /// The first value that is not blank.
    fn first(&self, scope: &Self::Scope, path: &Path, mode: Mode) -> Option<Hit<'d, Self::Place>> {
        let mut first = None;
        self.any(scope, path, mode, &mut |hit| {
            first = Some(hit);
            true
        });
        first
    }
    /// Is anything there that is not null.
    fn exists(&self, scope: &Self::Scope, path: &Path) -> bool {
        self.any(scope, path, Mode { scalar: false, every: true }, &mut |hit| !hit.null)
    }
    /// How many segments, repetitions or nodes there are.
    fn count(&self, scope: &Self::Scope, path: &Path) -> usize;
    /// The instances of a record that is made `over` something.
    fn enter(&self, scope: &Self::Scope, record: &Record) -> Entered<Self::Scopes>;
    /// `PID-3[2].1`
    fn place(&self, place: &Self::Place) -> String;
    /// The place as a note keeps it.
    fn note(&self, place: &Self::Place, notes: &mut Notes) -> At;
    /// Bytes of the message text.
    fn bytes(&self, place: &Self::Place) -> Option<Range<usize>>;
    /// True where more is said at the place than was read: further sub-components of a component that a path names as a whole.
    fn says_more(&self, _place: &Self::Place) -> bool {
        false
    }
    /// What a scope stands on, `OBR[1]`; empty for the whole message.
    fn stands_on(&self, scope: &Self::Scope) -> String;
    /// The day on which the message came, where that is known.
    fn received(&self) -> Option<Date>;
    /// The work allowed for one message is used up.
    fn is_exhausted(&self) -> bool;
}

/// Nothing but blanks.
pub(super) fn is_blank(text: &str) -> bool {
    trimmed(text).is_empty()
}

/// [`str::trim`], quickly where there is nothing to trim.
pub(super) fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~'] | [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

struct Asking<'q, V, S> {
    view: &'q V,
    scope: &'q S,
}

impl<'d, V: View<'d>> Ask for Asking<'_, V, V::Scope> {
    #[inline]
    fn only(&self, path: &Path) -> Option<&str> {
        self.view.only_text(self.scope, path)
    }
    fn any(&self, path: &Path, such: &mut dyn FnMut(&str) -> bool) -> bool {
        self.view.any_text(self.scope, path, such)
    }
    fn count(&self, path: &Path) -> usize {
        self.view.count(self.scope, path)
    }
    fn exists(&self, path: &Path) -> bool {
        self.view.exists(self.scope, path)
    }
    fn received(&self) -> Option<Date> {
        self.view.received()
    }
}

/// Does a condition hold in a scope.
pub(super) fn holds<'d, V: View<'d>>(view: &V, scope: &V::Scope, condition: &Condition) -> bool {
    condition.holds(&Asking { view, scope })
}

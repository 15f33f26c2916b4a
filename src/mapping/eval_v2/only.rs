//! Paths that can mean one repetition only: most of those that a file has, and found without looking through anything.

use super::index::number_of;
use super::{Scope, V2View};
use crate::hl7::{Repetition, wide};
use crate::mapping::path::{Root, Selector, V2Path};

impl V2View<'_, '_> {
    /// The repetition that a field of the first segment with this name means in a scope.
    #[inline]
    pub(super) fn first_of_first(&self, scope: Scope, name: u32, field: usize) -> Option<Repetition> {
        if !self.spend(1) {
            return None;
        }
        let (segment, has_current) = {
            let scopes = self.scopes.borrow();
            let inside = scope.number.checked_sub(1).and_then(|at| scopes.get(wide(at)));
            match inside {
                Some(inside) if inside.name == name => match inside.current {
                    // Most fields that are asked for inside a repetition are parts of it.
                    Some(current) if !scope.bare && wide(current.field) == field => return Some(current),
                    _ => (wide(inside.on), inside.has_current),
                },
                _ => {
                    let has_current = inside.is_some_and(|inside| inside.has_current);
                    (self.segment(self.visible_of(scope, self.filled(name, field)?), 0)?, has_current)
                }
            }
        };
        let current = if has_current { self.current(scope, segment, field) } else { None };
        current.or_else(|| self.first_repetition(segment, field))
    }

    /// The only repetition that a path can mean; the outer `None`: it may mean several, or has to choose.
    #[expect(clippy::option_option, reason = "`nothing is there` and `look further` are different answers")]
    #[inline]
    pub(super) fn only(&self, scope: Scope, path: &V2Path) -> Option<Option<Repetition>> {
        let (id, field, among) = match (&path.root, &path.field) {
            (Root::Segment(id, None), Some((field, among))) => (id, *field, among),
            (Root::Segment(..), Some(_)) => return self.single(scope, path),
            (Root::Segment(..), None) => return None,
            (Root::Let(index), _) => return Some(self.chosen(scope, *index)),
        };
        self.only_among(self.first_of_first(scope, number_of(id), field), among.as_ref())
    }

    /// The only repetition of a field that a selector can mean, by the first; the outer `None`: it may mean several, or has to choose.
    #[expect(clippy::option_option, reason = "`nothing is there` and `look further` are different answers")]
    #[inline]
    pub(super) fn only_among(&self, first: Option<Repetition>, among: Option<&Selector>) -> Option<Option<Repetition>> {
        let is_only = first.is_none_or(|first| !first.is_one_of_several);
        match among {
            None => Some(first),
            Some(Selector::All | Selector::Last) => is_only.then_some(first),
            Some(Selector::Where(condition)) => is_only.then(|| first.filter(|first| self.repetition_fits(first, condition))),
            Some(Selector::Number(_)) => None,
        }
    }

    /// The only repetition that a path can mean that asks for all of them, because there is only one; the outer `None`: there may be
    /// several, or it has to choose.
    #[expect(clippy::option_option, reason = "`nothing is there` and `look further` are different answers")]
    pub(super) fn single(&self, scope: Scope, path: &V2Path) -> Option<Option<Repetition>> {
        let (Root::Segment(id, None | Some(Selector::All | Selector::Last)), Some((field, None | Some(Selector::All | Selector::Last)))) =
            (&path.root, &path.field)
        else {
            return None;
        };
        let name = number_of(id);
        if 1 < self.visible(scope, name).len() {
            return None;
        }
        let first = self.first_of_first(scope, name, *field);
        first.is_none_or(|first| !first.is_one_of_several).then_some(first)
    }
}

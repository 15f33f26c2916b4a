//! Which word on a field stands when several sources spoke of it.
//!
//! Of each field the newest word of each source is known, as far as it could still matter (mostly that is one word).
//! Which of them stands is a pure function of that set, so the order of arrival cannot matter.
//!
//! # What always holds
//!
//! - An older word never replaces a newer one of the same source.
//! - A clear takes back older words of its own rank and of lower ones, never a word of a higher rank.
//! - A word is forgotten only when another is newer and at least as strong in every respect: whatever
//!   comes later, the forgotten one could not have stood again.
//!
//! # Not here
//!
//! What a field is: [`super::merge`] names the groups and the rule of each.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Record, Said};
use crate::canon::{Address, Date, Death, GpRegistration, Identifier, IdentifierUse, Instant, Name, Relation, Sex, Telecom};

/// A word that does not stand but could stand again, or one that is shown otherwise than it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Who said it, and when.
    pub said: Said,
    /// The value; null where the source said that there is none.
    pub value: serde_json::Value,
}

/// How the words of sources of different rank compare (canonical model, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// National, then all who know the child alike by event time, then others: name, sex.
    National,
    /// National, then the practice, then maternity, laboratory and PAS alike by event time, then others: address, practice, death.
    Home,
    /// National, maternity, PAS, others: birth facts.
    Birth,
    /// Maternity, national, PAS, others: weight, gestation, delivery.
    Delivery,
    /// The newest event, whoever says it: telephone, language, identifiers.
    Newest,
    /// The most careful word; taken back only by its own source or the national record (identity rules, section 9).
    Careful,
}

impl Rule {
    fn weight(self, rank: u8) -> u8 {
        match (self, rank) {
            (Self::Newest | Self::Careful, _) | (Self::Birth | Self::Delivery, PRACTICE) => 0,
            (Self::Home, PRACTICE) => 2,
            (Self::Home | Self::National, MATERNITY | PAS) | (Self::National, PRACTICE) => 1,
            (Self::Delivery, MATERNITY) => 4,
            (_, rank) => rank,
        }
    }
    /// Who may take back whose word. Never disagrees with the weight: more power is never less weight.
    pub(super) fn power(self, rank: u8) -> u8 {
        match (self, rank) {
            (Self::Delivery, rank) => self.weight(rank),
            (Self::Birth, PRACTICE) => 0,
            (Self::Home, NATIONAL) => 4,
            (Self::Home, PRACTICE) => 3,
            (_, PRACTICE) => MATERNITY,
            (_, rank) => rank,
        }
    }
}

/// Ranks of sources: [`Said::rank`].
pub(super) const NATIONAL: u8 = 3;
const MATERNITY: u8 = 2;
const PAS: u8 = 1;
/// Its place depends on the field.
const PRACTICE: u8 = 4;

/// A start further ahead than this is a slip of the pen and does not hold the field. Microseconds.
const AHEAD_US_MAX: i64 = 366 * 24 * 3600 * 1_000_000;

/// What can be said of a field.
pub(super) trait Word: Clone + PartialEq + Serialize + DeserializeOwned {
    /// The best [`Word::quality`]; a clear has it.
    const BEST: u8 = 0;
    /// False where a newer word of any rank stands against "there is none": a death after a removal.
    const NONE_BINDS: bool = true;
    /// Better words win before rank and time are looked at: a real name over a placeholder.
    fn quality(&self, _rank: u8) -> u8 {
        Self::BEST
    }
    /// The moment before which the word cannot be overtaken, where it says one: the start of an address.
    fn since_us(&self) -> Option<i64> {
        None
    }
    /// False where a word stays known after it was taken back: that it was said matters.
    const FORGOTTEN: bool = true;
    /// True for a word that takes back what was said, as a clear does.
    fn takes_back(&self) -> bool {
        false
    }
    /// For a word that takes back: which words of its own source it means.
    fn means(&self, _word: &Self) -> bool {
        true
    }
    /// Words of one source on different strands do not replace each other.
    fn strand(&self) -> u8 {
        0
    }
    /// For [`Rule::Careful`]: greater is more careful.
    fn care(&self) -> u8 {
        0
    }
}

impl Word for i64 {}
impl Word for Sex {}
impl Word for Date {}
impl Word for Instant {}
impl Word for (i64, Option<i64>) {}
impl Word for Vec<Telecom> {}
impl Word for Vec<Relation> {}
impl Word for Vec<GpRegistration> {}

impl Word for bool {
    fn care(&self) -> u8 {
        u8::from(*self)
    }
}

impl Word for String {
    fn care(&self) -> u8 {
        match self.as_str() {
            "invalid" => 3,
            "very_restricted" => 2,
            "restricted" => 1,
            _ => 0,
        }
    }
}

impl Word for Vec<Name> {
    const BEST: u8 = 1;
    /// PDS and registered names over placeholders (canonical model, section 4).
    fn quality(&self, _rank: u8) -> u8 {
        u8::from(self.iter().any(|name| !name.placeholder))
    }
}

impl Word for Vec<Address> {
    /// An address older than the stored `period.start` never replaces (canonical model, section 4).
    fn since_us(&self) -> Option<i64> {
        let starts = self.iter().filter_map(|address| address.period.as_ref()?.start.as_ref()?.timestamp());
        starts.map(|start| start.as_microsecond()).max()
    }
}

impl Word for Death {
    const NONE_BINDS: bool = false;
    const FORGOTTEN: bool = false;
    fn takes_back(&self) -> bool {
        self.status.as_deref() == Some("removed")
    }
    /// A removal with a ground takes back what was said on that ground; one without takes back all.
    fn means(&self, word: &Self) -> bool {
        self.ground.is_none() || self.ground.as_deref().unwrap_or(Self::INDICATOR) == word.ground.as_deref().unwrap_or(Self::INDICATOR)
    }
    fn strand(&self) -> u8 {
        let ground = match self.ground.as_deref() {
            None => 0,
            Some(Self::INDICATOR) => 1,
            Some(_) => 2,
        };
        if self.takes_back() { 3 + ground } else { ground }
    }
}

impl Word for Identifier {
    const BEST: u8 = 3;
    /// An NHS number verified by the national record, verified by another, unverified (canonical model, section 4).
    /// A local identifier that was given up stays given up, however late a message still names it.
    fn quality(&self, rank: u8) -> u8 {
        let is_given_up = self.usage != IdentifierUse::Current;
        match (self.nhs_number().is_some(), self.status.as_deref(), rank) {
            (true, None | Some("01"), NATIONAL) => 3,
            (true, Some("01"), _) => 2,
            (true, ..) => 1,
            (false, ..) => u8::from(is_given_up),
        }
    }
}

/// One source's word, or its "there is none".
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard<T> {
    pub(super) said: Said,
    pub(super) word: Option<T>,
}

impl<T: Word> Heard<T> {
    pub(super) fn quality(&self) -> u8 {
        self.word.as_ref().map_or(T::BEST, |word| word.quality(self.said.rank))
    }
    /// When it was said; a later start of its own counts instead.
    pub(super) fn moment(&self) -> (i64, i64, i64) {
        let at = self.said.at_us;
        let since = self.word.as_ref().and_then(Word::since_us).filter(|since| *since <= at.saturating_add(AHEAD_US_MAX));
        (since.map_or(at, |since| since.max(at)), self.said.version, self.said.seq)
    }
    fn is_none(&self) -> bool {
        self.word.as_ref().is_none_or(Word::takes_back)
    }
    /// Words of the same slot replace each other by time. A source has a slot for each quality, so that its
    /// placeholder, said later, does not wipe out its real name.
    fn slot(&self) -> (&str, u8, u8, u8) {
        (&self.said.source, self.said.rank, self.quality(), self.strand())
    }
    fn strand(&self) -> u8 {
        // Where nothing is forgotten, a clear does not replace what it clears either.
        self.word.as_ref().map_or(if T::FORGOTTEN { 0 } else { u8::MAX }, Word::strand)
    }
    /// May this, which says "there is none", take `word` back? A removal reaches words of its own source, and the
    /// national record's those of everybody (identity rules, section 7).
    fn takes_back(&self, word: &Self, rule: Rule) -> bool {
        match (&self.word, &word.word) {
            (Some(removal), Some(said)) => (self.said.rank == 3 || self.said.source == word.said.source) && removal.means(said),
            _ => rule.power(word.said.rank) <= rule.power(self.said.rank),
        }
    }
    fn text(&self) -> String {
        serde_json::to_string(&self.word).unwrap_or_default()
    }
    /// Replaces an earlier word of the same slot. Equal in all, the greater text wins, so that no order of arrival shows.
    pub(super) fn replaces(&self, earlier: &Self) -> bool {
        let ours = (self.moment(), self.word.is_some());
        let theirs = (earlier.moment(), earlier.word.is_some());
        theirs < ours || (theirs == ours && earlier.text() < self.text())
    }
    /// Whatever is said later, `other` cannot stand before this.
    fn outlasts(&self, other: &Self, rule: Rule) -> bool {
        if self.moment() <= other.moment() {
            return false;
        }
        match rule {
            Rule::Careful => self.said.rank == NATIONAL,
            rule => {
                rule.power(other.said.rank) <= rule.power(self.said.rank)
                    && rule.weight(other.said.rank) <= rule.weight(self.said.rank)
                    && other.quality() <= self.quality()
            }
        }
    }
}

/// Which of the words stands.
fn standing<T: Word>(words: &[Heard<T>], rule: Rule) -> Option<&Heard<T>> {
    let order = |word: &Heard<T>| (word.moment(), word.said.rank, word.said.source.clone(), word.quality(), word.strand());
    if rule == Rule::Careful {
        let binding = |word: &&Heard<T>| !words.iter().any(|other| other.outlasts(word, rule));
        return words.iter().filter(binding).max_by_key(|w| (w.word.as_ref().map_or(0, Word::care), w.word.is_some(), order(w)));
    }
    let taken_back = |word: &Heard<T>| {
        let by = |none: &Heard<T>| none.is_none() && word.moment() < none.moment() && none.takes_back(word, rule);
        words.iter().any(by)
    };
    let alive: Vec<&Heard<T>> = words.iter().filter(|word| !word.is_none() && !taken_back(word)).collect();
    let binding = |none: &&Heard<T>| {
        let outranked = alive.iter().any(|word| rule.power(none.said.rank) < rule.power(word.said.rank));
        none.is_none() && (alive.is_empty() || T::NONE_BINDS) && !outranked
    };
    let nones = words.iter().filter(binding);
    alive.iter().copied().chain(nones).max_by_key(|w| (w.quality(), rule.weight(w.said.rank), w.moment(), !w.is_none(), order(w)))
}

/// Where a group's standing word is kept when the record shows it otherwise than it was said.
fn as_said(group: &str) -> String {
    format!("{group} as said")
}

impl<T: Word> Heard<T> {
    fn to_kept(&self) -> Kept {
        Kept { said: self.said.clone(), value: serde_json::to_value(&self.word).unwrap_or_default() }
    }
    fn from_kept(kept: &Kept) -> Option<Self> {
        let word = if kept.value.is_null() { None } else { Some(serde_json::from_value(kept.value.clone()).ok()?) };
        Some(Self { said: kept.said.clone(), word })
    }
}

impl Record {
    /// The word that stands on a group, as it was said. `shown` is what the record shows of it.
    pub(super) fn stands<T: Word>(&self, group: &str, shown: Option<T>) -> Option<Heard<T>> {
        if let Some(kept) = self.kept.get(&as_said(group)).and_then(|kept| kept.first()) {
            return Heard::from_kept(kept);
        }
        self.said.get(group).map(|said| Heard { said: said.clone(), word: shown })
    }

    /// All words on a group that are known: those that do not stand, and the one that does.
    pub(super) fn words<T: Word>(&self, group: &str, shown: Option<T>) -> Vec<Heard<T>> {
        let mut words: Vec<Heard<T>> = self.kept.get(group).into_iter().flatten().filter_map(Heard::from_kept).collect();
        words.extend(self.stands(group, shown));
        words
    }

    /// Keeps the word that stands as it was said, where the record shows another or none.
    pub(super) fn show<T: Word>(&mut self, group: &str, said: &T, shown: Option<&T>) {
        self.kept.remove(&as_said(group));
        let Some(by) = self.said.get(group).cloned().filter(|_| shown != Some(said)) else { return };
        let heard = Heard { said: by, word: Some(said.clone()) };
        self.kept.insert(as_said(group), vec![heard.to_kept()]);
    }

    /// When a group was taken off a record that shows nothing of it, microseconds since 1970.
    pub(super) fn taken_off(&self, group: &str) -> Option<i64> {
        let is_said = self.kept.contains_key(group) || self.kept.contains_key(&as_said(group));
        self.said.get(group).filter(|_| !is_said).map(|said| said.at_us)
    }

    /// Forgets every word on a group.
    pub(super) fn forget(&mut self, group: &str) {
        self.kept.remove(group);
        self.kept.remove(&as_said(group));
        self.said.remove(group);
    }

    /// Hears `new` on a group and tells what stands now. `shown` is what the record showed of it.
    pub(super) fn hear<T: Word>(&mut self, group: &str, rule: Rule, shown: Option<T>, new: Heard<T>) -> Option<T> {
        let mut words = self.words(group, shown);
        match words.iter_mut().find(|word| word.slot() == new.slot()) {
            Some(earlier) if new.replaces(earlier) => *earlier = new,
            Some(_) => {}
            None => words.push(new),
        }
        let stands = standing(&words, rule)?.clone();
        let outlasted = |word: &Heard<T>| T::FORGOTTEN && words.iter().any(|other| other.outlasts(word, rule));
        let lasting = |word: &&Heard<T>| **word != stands && !outlasted(word);
        let mut others: Vec<&Heard<T>> = words.iter().filter(lasting).collect();
        others.sort_by_key(|word| word.slot());
        let others: Vec<Kept> = others.into_iter().map(Heard::to_kept).collect();
        self.kept.remove(&as_said(group));
        if others.is_empty() {
            self.kept.remove(group);
        } else {
            self.kept.insert(group.to_owned(), others);
        }
        self.said.insert(group.to_owned(), stands.said);
        stands.word
    }
}

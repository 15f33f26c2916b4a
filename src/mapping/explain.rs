//! Where each canonical value came from: kept as numbers and one text while a message is read, put into words when somebody looks.
//!
//! Every value of every message is explained, and nearly none of it is ever looked at. So a note is a rule's number, a place and two
//! pieces of one text; names of files, fields and converters are in the [`Legend`] of the mapping, which all its readings share.
//!
//! # Invariants
//!
//! - An [`Explanation`] holds all it needs: it says the same when the bundle and the message are long gone.

use std::fmt::Write;
use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use serde::{Serialize, Serializer};

use super::Provenance;
use super::load::Mapping;

/// A piece of the text of an explanation.
type Piece = Range<u32>;

/// The rule of a note that counts no more; no legend has it.
const GONE: usize = usize::MAX;

/// What a note says in numbers, in words: one for each mapping.
#[derive(Debug, Default)]
pub(super) struct Legend {
    rules: Vec<Entry>,
}

/// One rule.
#[derive(Debug)]
struct Entry {
    /// `birth.date`
    field: String,
    /// `adt-person.toml:30`
    origin: String,
    /// `date`
    converter: Option<&'static str>,
    /// Name and files of its table.
    table: Option<(String, Vec<String>)>,
}

impl Legend {
    /// The legend of a mapping; rules get their numbers.
    pub fn of(records: &mut [super::record::Record]) -> Self {
        let mut rules = Vec::new();
        for rule in records.iter_mut().flat_map(|record| &mut record.rules) {
            rule.number = rules.len();
            let table = rule.table.as_ref();
            rules.push(Entry {
                field: rule.field.clone(),
                origin: rule.origin.short(),
                converter: rule.converter.map(super::convert::Converter::word),
                table: table.map(|(table, _)| (table.name.clone(), table.sheets.iter().map(|sheet| sheet.file.clone()).collect())),
            });
        }
        Self { rules }
    }
}

/// What was done to a value after it was found and converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    None,
    /// It stands in the mapping.
    Constant,
    /// It stands in the mapping, for messages that say nothing.
    Default,
    /// This line of this sheet of the table.
    Row(usize, usize),
    /// The table does not know it.
    Unmapped,
}

/// Where a value stands in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Nowhere: a constant.
    Nowhere,
    /// In a segment.
    Segment(Place),
    /// In a tree: its path.
    Node(Piece),
}

/// A place in an HL7 v2 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Name of the segment.
    pub id: [u8; 3],
    /// Which of its name, from 1; 0 where it is the only one.
    pub occurrence: u32,
    /// From 1; 0 for the whole segment.
    pub field: u32,
    /// From 1; 0 where it is the only one.
    pub repetition: u32,
    /// From 1; 0 for the whole.
    pub component: u32,
    /// From 1; 0 for the whole.
    pub sub: u32,
    /// First byte and the one after the last.
    pub bytes: (u32, u32),
}

impl Place {
    /// `NK1[2]-5[1].1`
    pub fn write(&self, out: &mut String) {
        out.push_str(std::str::from_utf8(&self.id).unwrap_or_default());
        let mut part = |before: char, number: u32, after: &str| {
            if number > 0 {
                let _ = write!(out, "{before}{number}{after}");
            }
        };
        part('[', self.occurrence, "]");
        part('-', self.field, "");
        part('[', self.repetition, "]");
        part('.', self.component, "");
        part('.', self.sub, "");
    }

    /// The bytes of the message text.
    pub fn range(&self) -> Range<usize> {
        let number = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        number(self.bytes.0)..number(self.bytes.1)
    }
}

/// One value.
#[derive(Clone, Debug)]
struct Note {
    rule: usize,
    /// Which of several values of the rule.
    index: Option<u32>,
    value: Piece,
    raw: Piece,
    at: At,
    step: Step,
}

/// The notes of one record, and where it stands: `child` and `names`, number 0.
#[derive(Clone, Debug)]
struct Group {
    owner: Option<usize>,
    member: &'static str,
    index: Option<usize>,
    notes: Range<usize>,
}

/// Notes being taken.
#[derive(Debug, Default)]
pub(super) struct Notes {
    text: String,
    notes: Vec<Note>,
    groups: Vec<Group>,
}

impl Notes {
    /// With room for what most messages say.
    pub fn with_room(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), notes: Vec::with_capacity(64), groups: Vec::with_capacity(16) }
    }

    /// Writes something into the text.
    pub fn keep(&mut self, write: impl FnOnce(&mut String)) -> Piece {
        let start = self.end();
        write(&mut self.text);
        start..self.end()
    }

    fn end(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }

    /// How many notes there are.
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Notes where a value came from.
    pub fn take(&mut self, rule: usize, index: Option<usize>, (value, raw): (Piece, Piece), at: At, step: Step) {
        self.notes.push(Note { rule, index: index.and_then(|index| u32::try_from(index).ok()), value, raw, at, step });
    }

    /// The notes from `first` on are of one value: of `whole`, where they were of its pieces.
    pub fn of_one(&mut self, first: usize, whole: Option<&String>) {
        let whole = whole.map(|whole| self.keep(|text| text.push_str(whole)));
        for note in self.notes.iter_mut().skip(first) {
            note.index = None;
            note.value = whole.clone().unwrap_or_else(|| note.value.clone());
        }
    }

    /// The notes from `first` on are of the items of a list. There may be more items than notes, where a table has several for a
    /// code.
    pub fn of_list(&mut self, first: usize, values: &[String]) {
        let count = self.notes.len().saturating_sub(first);
        if count <= 1 && values.len() <= 1 {
            return self.of_one(first, None);
        }
        if count == values.len() {
            return;
        }
        let whole = values.join(", ");
        for at in 0..count {
            let item = values.get(at).filter(|_| count > 1);
            let value = self.keep(|text| text.push_str(item.unwrap_or(&whole)));
            if let Some(note) = self.notes.get_mut(first + at) {
                note.index = item.and_then(|_| u32::try_from(at).ok());
                note.value = value;
            }
        }
    }

    /// Forgets what a rule noted among these notes.
    pub fn forget(&mut self, among: Range<usize>, rule: usize) {
        for note in self.notes.get_mut(among).into_iter().flatten().filter(|note| note.rule == rule) {
            note.rule = GONE;
        }
    }

    /// Forgets the notes from `first` on.
    pub fn truncate(&mut self, first: usize) {
        self.notes.truncate(first);
    }

    /// Says of which record these notes are; gives the number of the record, for those that it owns.
    pub fn group(&mut self, owner: Option<usize>, member: &'static str, index: Option<usize>, notes: Range<usize>) -> Option<usize> {
        self.groups.push(Group { owner, member, index, notes });
        Some(self.groups.len() - 1)
    }

    /// All that was noted.
    pub fn finish(self, mapping: &Mapping) -> Explanation {
        if self.notes.is_empty() {
            return Explanation::default();
        }
        let taken = Taken { legend: Arc::clone(&mapping.legend), notes: self };
        Explanation { taken: Some(Arc::new(taken)), shown: OnceLock::new() }
    }
}

#[derive(Debug)]
struct Taken {
    legend: Arc<Legend>,
    notes: Notes,
}

/// Where each value of a reading came from. It is a slice of [`Provenance`], put into words when it is first looked at.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    taken: Option<Arc<Taken>>,
    shown: OnceLock<Vec<Provenance>>,
}

impl From<Vec<Provenance>> for Explanation {
    fn from(shown: Vec<Provenance>) -> Self {
        Self { taken: None, shown: OnceLock::from(shown) }
    }
}

impl Deref for Explanation {
    type Target = [Provenance];

    fn deref(&self) -> &[Provenance] {
        self.shown.get_or_init(|| self.taken.as_ref().map_or_else(Vec::new, |taken| taken.show()))
    }
}

impl<'e> IntoIterator for &'e Explanation {
    type Item = &'e Provenance;
    type IntoIter = std::slice::Iter<'e, Provenance>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.deref().serialize(serializer)
    }
}

impl Taken {
    fn show(&self) -> Vec<Provenance> {
        let of_group = |group: &Group| {
            let mut prefix = String::new();
            self.name(group, &mut prefix);
            let notes = self.notes.notes.get(group.notes.clone()).unwrap_or_default();
            notes.iter().filter_map(move |note| self.provenance(&prefix, note))
        };
        self.notes.groups.iter().flat_map(of_group).collect()
    }

    /// `child.names[0]`; records know their owners before they are known themselves.
    fn name(&self, group: &Group, out: &mut String) {
        if let Some(owner) = group.owner.and_then(|owner| self.notes.groups.get(owner)) {
            self.name(owner, out);
            out.push('.');
        }
        out.push_str(group.member);
        if let Some(index) = group.index {
            let _ = write!(out, "[{index}]");
        }
    }

    fn piece(&self, piece: &Piece) -> &str {
        let number = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        self.notes.text.get(number(piece.start)..number(piece.end)).unwrap_or_default()
    }

    fn provenance(&self, prefix: &str, note: &Note) -> Option<Provenance> {
        let rule = self.legend.rules.get(note.rule)?;
        let index = note.index.map_or_else(String::new, |index| format!("[{index}]"));
        let found = !matches!(note.step, Step::Constant | Step::Default);
        let mut steps: Vec<String> = rule.converter.filter(|_| found).map(str::to_owned).into_iter().collect();
        let table = rule.table.as_ref();
        steps.extend(match note.step {
            Step::None => None,
            Step::Constant => Some("constant".to_owned()),
            Step::Default => Some("default".to_owned()),
            Step::Row(sheet, line) => table.and_then(|(_, files)| files.get(sheet)).map(|file| format!("table {file}:{line}")),
            Step::Unmapped => table.map(|(name, _)| format!("unmapped in {name}")),
        });
        let mut from = String::new();
        let bytes = match &note.at {
            At::Nowhere => None,
            At::Segment(place) => {
                place.write(&mut from);
                Some(place.range())
            }
            At::Node(path) => {
                from.push_str(self.piece(path));
                None
            }
        };
        Some(Provenance {
            field: format!("{prefix}.{}{index}", rule.field),
            value: self.piece(&note.value).to_owned(),
            from,
            bytes,
            raw: self.piece(&note.raw).to_owned(),
            steps,
            rule: rule.origin.clone(),
        })
    }
}

//! Which mapping file reads a message, and reading it.
//!
//! # The order
//!
//! Of the files for this format that accept this type: first files for this sender that stand alone (the more they say of it, the
//! earlier); then files whose `when` holds, then files without `when`, and among these the files for this sender first: a file that
//! extends another competes as that one does. Two that are equally good hold the message.
//!
//! # Not here
//!
//! What the chosen file makes of the message: `eval.rs`.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::BuildHasherDefault;
use std::sync::LazyLock;

use bumpalo::Bump;
use memchr::{memchr, memmem};

use super::condition::Condition;
use super::convert::Surroundings;
use super::csv_row::{CsvRow, show_columns};
use super::diagnostic::{Mistake, Report, SURPRISE, Source, TWO_FILES};
use super::eval::{self, Evaluation, Options};
use super::eval_fhir::{FhirView, STEPS_MAX};
use super::eval_v2::V2View;
use super::load::{self, Mapping, Sender};
use super::path::{Dialect, Path};
use super::view::{View, holds};
use super::{Explanation, Finding, Format, Input, Level, Outcome, Reading};
use crate::fhir::{self, Item, NameHash, Release, Tree};
use crate::hl7::{self, Message};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A sender's file that stands alone comes before all others.
const STANDS_ALONE: usize = 100;
/// A file whose `when` holds comes before one without; among equals the one that says more of the sender.
const WITH_WHEN: usize = 10;

/// What the folders of senders begin with.
const SITES: &str = "sites/";

/// Places that a finding names where no file takes a message.
const PLACES_NAMED_MAX: usize = 6;

/// A body that could be read.
pub(super) enum Document<'d> {
    /// HL7 v2.
    V2(Box<Message>),
    /// FHIR, in an arena.
    Fhir(&'d Item<'d>, Release),
    /// One row of a CSV extract.
    Csv(CsvRow),
}

/// How to read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    /// 999 NHS numbers are taken.
    pub allow_test_numbers: bool,
    /// Fill provenance.
    pub explain: bool,
    /// Keep what was made, for tests.
    pub keep: bool,
    /// When the message came, where that is known.
    pub received: Option<Timestamp>,
    /// It is known to have no modifier extension: [`is_unmodified`].
    pub is_unmodified: bool,
}

impl<'d> Document<'d> {
    /// Reads a body; the error is why not, without quoting it.
    pub fn read(input: &Input<'d>, arena: &'d Bump) -> Result<Self, String> {
        let limits: &'d fhir::Limits = arena.alloc(fhir::Limits::default());
        let tree = |result: Result<Item<'d>, fhir::Problem>, release| {
            result.map(|tree| Self::Fhir(in_bundle(tree, arena), release)).map_err(|problem| problem.to_string())
        };
        match input.format {
            Format::Hl7v2 => {
                let options = hl7::ReadOptions { default_charset: input.default_charset.map(str::to_owned), ..hl7::ReadOptions::default() };
                Message::read(input.body, &options).map(|message| Self::V2(Box::new(message))).map_err(|why| why.to_string())
            }
            Format::Stu3Json => tree(fhir::read_json_in(input.body, limits, arena), Release::Stu3),
            Format::R4Json => tree(fhir::read_json_in(input.body, limits, arena), Release::R4),
            Format::Stu3Xml => tree(fhir::read_xml_in(input.body, Release::Stu3, limits, arena), Release::Stu3),
            Format::R4Xml => tree(fhir::read_xml_in(input.body, Release::R4, limits, arena), Release::R4),
            Format::CsvRow => CsvRow::read(input.body, input.default_charset).map(Self::Csv),
            Format::CanonicalJson => Err("a canonical statement needs no mapping".to_owned()),
        }
    }

    fn dialect(&self) -> Dialect {
        match self {
            Self::V2(_) => Dialect::V2,
            Self::Fhir(_, release) => Dialect::Fhir(*release),
            Self::Csv(_) => Dialect::Csv,
        }
    }

    /// Message type or event code; the type of the Bundle where there is no event, or of the resource that came alone.
    pub fn accepts(&self) -> String {
        match self {
            Self::V2(message) => message.header().message_type(),
            Self::Fhir(tree, _) => fhir::bundle_kind(*tree).unwrap_or_default(),
            Self::Csv(row) => row.mapping.clone(),
        }
    }

    /// Where the type stands.
    fn kind_place(&self) -> &'static str {
        match self {
            Self::V2(_) => "MSH-9",
            Self::Fhir(..) => "Bundle",
            Self::Csv(_) => "",
        }
    }

    fn sender(&self) -> (String, String) {
        match self {
            Self::V2(message) => {
                let first = |text: &str| text.split('^').next().unwrap_or_default().trim().to_owned();
                (first(&message.header().sending_application), first(&message.header().sending_facility))
            }
            Self::Fhir(tree, _) => {
                let source = fhir::bundle_head(*tree).ok().and_then(|head| head.source).unwrap_or_default();
                (source.clone(), source)
            }
            Self::Csv(_) => Default::default(),
        }
    }

    /// The day of the message, for tables with validity.
    fn day(&self) -> Option<String> {
        match self {
            Self::V2(message) => {
                let digits = message.header().time.get(..8).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
                Some(format!("{}-{}-{}", digits.get(..4)?, digits.get(4..6)?, digits.get(6..8)?))
            }
            Self::Fhir(tree, _) => {
                let places: [&[&str]; 3] = [&["timestamp"], &["entry", FIRST, "resource", "meta", "lastUpdated"], &["meta", "lastUpdated"]];
                places.iter().find_map(|place| at(tree, place)?.as_str()?.get(..10).map(str::to_owned))
            }
            Self::Csv(_) => None,
        }
    }

    /// What the reader tolerated.
    fn findings(&self) -> Vec<Finding> {
        let Self::V2(message) = self else { return Vec::new() };
        message.warnings().iter().map(tolerated).collect()
    }
}

/// The first of a list, on the way of [`at`].
const FIRST: &str = "0";

/// What stands at the end of a way of names.
fn at<'t>(tree: &'t Item<'t>, way: &[&str]) -> Option<&'t Item<'t>> {
    way.iter().try_fold(tree, |node, name| match node {
        Item::Array(items) if *name == FIRST => items.first(),
        node => node.get(name),
    })
}

/// A resource that came alone, as a Bundle of this one: paths begin at a Bundle always. What it is called as a Bundle is its own type.
fn in_bundle<'d>(tree: Item<'d>, arena: &'d Bump) -> &'d Item<'d> {
    let Some(kind) = tree.get("resourceType").and_then(Item::as_str).filter(|kind| *kind != "Bundle") else { return arena.alloc(tree) };
    let entry = Item::Object(arena.alloc([("resource", tree)]));
    let entries = Item::Array(arena.alloc([entry]));
    arena.alloc(Item::Object(arena.alloc([("resourceType", Item::Text("Bundle")), ("type", Item::Text(kind)), ("entry", entries)])))
}

fn tolerated(warning: &hl7::Warning) -> Finding {
    let (level, text) = match warning.kind {
        "charset_guess" => {
            (Level::Warning, "the message does not say its character set and has letters beyond ASCII; it was guessed".to_owned())
        }
        "line_is_no_segment" => (Level::Warning, format!("line {} is no segment and was not read", warning.segment)),
        "control_character" => (Level::Info, "a control character was read as a space".to_owned()),
        "unpaired_escape" => (Level::Info, "a backslash that begins no escape was kept".to_owned()),
        "blank_line" => (Level::Info, "a blank line was skipped".to_owned()),
        "lf_endings" => (Level::Info, "segments end with LF, not CR".to_owned()),
        other => (Level::Info, format!("unusual and tolerated: {}", other.replace('_', " "))),
    };
    let help = if level == Level::Warning { "ask the sender to mend it" } else { "" };
    Finding {
        level,
        code: warning.kind.replace('_', "-"),
        field: String::new(),
        at: String::new(),
        bytes: Some(warning.at..warning.at),
        rule: String::new(),
        text,
        help: help.to_owned(),
        miss: None,
    }
}

/// A message that no mapping reads.
pub(super) fn held(code: &str, text: String, help: &str, mut findings: Vec<Finding>) -> Reading {
    let finding = Finding {
        level: Level::Hold,
        code: code.to_owned(),
        field: String::new(),
        at: String::new(),
        bytes: None,
        rule: String::new(),
        text,
        help: help.to_owned(),
        miss: None,
    };
    findings.push(finding);
    Reading {
        mapping: None,
        outcome: Outcome::Held,
        statements: Vec::new(),
        findings,
        provenance: Explanation::default(),
        contents: Vec::new(),
    }
}

/// Which mappings accept a type, so that nobody asks all of them.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    /// Numbers of mappings by what they accept, in order.
    by_kind: HashMap<String, Vec<usize>, BuildHasherDefault<NameHash>>,
    /// Those that accept all types that begin so: `ADT^*`.
    by_start: Vec<(String, usize)>,
}

impl Accepting {
    /// Of all mappings.
    pub fn of(mappings: &[Mapping]) -> Self {
        let mut accepting = Self::default();
        for (number, mapping) in mappings.iter().enumerate() {
            for accepted in &mapping.accepts {
                match accepted.strip_suffix('*') {
                    Some(start) => accepting.by_start.push((start.to_owned(), number)),
                    None => {
                        let numbers = accepting.by_kind.entry(accepted.clone()).or_default();
                        if numbers.last() != Some(&number) {
                            numbers.push(number);
                        }
                    }
                }
            }
        }
        accepting
    }

    /// The mappings that accept a type, in order.
    fn of_kind<'m>(&self, mappings: &'m [Mapping], kind: &str) -> Vec<&'m Mapping> {
        let mut numbers = self.by_kind.get(kind).cloned().unwrap_or_default();
        let starts = self.by_start.iter().filter(|(start, _)| kind.starts_with(start.as_str()));
        numbers.extend(starts.map(|(_, number)| *number));
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().filter_map(|number| mappings.get(number)).collect()
    }
}

/// A document and the source that it came from, where one is known.
pub(super) type Sent<'d> = (&'d Document<'d>, Option<&'d str>);

/// Chooses a mapping for a document and reads it.
pub(super) fn read(mappings: (&[Mapping], &Accepting), sent: Sent<'_>, how: How) -> Reading {
    let (document, _) = sent;
    let asked = Asked::new(document);
    match chosen(mappings, sent, &asked) {
        Ok(mapping) => {
            let mut reading = evaluated(mapping, document, &asked, how).reading;
            if reading.findings.iter().any(|finding| finding.miss.is_some()) {
                let folder = site_of(mappings.0, sent);
                name_tables(mapping, folder.as_deref(), &mut reading.findings);
            }
            reading
        }
        Err(reading) => *reading,
    }
}

/// The folder of the sender's own files, `sites/rj1`, whatever types they are for.
fn site_of(mappings: &[Mapping], (document, source): Sent<'_>) -> Option<String> {
    let sender = OnceCell::new();
    let mine = mappings.iter().filter(|mapping| mapping.sender.is_some() && mapping.dialect == document.dialect());
    let said = mine.filter_map(|mapping| {
        let said = rank(mapping, || sender.get_or_init(|| document.sender()), source)?;
        Some((said, mapping.site.clone().filter(|site| site.starts_with(SITES))?))
    });
    said.max_by_key(|(said, _)| *said).map(|(_, site)| site)
}

/// Where the row of a missing code belongs: into the table of the sender before the table of all.
fn name_tables(mapping: &Mapping, folder: Option<&str>, findings: &mut [Finding]) {
    for finding in findings {
        let Some(miss) = &finding.miss else { continue };
        let common = format!("tables/{}.csv", miss.table);
        let own = mapping.site.as_ref().filter(|site| site.starts_with(SITES)).map(|site| {
            let rules = mapping.records.iter().flat_map(|record| &record.rules).filter_map(|rule| rule.table.as_ref());
            let mut sheets = rules.map(|(table, _)| table).filter(|table| table.name == miss.table).flat_map(|table| &table.sheets);
            sheets.find(|sheet| sheet.file != common).map_or_else(|| format!("{site}/{common}"), |sheet| sheet.file.clone())
        });
        finding.help = match (own, folder) {
            (Some(own), _) => format!("add a row to {own} (this sender), or to {common} (every sender)"),
            (None, Some(folder)) => format!(
                "add a row to {common} (every sender); for this sender alone {folder} needs a file that extends {}, then the row goes to {folder}/{common}",
                mapping.id
            ),
            // What the rule said.
            (None, None) => continue,
        };
    }
}

/// The mapping that reads a document.
pub(super) fn choose<'m>(mappings: (&'m [Mapping], &Accepting), sent: Sent<'_>) -> Result<&'m Mapping, Box<Reading>> {
    chosen(mappings, sent, &Asked::new(sent.0))
}

fn chosen<'m>(
    (mappings, accepting): (&'m [Mapping], &Accepting),
    (document, source): Sent<'_>,
    asked_of: &Asked<'_>,
) -> Result<&'m Mapping, Box<Reading>> {
    if let Document::Csv(row) = document {
        return choose_named(mappings, &row.mapping);
    }
    let kind = document.accepts();
    let dialect = document.dialect();
    let accepting: Vec<&Mapping> = accepting.of_kind(mappings, &kind).into_iter().filter(|mapping| mapping.dialect == dialect).collect();
    // Only the files of one sender ask who sent it.
    let sender = OnceCell::new();
    let asked = accepting
        .iter()
        .filter_map(|mapping| rank(mapping, || sender.get_or_init(|| document.sender()), source).map(|rank| (*mapping, rank)));
    let mut best: Vec<(&Mapping, usize)> = Vec::new();
    for (mapping, of_sender) in asked {
        if mapping.when.is_some() && !asked_of.hold(mapping) {
            continue;
        }
        let chosen = usize::from(mapping.when.is_some());
        // What a sender's file extends would stand in its place: it competes as that one does. Otherwise a file for persons would take
        // the births of its sender from the file for births, and lose what only that one reads.
        let rank = match (of_sender, &mapping.extends) {
            (1.., None) => STANDS_ALONE + of_sender * 2 + chosen,
            _ => chosen * WITH_WHEN + of_sender,
        };
        match best.first().map(|(_, top)| rank.cmp(top)) {
            Some(std::cmp::Ordering::Less) => {}
            Some(std::cmp::Ordering::Equal) => best.push((mapping, rank)),
            Some(std::cmp::Ordering::Greater) | None => best = vec![(mapping, rank)],
        }
    }
    match best.as_slice() {
        [(only, _)] => Ok(only),
        [] => {
            let looked = looked_at(&accepting);
            let kind = if kind.is_empty() { "this message".to_owned() } else { format!("{kind} messages") };
            let (at, text) = if looked.is_empty() {
                (document.kind_place().to_owned(), format!("no mapping file reads {kind} of this sender"))
            } else {
                let places = looked.join(", ");
                let text = format!(
                    "no mapping file reads this one of the {kind} of this sender: what stands in {places} is of no kind that one of them knows"
                );
                (places, text)
            };
            let mut reading =
                held("no-mapping", text, "write a mapping that accepts this type, or release the message by hand", document.findings());
            if let Some(finding) = reading.findings.last_mut() {
                finding.at = at;
            }
            Err(Box::new(reading))
        }
        many => {
            let names =
                many.iter().map(|(mapping, _)| format!("{} ({})", mapping.id, mapping.origin.shown())).collect::<Vec<_>>().join(" and ");
            Err(Box::new(held(
                "two-mappings",
                format!("{names} would both read this message"),
                "let `when` of the two exclude each other",
                document.findings(),
            )))
        }
    }
}

/// Where the files that accept a type look to tell whether a message is for them: `OBR-4.1`.
fn looked_at(accepting: &[&Mapping]) -> Vec<String> {
    let mut places = Vec::new();
    for path in accepting.iter().filter_map(|mapping| mapping.when.as_ref()).flat_map(Condition::paths).filter_map(Path::v2) {
        let place = plain_place(&path.text);
        if !place.starts_with('$') && !places.contains(&place) {
            places.push(place);
        }
    }
    places.sort();
    places.truncate(PLACES_NAMED_MAX);
    places
}

/// A place without what stands in brackets: `PID-3[2].4.1` is `PID-3.4.1`, `OBR[*]-4.1` is `OBR-4.1`. A FHIR path likewise.
pub fn plain_place(place: &str) -> String {
    let mut plain = String::with_capacity(place.len());
    let mut depth = 0_usize;
    for c in place.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

/// The mapping that a row names.
fn choose_named<'m>(mappings: &'m [Mapping], name: &str) -> Result<&'m Mapping, Box<Reading>> {
    let found = mappings.iter().find(|mapping| mapping.dialect == Dialect::Csv && mapping.id.as_str() == name);
    found.ok_or_else(|| {
        let text = "the mapping file that reads this row is not there any more".to_owned();
        Box::new(held("no-mapping", text, "put it back, or import the extract again with another mapping", Vec::new()))
    })
}

/// `ADT^A28`, or `ADT^*` for all of a kind.
fn accepts(accepted: &str, kind: &str) -> bool {
    accepted == kind || accepted.strip_suffix('*').is_some_and(|start| kind.starts_with(start))
}

/// Can one message be of both.
fn meet(a: &str, b: &str) -> bool {
    accepts(a, b)
        || accepts(b, a)
        || a.strip_suffix('*').zip(b.strip_suffix('*')).is_some_and(|(a, b)| a.starts_with(b) || b.starts_with(a))
}

/// 0 for files of no sender, 1 to 3 for what a site file says of this one; `None`: another sender's file. What a message says of its sender
/// is only asked where a file wants to know it.
fn rank<'s>(mapping: &Mapping, sender: impl Fn() -> &'s (String, String), source: Option<&str>) -> Option<usize> {
    let Some(Sender { application, facility, source: wanted_source }) = &mapping.sender else { return Some(0) };
    let mut said = 0;
    if let Some(wanted) = wanted_source {
        said += 1;
        if source != Some(wanted.as_str()) {
            return None;
        }
    }
    for (wanted, sent) in [(application, 0), (facility, 1)] {
        if let Some(wanted) = wanted {
            said += 1;
            let (application, facility) = sender();
            if wanted != if sent == 0 { application } else { facility } {
                return None;
            }
        }
    }
    Some(said)
}

/// A document as its readers see it: what can be shared between them is made once.
enum Asked<'d> {
    V2(Box<V2View<'d, 'd>>),
    Fhir(Tree<'d>),
    /// A row names its mapping; no condition is asked.
    Row(&'d CsvRow),
}

impl<'d> Asked<'d> {
    fn new(document: &'d Document<'d>) -> Self {
        match document {
            Document::V2(message) => Self::V2(Box::new(V2View::new(message, &[]))),
            Document::Fhir(tree, _) => Self::Fhir(Tree::with_steps(tree, STEPS_MAX)),
            Document::Csv(row) => Self::Row(row),
        }
    }

    fn hold(&self, mapping: &Mapping) -> bool {
        let Some(when) = &mapping.when else { return true };
        match self {
            Self::V2(view) => {
                let view = view.with(&mapping.lets);
                holds(&view, &view.root(), when)
            }
            Self::Fhir(tree) => {
                let view = FhirView::new(tree, &mapping.lets);
                holds(&view, &view.root(), when)
            }
            Self::Row(_) => false,
        }
    }
}

/// Reads a document with one mapping.
pub(super) fn with(mapping: &Mapping, document: &Document<'_>, how: How) -> Evaluation {
    evaluated(mapping, document, &Asked::new(document), how)
}

fn evaluated(mapping: &Mapping, document: &Document<'_>, asked: &Asked<'_>, how: How) -> Evaluation {
    let of_sender = if mapping.zone.is_none() { sender_zone(document) } else { None };
    let zone = mapping.zone.as_ref().or(of_sender.as_ref()).unwrap_or_else(|| london());
    let iso = matches!(document, Document::Fhir(..));
    let by_shape = matches!(document, Document::Csv(_));
    let contents = RefCell::default();
    let received = how.received.map(|at| at.to_zoned(zone.clone()).date());
    let around = Surroundings { zone, iso, by_shape, allow_test_numbers: how.allow_test_numbers, contents: &contents };
    let options = Options { around, day: document.day(), explain: how.explain, keep: how.keep, findings: document.findings() };
    let mut evaluation = match asked {
        Asked::V2(view) => eval::evaluate(mapping, &view.with(&mapping.lets).received(received), options),
        Asked::Fhir(tree) => {
            // Asking which file reads it costs this one nothing.
            tree.refresh(STEPS_MAX);
            eval::evaluate(mapping, &FhirView::new(tree, &mapping.lets).received(received), options)
        }
        Asked::Row(row) => with_row(mapping, row, received, options),
    };
    evaluation.reading.contents = contents.into_inner();
    hold_cut_contents(mapping, &mut evaluation.reading);
    if let Document::Fhir(tree, _) = document
        && !how.is_unmodified
        && !matches!(evaluation.reading.outcome, Outcome::Ignored(_))
    {
        hold_modified(mapping, tree, &mut evaluation.reading);
    }
    evaluation
}

fn with_row(mapping: &Mapping, row: &CsvRow, received: Option<Date>, options: Options<'_>) -> Evaluation {
    match row.message(&mapping.columns) {
        Ok(message) => {
            let mut evaluation = eval::evaluate(mapping, &V2View::new(&message, &mapping.lets).received(received), options);
            let reading = &mut evaluation.reading;
            let mut provenance = reading.provenance.to_vec();
            show_columns(&mapping.columns, &mut reading.findings, &mut provenance);
            reading.provenance = Explanation::from(provenance);
            evaluation
        }
        Err(why) => {
            let text = format!("the row cannot be read: {why}");
            Evaluation {
                reading: held("unreadable", text, "compare the header of the extract with `columns`", Vec::new()),
                seen: Vec::new(),
            }
        }
    }
}

/// A line break inside a field makes a line that is no segment. Elsewhere that is a warning; a document would be filed
/// without its second half, and nobody would see that from its hash.
fn hold_cut_contents(mapping: &Mapping, reading: &mut Reading) {
    if reading.contents.is_empty() || !reading.findings.iter().any(|finding| finding.code == "line-is-no-segment") {
        return;
    }
    let finding = Finding {
        level: Level::Hold,
        code: "content-cut".to_owned(),
        field: "document.sha256".to_owned(),
        at: "OBX-5".to_owned(),
        bytes: None,
        rule: mapping.origin.shown(),
        text: "OBX-5 may be cut: the message has lines that are no segments".to_owned(),
        help: "ask the sender to escape line breaks as \\.br\\ and to send the document again".to_owned(),
        miss: None,
    };
    reading.findings.push(finding);
    reading.outcome = Outcome::Held;
}

/// Whoever does not understand a modifier extension must not use what contains it (FHIR STU3 and R4, extensibility, modifier extensions):
/// every one holds, but for those that a table names.
fn hold_modified(mapping: &Mapping, tree: &Item<'_>, reading: &mut Reading) {
    if !has_modifiers(tree) {
        return;
    }
    let mut places = Vec::new();
    modifiers(tree, &mut "Bundle".to_owned(), mapping, &mut places);
    for at in places {
        reading.findings.push(Finding {
            level: Level::Hold,
            code: "modifier".to_owned(),
            field: String::new(),
            text: format!("{at} may change what is said there, and no rule reads it"),
            at,
            bytes: None,
            rule: mapping.origin.shown(),
            help: format!("ask the sender what it means; one that changes nothing here gets a row in tables/{}.csv", load::MODIFIERS),
            miss: None,
        });
        reading.outcome = Outcome::Held;
    }
}

/// The element that changes what its neighbours mean.
const MODIFIER: &str = "modifierExtension";

/// True where a body cannot have a modifier extension, because it has not the word: nearly none has, and to look for one word in all
/// bytes costs a tenth of looking at every name of the tree. JSON may write a name with escapes.
pub(super) fn is_unmodified(input: &Input<'_>) -> bool {
    let has_not_the_word = || memmem::find(input.body, MODIFIER.as_bytes()).is_none();
    match input.format {
        Format::Stu3Xml | Format::R4Xml => has_not_the_word(),
        Format::Stu3Json | Format::R4Json => memchr(b'\\', input.body).is_none() && has_not_the_word(),
        Format::Hl7v2 | Format::CanonicalJson | Format::CsvRow => false,
    }
}

/// Whether a tree has a modifier extension anywhere. Nearly none has, and then no place need be written.
fn has_modifiers(tree: &Item<'_>) -> bool {
    match tree {
        Item::Object(members) => members.iter().any(|(name, member)| *name == MODIFIER || has_modifiers(member)),
        Item::Array(items) => items.iter().any(has_modifiers),
        _ => false,
    }
}

/// Where a tree has modifier extensions that no table names. `at` is the place of the tree, and is given back as it was.
fn modifiers(tree: &Item<'_>, at: &mut String, mapping: &Mapping, places: &mut Vec<String>) {
    let length = at.len();
    match tree {
        Item::Object(members) => {
            for (name, member) in *members {
                at.push('.');
                at.push_str(name);
                if *name != MODIFIER {
                    modifiers(member, at, mapping, places);
                } else if !all_named(member, mapping) && places.len() < PLACES_NAMED_MAX {
                    places.push(at.clone());
                }
                at.truncate(length);
            }
        }
        Item::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                // Writing to a text cannot fail.
                let _ = write!(at, "[{number}]");
                modifiers(item, at, mapping, places);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

/// True where the table names all of these modifier extensions.
fn all_named(extensions: &Item<'_>, mapping: &Mapping) -> bool {
    let is_named = |one: &Item<'_>| {
        let url = one.get("url").and_then(Item::as_str).unwrap_or_default();
        mapping.modifiers.as_ref().is_some_and(|table| table.find(url, None).is_some())
    };
    extensions.as_array().is_some_and(|all| all.iter().all(is_named))
}

/// MSH-7's offset, where it has one (protocol rules, section 11).
fn sender_zone(document: &Document<'_>) -> Option<TimeZone> {
    let Document::V2(message) = document else { return None };
    hl7::read_offset(&message.header().time)
}

fn london() -> &'static TimeZone {
    static LONDON: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC));
    &LONDON
}

/// Files that would always or often stand in each other's way.
pub(super) fn clashes(mappings: &[Mapping], sources: &[Source], report: &Report) {
    for (index, mapping) in mappings.iter().enumerate() {
        let Some(source) = sources.iter().find(|source| source.name == mapping.origin.name) else { continue };
        let span = || {
            let at = source.text.find("accepts").unwrap_or(0);
            at..at + if at == 0 { 0 } else { "accepts".len() }
        };
        for other in mappings.iter().take(index).filter(|other| other.dialect == mapping.dialect && other.sender == mapping.sender) {
            let both: Vec<&str> =
                mapping.accepts.iter().filter(|kind| other.accepts.iter().any(|theirs| meet(kind, theirs))).map(String::as_str).collect();
            if mapping.when.is_none() && other.when.is_none() && !both.is_empty() {
                let message = format!("{} and {} would both read {}", mapping.id, other.id, both.join(", "));
                report
                    .error(source, Mistake::new(TWO_FILES, span(), message).help("take the type out of one of them, or give one a `when`"));
            }
        }
        let passed_over = mappings
            .iter()
            .filter(|other| mapping.sender.is_some() && other.sender.is_none() && other.dialect == mapping.dialect && other.when.is_some());
        for other in passed_over.filter(|other| {
            mapping.extends.is_none() && other.accepts.iter().any(|theirs| mapping.accepts.iter().any(|kind| meet(kind, theirs)))
        }) {
            let replaced = mappings.iter().any(|site| site.sender == mapping.sender && site.extends.as_deref() == Some(other.id.as_str()));
            if !replaced {
                let message = format!(
                    "messages of this sender that `{}` would read by its `when` are read by `{}`: a sender's own file comes first",
                    other.id, mapping.id
                );
                report.warn(
                    source,
                    Mistake::new(SURPRISE, span(), message)
                        .help(format!("add a file for this sender that extends = \"{}\", if it should", other.id)),
                );
            }
        }
    }
}

//! The match: which child a statement is about (identity rules, sections 1 and 2).
//!
//! Steps 0 (a person whose identity is unknown), 1 (NHS number), 2 (local identifier) and 5 (new). Steps 3 and 4, which
//! match without an identifier of the child: [`super::birth`].
//!
//! # What always holds
//!
//! - All steps that apply are tried before anything is decided, so that two identifiers that name two children are
//!   seen, whichever of them would have hit first.
//! - A difference holds; it is never outvoted by what agrees.
//! - Evidence and texts name fields and quote nothing.

use jiff::{ToSpan, civil};

use super::birth::local_ids_differ;
use super::merge::status_of;
use super::name::{is_placeholder, plain_name};
use super::{ChildIndex, Evidence, IndexError, Match, Sketch, age_days, sex_agrees, stated};
use crate::canon::{Action, BirthFacts, Child, ChildStatus, Date, EventKind, Identifier, IdentifierUse, Name, NhsNumber, Statement};
use crate::names::ChildId;

/// A date of birth may be put right by a day while the baby is younger than this.
const CORRECTION_DAYS: i64 = 28;

/// Decides (identity rules, section 2). `event.at` has to be filled: ages and plausibility are judged at that moment. `child_first`:
/// the source knows children by themselves and not through their mothers, so that step 4 may be taken.
pub fn decide(statement: &Statement, child_first: bool, index: &dyn ChildIndex) -> Result<Match, IndexError> {
    let mut matching = Matching { statement, evidence: Vec::new() };
    Ok(match matching.run(child_first, index)? {
        Ok(Found::Known(child)) => Match::Known(child, matching.evidence),
        Ok(Found::New(status)) => Match::New(status, matching.evidence),
        Err(Hold { code, text }) => Match::Held { code, text: text.to_owned(), evidence: matching.evidence },
    })
}

/// Where an identifier of this person is a child's on record who was born on another day, or nobody knows when: what is wrong. It is asked
/// of persons who, by their own date of birth, are no children: then either that date or the identifier is wrong.
pub fn known_otherwise(person: &Child, index: &dyn ChildIndex) -> Result<Option<&'static str>, IndexError> {
    let agrees = |known: Sketch| compare_dates(person.birth.date.as_ref(), known.child.birth.date.as_ref()) == Compared::Agrees;
    for id in person.identifiers.iter().filter(|id| in_use(id)) {
        let known = match id.nhs_number() {
            Some(number) => index.by_nhs_number(number)?,
            None if is_local(id) => index.by_local_id(&id.system, &id.value)?,
            None => None,
        };
        if known.is_some_and(|known| !agrees(resolved(known))) {
            return Ok(Some(
                "an identifier of this person is that of a child on record with another date of birth: the date or the number is wrong",
            ));
        }
    }
    Ok(None)
}

enum Found {
    Known(ChildId),
    New(ChildStatus),
}

/// A person must look.
pub(super) struct Hold {
    pub(super) code: &'static str,
    pub(super) text: &'static str,
}

pub(super) fn hold<T>(code: &'static str, text: &'static str) -> Result<T, Hold> {
    Err(Hold { code, text })
}

/// What the verification status of an NHS number lets it prove (identity rules, section 1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// 01 from the national record, which sends none but verified numbers: the number alone.
    Alone,
    /// 01 from anyone else: with the date of birth and one of family name, sex, postcode.
    Verified,
    /// 02, 03, 06: with the date of birth and one of name, sex.
    Unverified,
    /// 04, 05: never.
    Forbidden,
    /// 07, 08, absent: only beside a local identifier.
    Nothing,
}

fn trust(status: Option<&str>, national: bool) -> Trust {
    match status {
        None | Some("01") if national => Trust::Alone,
        Some("01") => Trust::Verified,
        Some("02" | "03" | "06") => Trust::Unverified,
        Some("04" | "05") => Trust::Forbidden,
        _ => Trust::Nothing,
    }
}

/// The NHS number of a statement, with what it may prove.
pub(super) type Number = Option<(NhsNumber, Trust)>;

/// How the details agree with a child found by NHS number.
enum Agreement {
    Enough,
    TooLittle,
}

pub(super) struct Matching<'a> {
    pub(super) statement: &'a Statement,
    pub(super) evidence: Vec<Evidence>,
}

impl Matching<'_> {
    pub(super) fn note(&mut self, step: &str, text: &str) {
        self.evidence.push(Evidence { step: step.to_owned(), text: text.to_owned() });
    }

    fn run(&mut self, child_first: bool, index: &dyn ChildIndex) -> Result<Result<Found, Hold>, IndexError> {
        let number = match self.find(index)? {
            Ok((_, Some(sketch))) => return Ok(Ok(Found::Known(sketch.id))),
            Ok((number, None)) => number,
            Err(hold) => return Ok(Err(hold)),
        };
        Ok(match self.find_by_birth(child_first, index)? {
            Ok(Some(child)) => Ok(Found::Known(child)),
            Ok(None) => self.new_child(number).map(Found::New),
            Err(hold) => Err(hold),
        })
    }

    /// Steps 0 to 2: the child that is known, and the NHS number of the statement with what it may prove.
    pub(super) fn find(&mut self, index: &dyn ChildIndex) -> Result<Result<(Number, Option<Sketch>), Hold>, IndexError> {
        let number = match self.identifiers_hold_together() {
            Ok(number) => number,
            Err(hold) => return Ok(Err(hold)),
        };
        let by_number = match number {
            Some((number, _)) => index.by_nhs_number(number)?.map(resolved),
            None => None,
        };
        if self.is_a_baby() {
            for id in self.statement.child.identifiers.iter().filter(|id| in_use(id)) {
                if index.is_a_relations(&id.system, &id.value)? {
                    return Ok(hold("identity-conflict", "an identifier of the baby is on record as its mother's or another relation's"));
                }
            }
        }
        let mut by_local = Vec::new();
        for id in local_ids(&self.statement.child) {
            by_local.extend(index.by_local_id(&id.system, &id.value)?.map(resolved));
        }
        Ok(self.weigh(number, by_number, by_local).map(|known| (number, known)))
    }

    /// Checks of the statement by itself; gives its NHS number with what it may prove.
    fn identifiers_hold_together(&mut self) -> Result<Number, Hold> {
        let child = &self.statement.child;
        let mut numbers = child.identifiers.iter().filter(|id| in_use(id)).filter_map(|id| Some((id.nhs_number()?, id.status.as_deref())));
        let first = numbers.next();
        if first.is_some_and(|(number, _)| numbers.any(|(other, _)| other != number)) {
            return hold("identity-conflict", "two different NHS numbers are given for one child");
        }
        if first.is_none() && local_ids(child).next().is_none() {
            return hold("no-identifier", "neither a valid NHS number nor a local identifier is given");
        }
        if self.has_identifier_of_the_mother() {
            return hold("identity-conflict", "an identifier of the child is also given as the mother's");
        }
        self.birth_date_is_plausible()?;
        let number = first.map(|(number, status)| (number, trust(status, self.statement.event.national)));
        if number.is_some_and(|(_, trust)| trust == Trust::Forbidden) {
            self.note("1 nhs-number", "verification status 04 or 05: never filed by it");
            return hold("status-forbids", "the NHS number could not be traced, or is in conflict, at the sender (status 04 or 05)");
        }
        Ok(number)
    }

    /// Some hospitals send the mother's number for a baby that stays with her (identity rules, section 4).
    fn has_identifier_of_the_mother(&self) -> bool {
        let child = &self.statement.child;
        let mothers: Vec<(&str, &str)> =
            child.mother().into_iter().flat_map(|mother| &mother.identifiers).map(|id| (id.system.as_str(), id.value.as_str())).collect();
        child.identifiers.iter().any(|id| mothers.contains(&(id.system.as_str(), id.value.as_str())))
    }

    /// Born in the twelve months before the event.
    pub(super) fn is_a_baby(&self) -> bool {
        let born = self.statement.child.birth.date.as_ref().and_then(first_day);
        let (Some(born), Some(on)) = (born, self.event_date()) else { return false };
        on.checked_sub(1.year()).is_ok_and(|earliest| earliest <= born)
    }

    /// More than a day ahead of the event, or over 130 years before it (canonical model, section 5).
    fn birth_date_is_plausible(&self) -> Result<(), Hold> {
        let born = self.statement.child.birth.date.as_ref().and_then(first_day);
        let (Some(born), Some(on)) = (born, self.event_date()) else { return Ok(()) };
        let latest = on.checked_add(1.day()).unwrap_or(on);
        let earliest = on.checked_sub(130.years()).unwrap_or(on);
        if born < earliest || latest < born {
            return hold("birth-date-implausible", "the date of birth is in the future or more than 130 years ago");
        }
        Ok(())
    }

    fn event_date(&self) -> Option<civil::Date> {
        self.statement.event.at.as_ref()?.date()
    }

    /// Steps 0 to 2 with all that the index knows.
    fn weigh(&mut self, number: Number, by_number: Option<Sketch>, by_local: Vec<Sketch>) -> Result<Option<Sketch>, Hold> {
        if self.statement.child.flags.identity_unknown == Some(true) {
            self.note("0 identity-unknown", "the sender does not know who this is: exact identifiers only");
        }
        self.one_child_only(by_number.as_ref(), &by_local)?;
        let known = by_number.is_some();
        if let (Some((_, trust)), Some(sketch)) = (number, &by_number)
            && let Agreement::Enough = self.number_agrees(trust, sketch)?
        {
            return Ok(by_number);
        }
        if number.is_some() && !known {
            self.note("1 nhs-number", "no child on record has it");
        }
        if let Some(sketch) = by_local.first() {
            self.local_id_agrees(number, sketch)?;
            return Ok(Some(sketch.clone()));
        }
        if local_ids(&self.statement.child).next().is_some() {
            self.note("2 local-id", "no child on record has it");
        }
        if known {
            return hold("unmatched", "a child on record has this NHS number, but too little else agrees to be sure");
        }
        Ok(None)
    }

    /// Twins whose identifiers were swapped name two children (identity rules, section 5).
    fn one_child_only(&mut self, by_number: Option<&Sketch>, by_local: &[Sketch]) -> Result<(), Hold> {
        let mut found = by_number.into_iter().chain(by_local);
        let Some(first) = found.next() else { return Ok(()) };
        if found.any(|other| other.id != first.id) {
            let step = if by_number.is_some() { "1 nhs-number" } else { "2 local-id" };
            self.note(step, "names one child");
            self.note("2 local-id", "names another child");
            return hold("identity-conflict", "two identifiers of this message belong to two different children on record");
        }
        if matches!(first.status, ChildStatus::Sealed | ChildStatus::Invalidated) {
            self.note(if by_number.is_some() { "1 nhs-number" } else { "2 local-id" }, "the record it belongs to is closed");
            return hold("record-closed", "the record this belongs to is closed; a person with the right to it must look");
        }
        Ok(())
    }

    /// Step 1: the child has the number; do the details agree? (Sections 1 and 2, and 4 for names and corrections.)
    fn number_agrees(&mut self, trust: Trust, sketch: &Sketch) -> Result<Agreement, Hold> {
        let (said, known) = (&self.statement.child, &sketch.child);
        let mut birth = compare_dates(said.birth.date.as_ref(), known.birth.date.as_ref());
        if birth == Compared::Differs && self.is_correction(trust, known) {
            self.note("1 nhs-number", "the date of birth is corrected by one day in the first 28 days: accepted");
            birth = Compared::Agrees;
        }
        let family = compare_families(said, known);
        let sex = match (stated(said.sex), stated(known.sex)) {
            (Some(_), Some(_)) if sex_agrees(said.sex, known.sex) => Compared::Agrees,
            (Some(_), Some(_)) => Compared::Differs,
            _ => Compared::Unknown,
        };
        let postcode = compare_postcodes(said, known);
        let order = compare_orders(&said.birth, &known.birth);
        let words = format!(
            "date of birth {}, family name {}, sex {}, postcode {}, birth order {}",
            birth.word(),
            family.word(),
            sex.word(),
            postcode.word(),
            order.word()
        );
        self.note("1 nhs-number", &words);
        if birth == Compared::Differs {
            return hold("identity-mismatch", "the child with this NHS number has another date of birth");
        }
        if sex == Compared::Differs && family == Compared::Differs {
            return hold("identity-mismatch", "the child with this NHS number has another sex and another family name");
        }
        if order == Compared::Differs {
            return hold("identity-conflict", "the child with this NHS number is another one of the same birth");
        }
        // One number on two babies of one birth (canonical model, section 5).
        if (said.birth.is_multiple() || known.birth.is_multiple()) && local_ids_differ(said, known) {
            return hold(
                "identity-conflict",
                "this NHS number is on record for a baby of a multiple birth with another identifier of the same issuer",
            );
        }
        let one_of = |fields: &[Compared]| birth == Compared::Agrees && fields.contains(&Compared::Agrees);
        let enough = match trust {
            Trust::Alone => true,
            Trust::Verified => one_of(&[family, sex, postcode]),
            Trust::Unverified => one_of(&[family, sex]),
            Trust::Forbidden | Trust::Nothing => false,
        };
        if !enough {
            let why =
                if trust == Trust::Nothing { "no verification status 01, 02, 03 or 06: not matched by it" } else { "too little agrees" };
            self.note("1 nhs-number", why);
            return Ok(Agreement::TooLittle);
        }
        Ok(Agreement::Enough)
    }

    /// One day either way, a baby under 28 days, a verified number (identity rules, section 4).
    fn is_correction(&self, trust: Trust, known: &Child) -> bool {
        let dates = (self.statement.child.birth.date.as_ref().and_then(Date::civil), known.birth.date.as_ref().and_then(Date::civil));
        let (Some(said), Some(born)) = dates else { return false };
        let day_off = said.since(born).is_ok_and(|span| span.get_days().abs() <= 1);
        let age = self.event_date().and_then(|on| age_days(known, on));
        matches!(trust, Trust::Alone | Trust::Verified) && day_off && age.is_some_and(|age| age < CORRECTION_DAYS)
    }

    /// Step 2: the child has the local identifier; date of birth equal or absent, no other verified NHS number.
    pub(super) fn local_id_agrees(&mut self, number: Number, sketch: &Sketch) -> Result<(), Hold> {
        let has_other_number = match (number, sketch.child.nhs_number()) {
            (Some((said, _)), Some((known, Some("01")))) => said != known && !once_had(&sketch.child, said),
            // The national record's numbers come without a status where it has none to give.
            (Some((said, _)), Some((known, None))) => said != known && sketch.status == ChildStatus::Active,
            _ => false,
        };
        if has_other_number {
            self.note("2 local-id", "the child on record has another verified NHS number");
            return hold("identity-conflict", "the child with this local identifier has another verified NHS number");
        }
        let birth = compare_dates(self.statement.child.birth.date.as_ref(), sketch.child.birth.date.as_ref());
        let order = compare_orders(&self.statement.child.birth, &sketch.child.birth);
        self.note("2 local-id", &format!("date of birth {}, birth order {}", birth.word(), order.word()));
        match (birth, order) {
            (Compared::Differs, _) => hold("identity-mismatch", "the child with this local identifier has another date of birth"),
            (_, Compared::Differs) => hold("identity-conflict", "the child with this local identifier is another one of the same birth"),
            _ => Ok(()),
        }
    }

    /// Step 5: may the statement create?
    pub(super) fn new_child(&mut self, number: Number) -> Result<ChildStatus, Hold> {
        let (event, child) = (&self.statement.event, &self.statement.child);
        if child.flags.identity_unknown == Some(true) {
            return hold("unmatched", "the sender does not know who this is, and no child on record has the identifier");
        }
        let is_result = matches!(event.kind, EventKind::BloodSpot | EventKind::Hearing | EventKind::Nipe);
        let status = child.nhs_number().and_then(|(_, status)| status);
        let numbered = number.is_some_and(|(_, trust)| trust == Trust::Alone) || matches!(status, Some("01" | "02"));
        if event.action == Action::Delete || !(event.may_create || is_result && numbered) {
            self.note("5 new", "this message may not create a child");
            return hold("unmatched", "no child on record has an identifier of this message, and it may not create one");
        }
        if child.birth.date.as_ref().and_then(Date::civil).is_none() {
            self.note("5 new", "no date of birth known to the day");
            return hold("no-birth-date", "no child on record has an identifier of this message, and a new one needs a date of birth");
        }
        self.note("5 new", "no child on record; a new one is made");
        Ok(status_of(child, number.is_some_and(|(_, trust)| trust == Trust::Alone)))
    }
}

/// The child that goes on in the place of a merged one.
pub(super) fn resolved(mut sketch: Sketch) -> Sketch {
    if let (ChildStatus::Merged, Some(goes_on)) = (sketch.status, sketch.child.merged_into) {
        sketch.id = goes_on;
    }
    sketch
}

pub(super) fn in_use(id: &Identifier) -> bool {
    matches!(id.usage, IdentifierUse::Current | IdentifierUse::Superseded)
}

/// Local identifiers that stay with a child.
pub(super) fn local_ids(child: &Child) -> impl Iterator<Item = &Identifier> {
    child.identifiers.iter().filter(|id| in_use(id) && is_local(id))
}

/// A local identifier that stays with a child: not one of a visit, and none that is all zeros.
pub(super) fn is_local(id: &Identifier) -> bool {
    let lasting = id.system != crate::canon::NHS_NUMBER_SYSTEM && !matches!(id.kind.as_deref(), Some("VN" | "AN"));
    lasting && !id.system.is_empty() && id.value.chars().any(|c| c.is_alphanumeric() && c != '0')
}

fn once_had(child: &Child, number: NhsNumber) -> bool {
    child.identifiers.iter().any(|id| id.usage == IdentifierUse::Superseded && id.nhs_number() == Some(number))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    Agrees,
    Differs,
    Unknown,
}

impl Compared {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Differs => "differs",
            Self::Unknown => "not compared",
        }
    }
}

/// Whole dates agree or differ; a year or month can only contradict.
pub(super) fn compare_dates(a: Option<&Date>, b: Option<&Date>) -> Compared {
    let (Some(a), Some(b)) = (a, b) else { return Compared::Unknown };
    match (a.civil(), b.civil()) {
        (Some(a), Some(b)) if a == b => Compared::Agrees,
        (Some(_), Some(_)) => Compared::Differs,
        _ if a.value.starts_with(&b.value) || b.value.starts_with(&a.value) => Compared::Unknown,
        _ => Compared::Differs,
    }
}

/// The first day that a date can mean.
fn first_day(date: &Date) -> Option<civil::Date> {
    let padded = match date.value.len() {
        4 => format!("{}-01-01", date.value),
        7 => format!("{}-01", date.value),
        _ => date.value.clone(),
    };
    padded.parse().ok()
}

/// True for a name that is no placeholder, by its own word or by its sender's (identity rules, section 4).
pub(super) fn is_real(name: &Name) -> bool {
    !name.placeholder && !is_placeholder(name.family.as_deref(), &name.given)
}

/// The child's own family names, for comparison; placeholders are none.
pub(super) fn own_families(child: &Child) -> impl Iterator<Item = String> {
    let real = child.names.iter().filter(|name| is_real(name));
    real.filter_map(|name| name.family.as_deref()).map(plain_name).filter(|name| !name.is_empty())
}

/// The home postcode, for comparison; ZZ99 stands for no place at all.
pub(super) fn postcode(child: &Child) -> Option<String> {
    let text: String = child.home()?.postcode.as_ref()?.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect();
    (!text.is_empty() && !text.starts_with("ZZ99")).then_some(text)
}

/// The birth order; 8 and 9 are none (identity rules, section 5).
pub(super) fn order(birth: &BirthFacts) -> Option<i64> {
    birth.birth_order.filter(|order| (1..8).contains(order))
}

/// Any family name of one with any of the other; placeholders are never compared (identity rules, section 4).
pub(super) fn compare_families(a: &Child, b: &Child) -> Compared {
    let (a, b): (Vec<String>, Vec<String>) = (own_families(a).collect(), own_families(b).collect());
    match (a.is_empty(), b.is_empty()) {
        (false, false) if a.iter().any(|name| b.contains(name)) => Compared::Agrees,
        (false, false) => Compared::Differs,
        _ => Compared::Unknown,
    }
}

/// Home postcodes.
fn compare_postcodes(a: &Child, b: &Child) -> Compared {
    match (postcode(a), postcode(b)) {
        (Some(a), Some(b)) if a == b => Compared::Agrees,
        (Some(_), Some(_)) => Compared::Differs,
        _ => Compared::Unknown,
    }
}

/// Birth order is part of the identity of one of several (identity rules, section 5).
pub(super) fn compare_orders(a: &BirthFacts, b: &BirthFacts) -> Compared {
    match (order(a), order(b)) {
        (Some(a), Some(b)) if a == b => Compared::Agrees,
        (Some(_), Some(_)) => Compared::Differs,
        _ => Compared::Unknown,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::canon::{Address, EventHeader, Flags, Instant, NHS_NUMBER_SYSTEM, Name, Relation, Sex};

    const TERM_BABY: &str = "9990000026";
    const TWIN_ONE: &str = "9990000042";
    const TWIN_TWO: &str = "9990000050";
    const UNHEARD_OF: &str = "9990000077";

    /// Children on record, found as a ledger would find them.
    #[derive(Default)]
    pub(in crate::identity) struct Shelf(pub(in crate::identity) Vec<Sketch>);

    impl ChildIndex for Shelf {
        fn by_nhs_number(&self, number: NhsNumber) -> Result<Option<Sketch>, IndexError> {
            Ok(self
                .0
                .iter()
                .find(|sketch| sketch.child.identifiers.iter().any(|id| in_use(id) && id.nhs_number() == Some(number)))
                .cloned())
        }
        fn by_local_id(&self, system: &str, value: &str) -> Result<Option<Sketch>, IndexError> {
            let has =
                |sketch: &&Sketch| sketch.child.identifiers.iter().any(|id| (id.system.as_str(), id.value.as_str()) == (system, value));
            Ok(self.0.iter().find(has).cloned())
        }
    }

    struct Unreadable;

    impl ChildIndex for Unreadable {
        fn by_nhs_number(&self, _number: NhsNumber) -> Result<Option<Sketch>, IndexError> {
            Err(IndexError("locked".to_owned()))
        }
        fn by_local_id(&self, _system: &str, _value: &str) -> Result<Option<Sketch>, IndexError> {
            Err(IndexError("locked".to_owned()))
        }
    }

    fn id(system: &str, value: &str, status: &str) -> Identifier {
        let status = (!status.is_empty()).then(|| status.to_owned());
        Identifier { system: system.to_owned(), value: value.to_owned(), status, ..Identifier::default() }
    }

    /// Words: `nhs=9990000026/01`, `mrn=B1`, `born=2026-01-05`, `family=X`, `given=X`, `sex=2`, `postcode=X`, `order=1`, `mother=NUMBER`.
    pub(in crate::identity) fn child(words: &str) -> Child {
        let mut child = Child::default();
        let mut name = Name::default();
        for (key, value) in words.split_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "nhs" => {
                    let (number, status) = value.split_once('/').unwrap_or((value, ""));
                    child.identifiers.push(id(NHS_NUMBER_SYSTEM, number, status));
                }
                "mrn" => child.identifiers.push(id("urn:v2:RJ122", value, "")),
                "visit" => child.identifiers.push(Identifier { kind: Some("VN".to_owned()), ..id("urn:v2:RJ122", value, "") }),
                "born" => child.birth.date = Some(date(value)),
                "family" => name.family = Some(value.to_owned()),
                "given" => name.given = vec![value.to_owned()],
                "sex" => child.sex = Some(if value == "1" { Sex::Male } else { Sex::Female }),
                "postcode" => child.addresses.push(Address { postcode: Some(value.to_owned()), ..Address::default() }),
                "order" => child.birth.birth_order = value.parse().ok(),
                "mother" => child.relations.push(Relation {
                    kind: "12".to_owned(),
                    identifiers: vec![id(NHS_NUMBER_SYSTEM, value, "01")],
                    ..Relation::default()
                }),
                "unknown" => child.flags = Flags { identity_unknown: Some(true), ..Flags::default() },
                other => panic!("{other}?"),
            }
        }
        if name != Name::default() {
            name.placeholder = is_placeholder(name.family.as_deref(), &name.given);
            child.names.push(name);
        }
        child
    }

    fn date(value: &str) -> Date {
        let precision = [crate::canon::Precision::Year, crate::canon::Precision::Month, crate::canon::Precision::Day];
        Date { value: value.to_owned(), precision: precision[value.split('-').count() - 1] }
    }

    pub(in crate::identity) fn on_record(words: &[&str]) -> Shelf {
        let sketch = |(n, words): (usize, &&str)| Sketch { id: child_id(n), child: child(words), status: ChildStatus::Active };
        Shelf(words.iter().enumerate().map(sketch).collect())
    }

    pub(in crate::identity) fn child_id(n: usize) -> ChildId {
        ChildId(Uuid::from_u128(n as u128 + 1))
    }

    /// Words of [`child`] and of the event: `national`, `may-create`, `kind=blood-spot`, `delete`. Said on 10 January 2026.
    pub(in crate::identity) fn said(words: &str) -> Statement {
        let flag = |flag: &str| words.split_whitespace().any(|word| word == flag);
        let at: Timestamp = "2026-01-10T10:00:00Z".parse().unwrap();
        let kind = if flag("blood-spot") { EventKind::BloodSpot } else { EventKind::Person };
        let action = if flag("delete") { Action::Delete } else { Action::New };
        let event = EventHeader {
            kind,
            action,
            at: Some(Instant::of(at)),
            national: flag("national"),
            may_create: flag("may-create"),
            ..EventHeader::default()
        };
        Statement { event, child: child(words), ..Statement::default() }
    }

    fn outcome(found: &Match) -> String {
        match found {
            Match::Known(id, _) => format!("child {}", id.0.as_u128()),
            Match::New(status, _) => format!("new {status:?}").to_lowercase(),
            Match::Held { code, .. } => (*code).to_owned(),
        }
    }

    #[track_caller]
    fn check(shelf: &Shelf, statement: &str, expected: &str) {
        let found = decide(&said(statement), false, shelf).unwrap();
        assert_eq!(outcome(&found), expected, "{statement}: {found:?}");
    }

    const KNOWN: &str = "nhs=9990000026/01 mrn=B1 born=2026-01-05 family=EXAMPLE given=AMARA sex=2 postcode=SE1_9ZZ";

    #[test]
    fn a_number_proves_as_much_as_its_verification_status_allows() {
        let shelf = on_record(&[KNOWN]);
        let cases = [
            // 01 from the national record: the number alone.
            ("national nhs=9990000026/01", "child 1"),
            ("national nhs=9990000026", "child 1"),
            // 01 from anyone else: date of birth and one of family name, sex, postcode.
            ("nhs=9990000026/01 born=2026-01-05 family=example given=X", "child 1"),
            ("nhs=9990000026/01 born=2026-01-05 sex=2", "child 1"),
            ("nhs=9990000026/01 born=2026-01-05 postcode=se19zz", "unmatched"),
            ("nhs=9990000026/01 born=2026-01-05 postcode=SE1_9ZZ", "child 1"),
            ("nhs=9990000026/01 born=2026-01-05", "unmatched"),
            ("nhs=9990000026/01 family=EXAMPLE given=AMARA sex=2", "unmatched"),
            ("nhs=9990000026/01 born=2026-01 sex=2", "unmatched"),
            // 02, 03, 06: date of birth and one of name, sex.
            ("nhs=9990000026/02 born=2026-01-05 sex=2", "child 1"),
            ("nhs=9990000026/03 born=2026-01-05 family=EXAMPLE given=X", "child 1"),
            ("nhs=9990000026/06 born=2026-01-05 postcode=SE1_9ZZ", "unmatched"),
            ("national nhs=9990000026/02", "unmatched"),
            // 04, 05: never, whatever else agrees.
            ("nhs=9990000026/04 mrn=B1 born=2026-01-05 family=EXAMPLE given=AMARA sex=2", "status-forbids"),
            ("national nhs=9990000026/05 born=2026-01-05 sex=2", "status-forbids"),
            // 07, 08, absent: only beside a local identifier.
            ("nhs=9990000026 born=2026-01-05 family=EXAMPLE given=AMARA sex=2", "unmatched"),
            ("nhs=9990000026/08 born=2026-01-05 family=EXAMPLE given=AMARA sex=2", "unmatched"),
            ("nhs=9990000026 mrn=B1 born=2026-01-05", "child 1"),
            ("nhs=9990000026/07 mrn=B1", "child 1"),
        ];
        for (statement, expected) in cases {
            // Spaces separate words here, so a postcode is written with a low line; only letters and digits are compared.
            let expected = if statement.contains("se19zz") { "child 1" } else { expected };
            check(&shelf, statement, expected);
        }
    }

    #[test]
    fn a_difference_holds_whatever_agrees() {
        let shelf = on_record(&[KNOWN]);
        let cases = [
            ("nhs=9990000026/01 mrn=B1 born=2026-01-07 family=EXAMPLE given=AMARA sex=2", "identity-mismatch"),
            ("national nhs=9990000026/01 born=2025-01-05", "identity-mismatch"),
            ("nhs=9990000026/01 mrn=B1 born=2025-12 sex=2", "identity-mismatch"),
            ("nhs=9990000026/01 born=2026-01-05 family=OTHER given=NAME sex=1", "identity-mismatch"),
            // One of the two alone is ordinary: a registration changes names, a correction the sex.
            ("nhs=9990000026/01 born=2026-01-05 family=OTHER given=NAME sex=2", "child 1"),
            ("nhs=9990000026/01 born=2026-01-05 family=EXAMPLE given=NAME sex=1", "child 1"),
            // A placeholder says nothing that could differ.
            ("nhs=9990000026/01 born=2026-01-05 family=OTHER given=BABY sex=1", "unmatched"),
            ("nhs=9990000026/01 born=2026-01-05 family=OTHER given=BABY sex=2", "child 1"),
        ];
        for (statement, expected) in cases {
            check(&shelf, statement, expected);
        }
        let unnamed = on_record(&["nhs=9990000026/01 born=2026-01-05 family=EXAMPLE given=BABY sex=2"]);
        check(&unnamed, "nhs=9990000026/01 born=2026-01-05 family=FATHER given=AMARA sex=2", "child 1");
    }

    #[test]
    fn a_date_of_birth_may_be_put_right_by_one_day_in_the_first_28_days_only() {
        let at = "nhs=9990000026/01 family=EXAMPLE given=X";
        // Said on 10 January: a baby of 14 December is 27 days old, one of 13 December 28.
        for (born, said_born, expected) in [
            ("2025-12-14", "2025-12-15", "child 1"),
            ("2025-12-14", "2025-12-13", "child 1"),
            ("2025-12-14", "2025-12-16", "identity-mismatch"),
            ("2025-12-13", "2025-12-14", "identity-mismatch"),
        ] {
            let shelf = on_record(&[&format!("nhs=9990000026/01 born={born} family=EXAMPLE given=X sex=2")]);
            check(&shelf, &format!("{at} born={said_born}"), expected);
            check(&shelf, &format!("{} born={said_born}", at.replace("/01", "/02")), "identity-mismatch");
        }
        let shelf = on_record(&["nhs=9990000026/01 born=2026-01-05 family=EXAMPLE given=X"]);
        let Match::Known(_, evidence) = decide(&said(&format!("{at} born=2026-01-06")), false, &shelf).unwrap() else { panic!("held") };
        assert!(evidence.iter().any(|step| step.text.contains("corrected by one day")), "{evidence:?}");
    }

    #[test]
    fn swapped_twins_are_never_filed() {
        let shelf = on_record(&[
            "nhs=9990000042/01 mrn=T1 born=2026-01-20 family=SAMPLE given=ONE sex=1 order=1",
            "nhs=9990000050/01 mrn=T2 born=2026-01-20 family=SAMPLE given=TWO sex=1 order=2",
        ]);
        let rest = "born=2026-01-20 family=SAMPLE given=LEO sex=1";
        check(&shelf, &format!("nhs={TWIN_ONE}/01 mrn=T1 {rest}").replace("2026-01-20", "2026-01-10"), "identity-mismatch");
        let shelf = Shelf(
            shelf
                .0
                .into_iter()
                .map(|mut sketch| {
                    sketch.child.birth.date = Some(date("2026-01-08"));
                    sketch
                })
                .collect(),
        );
        let rest = "born=2026-01-08 family=SAMPLE given=LEO sex=1";
        check(&shelf, &format!("nhs={TWIN_ONE}/01 mrn=T1 {rest} order=1"), "child 1");
        check(&shelf, &format!("nhs={TWIN_TWO}/01 mrn=T2 {rest}"), "child 2");
        // The number of one and the local identifier of the other; also where the number proves nothing.
        for status in ["/01", "/02", "/08", ""] {
            check(&shelf, &format!("nhs={TWIN_ONE}{status} mrn=T2 {rest}"), "identity-conflict");
        }
        check(&shelf, &format!("national nhs={TWIN_ONE}/01 mrn=T2"), "identity-conflict");
        check(&shelf, &format!("mrn=T1 mrn=T2 {rest}"), "identity-conflict");
        // The number of one and the birth order of the other.
        check(&shelf, &format!("nhs={TWIN_ONE}/01 {rest} order=2"), "identity-conflict");
        check(&shelf, &format!("mrn=T1 {rest} order=2"), "identity-conflict");
        check(&shelf, &format!("nhs={TWIN_ONE}/01 {rest} order=9"), "child 1");
        // Everything but an identifier agrees: not a match.
        check(&shelf, &format!("mrn=T9 {rest} order=1"), "unmatched");
        check(&shelf, &format!("mrn=T9 {rest} may-create"), "new provisional");
    }

    #[test]
    fn a_local_identifier_finds_its_child_unless_something_differs() {
        let shelf = on_record(&[
            "mrn=B1 born=2026-01-05 family=EXAMPLE given=BABY",
            "mrn=B2 nhs=9990000050/01 born=2026-01-06",
            "mrn=B3 nhs=9990000042/03 born=2026-01-06",
        ]);
        let cases = [
            ("mrn=B1 born=2026-01-05", "child 1"),
            ("mrn=B1", "child 1"),
            ("mrn=B1 born=2026-01", "child 1"),
            ("mrn=B1 born=2026-01-06 may-create", "identity-mismatch"),
            // The number arrives later than the child.
            ("mrn=B1 nhs=9990000077/01 born=2026-01-05", "child 1"),
            ("mrn=B2 nhs=9990000077/01 born=2026-01-06", "identity-conflict"),
            ("mrn=B3 nhs=9990000077/01 born=2026-01-06", "child 3"),
            // A visit number is no child's, and zeros are nobody's.
            ("visit=B1 born=2026-01-05 may-create", "no-identifier"),
            ("mrn=0000 born=2026-01-05 may-create", "no-identifier"),
        ];
        for (statement, expected) in cases {
            check(&shelf, statement, expected);
        }
    }

    #[test]
    fn a_child_is_created_only_by_a_message_that_may() {
        let shelf = Shelf::default();
        let cases = [
            ("nhs=9990000077/01 born=2026-01-05 may-create", "new active"),
            ("national nhs=9990000077 born=2026-01-05 may-create", "new active"),
            ("nhs=9990000077/02 born=2026-01-05 may-create", "new provisional"),
            ("mrn=B1 born=2026-01-05 may-create", "new provisional"),
            ("mrn=B1 born=2026-01-05", "unmatched"),
            ("mrn=B1 born=2026-01-05 may-create delete", "unmatched"),
            ("mrn=B1 may-create", "no-birth-date"),
            ("mrn=B1 born=2026-01 may-create", "no-birth-date"),
            ("born=2026-01-05 family=EXAMPLE given=AMARA may-create", "no-identifier"),
            // The check digit is wrong, and there is nothing else.
            ("nhs=9990000078/01 born=2026-01-05 may-create", "no-identifier"),
            // A result creates where its number was verified or at least present.
            ("blood-spot nhs=9990000077/01 born=2026-01-05", "new active"),
            ("blood-spot nhs=9990000077/02 born=2026-01-05", "new provisional"),
            ("blood-spot nhs=9990000077/03 born=2026-01-05", "unmatched"),
            ("blood-spot nhs=9990000077/01", "no-birth-date"),
            ("blood-spot delete nhs=9990000077/01 born=2026-01-05", "unmatched"),
            ("blood-spot mrn=L1 born=2026-01-05 family=EXAMPLE given=AMARA sex=2", "unmatched"),
            ("nhs=9990000077/01 born=2026-01-05", "unmatched"),
            // Nobody knows who it is.
            ("unknown=Y mrn=B1 born=2026-01-05 may-create", "unmatched"),
        ];
        for (statement, expected) in cases {
            check(&shelf, statement, expected);
        }
        check(&on_record(&[KNOWN]), "unknown=Y mrn=B1", "child 1");
    }

    #[test]
    fn a_date_of_birth_that_cannot_be_holds_the_message() {
        // Said on 10 January 2026: tomorrow may be a matter of zones, the day after is not.
        for (born, expected) in [
            ("2026-01-11", "new provisional"),
            ("2026-01-12", "birth-date-implausible"),
            ("1896-01-10", "new provisional"),
            ("1896-01-09", "birth-date-implausible"),
            ("2062", "birth-date-implausible"),
        ] {
            check(&Shelf::default(), &format!("mrn=B1 born={born} may-create"), expected);
        }
    }

    #[test]
    fn identifiers_that_contradict_each_other_hold_the_message() {
        let shelf = on_record(&[KNOWN]);
        check(&shelf, "nhs=9990000026/01 nhs=9990000077/01 born=2026-01-05 sex=2", "identity-conflict");
        check(&shelf, "nhs=9990000026/01 mother=9990000026 born=2026-01-05 sex=2", "identity-conflict");
        check(&shelf, "nhs=9990000026/01 mother=9990000018 born=2026-01-05 sex=2", "child 1");
    }

    #[test]
    fn a_closed_record_takes_nothing_and_a_merged_one_sends_on() {
        let mut shelf = on_record(&[KNOWN]);
        for status in [ChildStatus::Sealed, ChildStatus::Invalidated] {
            shelf.0[0].status = status;
            check(&shelf, "national nhs=9990000026/01", "record-closed");
            check(&shelf, "mrn=B1 born=2026-01-05", "record-closed");
        }
        shelf.0[0].status = ChildStatus::Merged;
        shelf.0[0].child.merged_into = Some(child_id(6));
        check(&shelf, "national nhs=9990000026/01", "child 7");
        shelf.0[0].status = ChildStatus::Deceased;
        check(&shelf, "national nhs=9990000026/01", "child 1");
    }

    #[test]
    fn a_superseded_number_still_finds_its_child() {
        let mut shelf = on_record(&[&format!("nhs={UNHEARD_OF}/01 nhs={TERM_BABY}/01 mrn=B1 born=2026-01-05 sex=2")]);
        shelf.0[0].child.identifiers[0].usage = IdentifierUse::Superseded;
        check(&shelf, &format!("nhs={UNHEARD_OF}/01 born=2026-01-05 sex=2"), "child 1");
        check(&shelf, &format!("nhs={UNHEARD_OF}/08 mrn=B1 born=2026-01-05"), "child 1");
    }

    #[test]
    fn every_step_that_was_tried_is_told_and_no_value_is_quoted() {
        let shelf = on_record(&[KNOWN]);
        for statement in [
            "nhs=9990000026/01 mrn=B1 born=2026-01-05 family=EXAMPLE given=AMARA sex=2",
            "nhs=9990000026/08 mrn=B1 born=2026-01-05",
            "nhs=9990000077/01 mrn=B9 born=2026-01-05 may-create",
            "nhs=9990000026/01 mrn=B1 born=2025-01-05",
        ] {
            let (text, evidence) = match decide(&said(statement), false, &shelf).unwrap() {
                Match::Known(_, evidence) | Match::New(_, evidence) => (String::new(), evidence),
                Match::Held { text, evidence, .. } => (text, evidence),
            };
            assert!(!evidence.is_empty(), "{statement}");
            let told = format!("{text} {evidence:?}");
            for quoted in ["9990000", "B1", "B9", "2026-01", "EXAMPLE", "AMARA"] {
                assert!(!told.contains(quoted), "{quoted} in {told}");
            }
        }
        let Match::New(_, evidence) = decide(&said("nhs=9990000077/01 mrn=B9 born=2026-01-05 may-create"), false, &shelf).unwrap() else {
            panic!("known")
        };
        let steps: Vec<&str> = evidence.iter().map(|step| step.step.as_str()).collect();
        assert_eq!(steps, ["1 nhs-number", "2 local-id", "5 new"]);
    }

    #[test]
    fn an_index_that_cannot_be_read_decides_nothing() {
        assert!(decide(&said("nhs=9990000026/01 born=2026-01-05 may-create"), false, &Unreadable).is_err());
        assert!(decide(&said("mrn=B1 born=2026-01-05 may-create"), false, &Unreadable).is_err());
    }
}

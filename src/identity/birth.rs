//! Steps 3 and 4 of the match: a child found without an identifier of its own, and where that is never done (identity rules, sections 2,
//! 5 and 8).
//!
//! # What always holds
//!
//! - Babies of one birth are never told from another by likeness: where there is a sign of several, step 4 is not taken (section 5).
//! - Of several, the birth order is the baby only where its senders are known to count: two or more babies of this birth are on record, each
//!   with an order of its own. Otherwise two babies of one mother with the same birth order wait for a person.
//! - Two without an order become two records.
//! - A child over eight weeks that comes with a new NHS number and without its birth is neither matched nor found by these steps
//!   ([`is_barred`], section 8): after an adoption nothing may lead from the new record to the old.
//! - Names are compared whole. No likeness is weighed.

use jiff::{ToSpan, civil};

use super::decide::{
    Compared, Hold, Matching, compare_dates, compare_orders, hold, in_use, is_local, is_real, order, own_families, postcode,
};
use super::name::plain_name;
use super::{ChildIndex, IndexError, Sketch, age_days, sex_agrees, stated};
use crate::canon::{Child, ChildStatus, Date, EventKind, Identifier, Relation, Statement};
use crate::names::ChildId;

/// Births of one mother within so many days are one birth (identity rules, section 5).
pub const ONE_BIRTH_DAYS: i64 = 3;
/// A new number for a child older than this, without a birth, may be that of an adoption (identity rules, section 8): eight weeks.
const BARRIER_DAYS: i64 = 56;

const TRIPLE: &str = "3 birth-triple";
const LIKENESS: &str = "4 demographic";
/// A step that found somebody who might be meant, and kept the two apart.
pub const POSSIBLE: &str = "3 possible-match";

/// True where steps 3 and 4 are forbidden: a new NHS number for a child older than eight weeks without a birth (identity rules, section 8).
pub fn is_barred(statement: &Statement) -> bool {
    let numbered = statement.child.identifiers.iter().any(|id| in_use(id) && id.nhs_number().is_some());
    let on = statement.event.at.as_ref().and_then(|at| at.date());
    let age = on.and_then(|on| age_days(&statement.child, on));
    statement.child.flags.adoption_barrier
        || (numbered && statement.event.kind != EventKind::Birth && age.is_some_and(|age| BARRIER_DAYS < age))
}

/// Identifiers of the mother that lead to her other children: NHS numbers and lasting local ones, of a relation in force.
pub fn mothers_ids(child: &Child) -> impl Iterator<Item = &Identifier> {
    mothers(child).flat_map(|mother| &mother.identifiers).filter(|id| in_use(id) && (id.nhs_number().is_some() || is_local(id)))
}

/// The mother, by a relation in force.
fn mothers(child: &Child) -> impl Iterator<Item = &Relation> {
    let in_force =
        |relation: &&Relation| relation.is_mother() && !matches!(relation.link_status.as_deref(), Some("ended" | "adoption_severed"));
    child.relations.iter().filter(in_force)
}

/// Children on record who may be this one: of the same mother, born within three days, and the birth order does not tell them from it. The
/// child itself is among them where it is on record.
pub fn might_be(child: &Child, index: &dyn ChildIndex) -> Result<Vec<Sketch>, IndexError> {
    let Some(day) = born(child) else { return Ok(Vec::new()) };
    let mut found = of_one_birth(child, day, index)?;
    found.retain(|known| compare_orders(&child.birth, &known.child.birth) != Compared::Differs);
    Ok(found)
}

/// Children on record of the same mother, born within three days of `day`; each once.
fn of_one_birth(child: &Child, day: civil::Date, index: &dyn ChildIndex) -> Result<Vec<Sketch>, IndexError> {
    let days = (day.checked_sub(ONE_BIRTH_DAYS.days()).unwrap_or(day), day.checked_add(ONE_BIRTH_DAYS.days()).unwrap_or(day));
    let mut found: Vec<Sketch> = Vec::new();
    for id in mothers_ids(child) {
        for known in index.by_mother(&id.system, &id.value, days)? {
            if is_open(&known) && !found.iter().any(|one| one.id == known.id) {
                found.push(known);
            }
        }
    }
    Ok(found)
}

/// Marks under which a child can be looked up by its details: one for each family name, its own and its mother's, with sex and home
/// postcode. None where one of these is not known. A mark says nothing by itself and may be shared by chance: what it finds is compared.
pub fn likeness_marks(child: &Child) -> Vec<i64> {
    let (Some(sex), Some(postcode)) = (stated(child.sex), postcode(child)) else { return Vec::new() };
    let mut marks: Vec<i64> = families(child).iter().map(|family| mark(&format!("{sex:?}|{postcode}|{family}"))).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// FNV-1a: the same on every machine and in every version.
fn mark(text: &str) -> i64 {
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    hash.cast_signed()
}

/// The child's own family names and its mother's, for comparison (identity rules, section 2, step 4); placeholders are none.
fn families(child: &Child) -> Vec<String> {
    let mothers = child.relations.iter().filter(|relation| relation.is_mother());
    let hers = mothers.flat_map(|mother| {
        let name = mother.name.as_ref().and_then(|name| name.family.as_deref());
        name.into_iter().chain(mother.birth_family_name.as_deref())
    });
    let mut families: Vec<String> = own_families(child).chain(hers.map(plain_name).filter(|name| !name.is_empty())).collect();
    families.sort();
    families.dedup();
    families
}

fn born(child: &Child) -> Option<civil::Date> {
    child.birth.date.as_ref().and_then(Date::civil)
}

/// One of several by what is said of it, or by a name that says TWIN.
fn is_one_of_several(child: &Child) -> bool {
    let says = |text: &str| text.to_uppercase().split(|c: char| !c.is_alphabetic()).any(|word| matches!(word, "TWIN" | "TRIPLET" | "QUAD"));
    let named = child.names.iter().any(|name| !is_real(name) && name.family.iter().chain(&name.given).any(|part| says(part)));
    child.birth.is_multiple() || named
}

/// Nobody may be added to a closed record by steps 3 and 4.
fn is_open(sketch: &Sketch) -> bool {
    !matches!(sketch.status, ChildStatus::Sealed | ChildStatus::Invalidated | ChildStatus::Merged) && !sketch.child.flags.adoption_barrier
}

/// Local identifiers in force of the same kind and the same issuer that are not the same: two people, or one registered twice.
pub(super) fn local_ids_differ(a: &Child, b: &Child) -> bool {
    let lasting = |child: &Child| -> Vec<(String, Option<String>, String)> {
        let ids = child.identifiers.iter().filter(|id| id.usage == crate::canon::IdentifierUse::Current && is_local(id) && is_lasting(id));
        ids.map(|id| (id.system.clone(), id.kind.clone(), id.value.clone())).collect()
    };
    let (a, b) = (lasting(a), lasting(b));
    let shares = a.iter().any(|id| b.contains(id));
    !shares && a.iter().any(|(system, kind, _)| b.iter().any(|(other, of_kind, _)| system == other && kind == of_kind))
}

fn is_lasting(id: &Identifier) -> bool {
    !matches!(id.kind.as_deref(), Some("TEMP" | "LAB" | "CARD"))
}

/// How sure it is that two children have two mothers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mothers {
    /// One of them is not named, or there is nothing to compare.
    Unknown,
    /// Her number says another woman and the day of her birth the same, or only that day says another: one may be typed wrong.
    SeemTwo,
    /// Her number, and the day too where both give it.
    Two,
}

/// The mothers of two children that agree in their details and share no identifier of her (those that share one are siblings: step 3).
/// A number that could not be traced at its sender proves nothing, as a child's does not (identity rules, section 1).
fn mothers_of(a: &Child, b: &Child) -> Mothers {
    let ids = |child| -> Vec<&Identifier> {
        mothers_ids(child).filter(|id| is_lasting(id) && !matches!(id.status.as_deref(), Some("04" | "05"))).collect()
    };
    let birthdays = |child: &Child| -> Vec<civil::Date> {
        mothers(child).filter_map(|mother| mother.birth_date.as_ref().and_then(Date::civil)).collect()
    };
    let (born, other) = (birthdays(a), birthdays(b));
    let agrees = born.iter().any(|day| other.contains(day));
    let is_known = !born.is_empty() && !other.is_empty();
    match name_two(&ids(a), &ids(b)) {
        true if agrees => Mothers::SeemTwo,
        true => Mothers::Two,
        false if is_known && !agrees => Mothers::SeemTwo,
        false => Mothers::Unknown,
    }
}

/// No identifier is shared, and one issuer gave each of them one of its own: two NHS numbers, or two of one kind of one place.
fn name_two(a: &[&Identifier], b: &[&Identifier]) -> bool {
    let is_same = |a: &Identifier, b: &Identifier| match (a.nhs_number(), b.nhs_number()) {
        (Some(number), Some(other)) => number == other,
        _ => a.system == b.system && a.value == b.value,
    };
    let is_one_kind = |a: &Identifier, b: &Identifier| match (a.nhs_number(), b.nhs_number()) {
        (Some(_), Some(_)) => true,
        (None, None) => a.system == b.system && a.kind == b.kind,
        _ => false,
    };
    let any = |says: &dyn Fn(&Identifier, &Identifier) -> bool| a.iter().any(|id| b.iter().any(|other| says(id, other)));
    !any(&is_same) && any(&is_one_kind)
}

/// True where a record names two women as the one who gave birth, by number or by the day of her birth: it may hold what belongs to two
/// children. Relations that may be one woman are one by then (`super::kin::together`), so that two that say who she is are two.
pub fn has_two_mothers(child: &Child) -> bool {
    1 < mothers(child).filter(|mother| !mother.identifiers.is_empty() || mother.birth_date.is_some()).count()
}

/// True where several babies of a birth are on record, each with an order that no other has. A sender that fills in `1` for everybody never
/// gets so far: its second baby waits for a person.
fn are_counted(siblings: &[Sketch]) -> bool {
    let mut orders: Vec<_> = siblings.iter().map(|known| order(&known.child.birth)).collect();
    orders.sort_unstable();
    1 < orders.len() && orders.iter().all(Option::is_some) && orders.windows(2).all(|pair| pair.first() != pair.last())
}

/// What forbids that two be one child, whatever agrees.
fn differs(said: &Child, known: &Child) -> Option<&'static str> {
    let numbers = |child: &Child| child.identifiers.iter().filter(|id| in_use(id)).filter_map(Identifier::nhs_number).collect::<Vec<_>>();
    let (a, b) = (numbers(said), numbers(known));
    if !a.is_empty() && !b.is_empty() && !a.iter().any(|number| b.contains(number)) {
        return Some("another NHS number");
    }
    if !sex_agrees(said.sex, known.sex) {
        return Some("another sex");
    }
    if local_ids_differ(said, known) {
        return Some("another identifier of the same issuer");
    }
    let given = |child: &Child| -> Vec<String> {
        let names = child.names.iter().filter(|name| is_real(name)).filter_map(|name| name.given.first());
        names.map(|given| plain_name(given)).filter(|given| !given.is_empty()).collect()
    };
    let (a, b) = (given(said), given(known));
    (!a.is_empty() && !b.is_empty() && !a.iter().any(|name| b.contains(name))).then_some("another given name")
}

impl Matching<'_> {
    /// Steps 3 and 4 for a statement whose identifiers are on record for nobody. `child_first`: its source knows children by themselves
    /// and not through their mothers.
    pub(super) fn find_by_birth(&mut self, child_first: bool, index: &dyn ChildIndex) -> Result<Result<Option<ChildId>, Hold>, IndexError> {
        let said = &self.statement.child;
        let Some(day) = born(said) else { return Ok(Ok(None)) };
        if said.flags.identity_unknown == Some(true) {
            return Ok(Ok(None));
        }
        if is_barred(self.statement) {
            self.note(TRIPLE, "not taken, nor is step 4: a new NHS number for a child over eight weeks without its birth");
            return Ok(Ok(None));
        }
        let siblings = self.siblings(day, index)?;
        match self.by_triple(day, &siblings) {
            Ok(None) => {}
            done => return Ok(done),
        }
        if !child_first {
            return Ok(Ok(None));
        }
        if !siblings.is_empty() || is_one_of_several(said) {
            self.note(LIKENESS, "not taken: one of several");
            return Ok(Ok(None));
        }
        Ok(Ok(self.by_likeness(day, index)?))
    }

    /// Children of the same mother, born with this one or nearly.
    fn siblings(&mut self, day: civil::Date, index: &dyn ChildIndex) -> Result<Vec<Sketch>, IndexError> {
        let siblings = of_one_birth(&self.statement.child, day, index)?;
        if siblings.is_empty() && mothers_ids(&self.statement.child).next().is_some() {
            self.note(TRIPLE, "no child of this mother, born within three days, is on record");
        }
        Ok(siblings)
    }

    /// Step 3: mother, date and birth order (identity rules, section 2; section 5 for several).
    fn by_triple(&mut self, day: civil::Date, siblings: &[Sketch]) -> Result<Option<ChildId>, Hold> {
        let said = &self.statement.child;
        let [first, others @ ..] = siblings else { return Ok(None) };
        let several = !others.is_empty() || is_one_of_several(said) || is_one_of_several(&first.child);
        let same_order = siblings.iter().find(|known| compare_orders(&said.birth, &known.child.birth) == Compared::Agrees);
        if let Some(known) = same_order {
            let same_day = born(&known.child) == Some(day);
            let tells = !several || are_counted(siblings);
            match (tells, same_day, differs(said, &known.child)) {
                (true, true, None) => {
                    self.note(TRIPLE, "mother, date of birth and birth order agree with one child");
                    return Ok(Some(known.id));
                }
                (_, _, Some(what)) => self.note(TRIPLE, &format!("a child of this mother with the same birth order has {what}")),
                (true, false, None) => self.note(TRIPLE, "a child of this mother with the same birth order was born on another day"),
                (false, _, None) => {
                    self.note(
                        TRIPLE,
                        "a child of this mother with the same birth order; one of several, and the others' orders are not on record",
                    );
                }
            }
            return hold(
                "identity-conflict",
                "a baby of this mother with the same birth order is on record under other identifiers; a person must say whether it is the same",
            );
        }
        let unknown = order(&said.birth).is_none() || order(&first.child.birth).is_none();
        let one_birth = [&said.birth, &first.child.birth].iter().any(|birth| birth.births_in_confinement == Some(1));
        if unknown && one_birth && !several && compare_dates(said.birth.date.as_ref(), first.child.birth.date.as_ref()) == Compared::Agrees
        {
            match differs(said, &first.child) {
                None => {
                    self.note(TRIPLE, "mother and date of birth agree with one child, and one baby was born");
                    return Ok(Some(first.id));
                }
                Some(what) => self.note(TRIPLE, &format!("the only child of this mother and day has {what}")),
            }
            return hold(
                "identity-conflict",
                "the only baby of this mother and day is on record and something differs; a person must decide",
            );
        }
        if siblings.iter().any(|known| order(&said.birth).is_none() || order(&known.child.birth).is_none()) {
            self.note(POSSIBLE, "another child of this mother was born within three days, and the birth order does not tell: kept apart");
        } else {
            self.note(TRIPLE, "the other children of this birth have other birth orders");
        }
        Ok(None)
    }

    /// Step 4: date of birth, family name, sex and postcode agree with exactly one child (identity rules, section 2).
    fn by_likeness(&mut self, day: civil::Date, index: &dyn ChildIndex) -> Result<Option<ChildId>, IndexError> {
        let said = &self.statement.child;
        let marks = likeness_marks(said);
        if marks.is_empty() {
            self.note(LIKENESS, "not taken: family name, sex or postcode is not known");
            return Ok(None);
        }
        let same = |known: &Sketch| {
            let shares = families(&known.child).iter().any(|family| families(said).contains(family));
            shares
                && born(&known.child) == Some(day)
                && stated(known.child.sex) == stated(said.sex)
                && postcode(&known.child) == postcode(said)
        };
        let found: Vec<Sketch> = index.by_likeness(day, &marks)?.into_iter().filter(|known| is_open(known) && same(known)).collect();
        let [known] = found.as_slice() else {
            let text =
                if found.is_empty() { "nobody agrees in date of birth, family name, sex and postcode" } else { "several children agree" };
            self.note(LIKENESS, text);
            return Ok(None);
        };
        if is_one_of_several(&known.child) || index.has_siblings(known.id, ONE_BIRTH_DAYS)? {
            self.note(LIKENESS, "the child that agrees is one of several: not matched without an identifier");
            return Ok(None);
        }
        if let Some(what) = differs(said, &known.child) {
            self.note(LIKENESS, &format!("the child that agrees has {what}: not matched"));
            return Ok(None);
        }
        match mothers_of(said, &known.child) {
            Mothers::Unknown => {}
            Mothers::Two => {
                self.note(LIKENESS, "the child that agrees has another mother: not matched");
                return Ok(None);
            }
            Mothers::SeemTwo => {
                self.note(POSSIBLE, "the child that agrees in all details seems to have another mother: kept apart, and a person is asked");
                return Ok(None);
            }
        }
        self.note(LIKENESS, "date of birth, family name, sex and postcode agree with exactly one child");
        Ok(Some(known.id))
    }
}

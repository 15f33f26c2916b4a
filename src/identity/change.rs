//! What a message about identifiers themselves does: merges (A40, A34), renamings (A47), links, unlinks, withdrawals
//! (identity rules, section 3).
//!
//! # What always holds
//!
//! - The person of PID is found as any other message finds a child: the same steps, the same doubts.
//! - The identifiers that are given up are looked up exactly, and prove nothing but whose they are.
//! - Two records become one only where nothing that is known of them differs. Whatever differs waits for a person.
//! - Links and withdrawals of what two records hold are never carried out by themselves. What a link alone attached is detached again.
//!
//! # Not here
//!
//! What becomes of the rows: the store. What the record then says: [`super::unite`].

use super::decide::{
    Compared, Hold, Matching, Number, compare_dates, compare_families, compare_orders, hold, in_use, is_local, local_ids, resolved,
};
use super::{ChildIndex, Evidence, IndexError, Sketch, sex_agrees, stated};
use crate::canon::{Child, ChildStatus, Identifier, IdentifierUse, IdentityAct, NhsNumber, Statement};
use crate::names::ChildId;

const STEP: &str = "6 identity-change";

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// One child is meant: it is given the identifiers of [`identifiers_of`] and nothing else changes.
    Known(ChildId, Vec<Evidence>),
    /// Nobody is known by any of the identifiers, and the statement may create.
    New(ChildStatus, Vec<Evidence>),
    /// Two records are one child.
    Unite {
        /// Goes on.
        survivor: ChildId,
        /// Is kept, and sends on to the survivor.
        other: ChildId,
        /// Every step.
        evidence: Vec<Evidence>,
    },
    /// Two identifiers of one record are two persons': what came by a link is taken off it, if it did. By which message an identifier
    /// came, only the store knows.
    Detach {
        /// The record.
        child: ChildId,
        /// Every step.
        evidence: Vec<Evidence>,
    },
    /// A person must look.
    Held {
        /// Stable: those of [`super::Match`], and `identity-link`.
        code: &'static str,
        /// For the person who looks. Quotes nothing.
        text: String,
        /// Every step that was tried.
        evidence: Vec<Evidence>,
    },
}

/// The identifiers that a change says of its child: those of PID in force, the prior ones given up, or, where two are
/// linked, in force as well.
pub fn identifiers_of(statement: &Statement) -> Vec<Identifier> {
    let links = statement.identity_changes.iter().all(|change| change.act == IdentityAct::Link);
    let usage = if links { IdentifierUse::Current } else { IdentifierUse::Superseded };
    let prior = priors(statement).map(|id| Identifier { usage, ..id.clone() });
    statement.child.identifiers.iter().cloned().chain(prior).collect()
}

/// The identifiers that an unlink could mean, those of the second person and then those of PID: only local ones are ever detached, so a
/// person who is named by an NHS number as well is the one who keeps the record.
pub fn unlinked_sides(statement: &Statement) -> Vec<Vec<Identifier>> {
    let own = statement.child.identifiers.iter().filter(|id| in_use(id));
    let sides: [Vec<&Identifier>; 2] = [priors(statement).collect(), own.collect()];
    let without_number = sides.into_iter().filter(|side| side.iter().all(|id| id.nhs_number().is_none()));
    let local = without_number.map(|side| side.into_iter().filter(|id| is_local(id)).cloned().collect::<Vec<_>>());
    local.filter(|side| !side.is_empty()).collect()
}

/// The prior identifiers that PID does not name as well: only those are given up.
fn priors(statement: &Statement) -> impl Iterator<Item = &Identifier> {
    let said = |id: &Identifier| {
        let kept = &statement.child.identifiers;
        kept.iter().any(|kept| (&kept.system, &kept.value) == (&id.system, &id.value))
    };
    statement.identity_changes.iter().flat_map(|change| &change.prior).filter(move |id| in_use(id) && !said(id))
}

/// Decides what an identity change does. `event.at` has to be filled, as for [`super::decide`].
pub fn decide_change(statement: &Statement, index: &dyn ChildIndex) -> Result<Change, IndexError> {
    let mut changing = Changing { matching: Matching { statement, evidence: Vec::new() } };
    let found = changing.run(index)?;
    let evidence = changing.matching.evidence;
    Ok(match found {
        Ok(Found::Known(child)) => Change::Known(child, evidence),
        Ok(Found::New(status)) => Change::New(status, evidence),
        Ok(Found::Unite(survivor, other)) => Change::Unite { survivor, other, evidence },
        Ok(Found::Detach(child)) => Change::Detach { child, evidence },
        Err(Hold { code, text }) => Change::Held { code, text: text.to_owned(), evidence },
    })
}

enum Found {
    Known(ChildId),
    New(ChildStatus),
    Unite(ChildId, ChildId),
    Detach(ChildId),
}

struct Changing<'a> {
    matching: Matching<'a>,
}

impl Changing<'_> {
    fn run(&mut self, index: &dyn ChildIndex) -> Result<Result<Found, Hold>, IndexError> {
        let statement = self.matching.statement;
        let Some(act) = statement.identity_changes.first().map(|change| change.act) else {
            return Ok(hold("no-identifier", "the message changes no identifier"));
        };
        if statement.identity_changes.iter().any(|change| change.act != act) {
            return Ok(hold("identity-conflict", "the message changes identifiers in two different ways"));
        }
        let (number, survivor) = match self.matching.find(index)? {
            Ok(found) => found,
            Err(hold) => return Ok(Err(hold)),
        };
        let mut priors_found: Vec<Sketch> = Vec::new();
        for id in priors(statement) {
            if self.matching.is_a_baby() && index.is_a_relations(&id.system, &id.value)? {
                return Ok(hold("identity-conflict", "a prior identifier of the baby is on record as its mother's or another relation's"));
            }
            let found = match id.nhs_number() {
                Some(number) => index.by_nhs_number(number)?,
                None if is_local(id) => index.by_local_id(&id.system, &id.value)?,
                None => None,
            };
            priors_found.extend(found.map(resolved));
        }
        let is_taken = match act {
            IdentityAct::Rename => is_taken(statement, index)?,
            _ => false,
        };
        Ok(self.weigh(act, is_taken, number, survivor, priors_found))
    }

    fn weigh(
        &mut self,
        act: IdentityAct,
        is_taken: bool,
        number: Number,
        survivor: Option<Sketch>,
        priors_found: Vec<Sketch>,
    ) -> Result<Found, Hold> {
        let said = self.matching.statement;
        if priors(said).next().is_none() && !matches!(act, IdentityAct::Withdraw) {
            return hold("no-identifier", "no prior identifier is given other than those of the person itself");
        }
        let is_other = |sketch: &&Sketch| survivor.as_ref().is_none_or(|survivor| survivor.id != sketch.id);
        let other = priors_found.iter().find(is_other).cloned();
        if priors_found.iter().filter(is_other).any(|sketch| other.as_ref().is_some_and(|other| other.id != sketch.id)) {
            self.matching.note(STEP, "the prior identifiers name several children");
            return hold("identity-conflict", "the prior identifiers belong to several children on record");
        }
        self.note_found(survivor.as_ref(), other.as_ref(), !priors_found.is_empty());
        if survivor.iter().chain(&other).any(is_closed) {
            return hold("record-closed", "one of the records is closed; a person with the right to it must look");
        }
        match act {
            IdentityAct::Merge | IdentityAct::Rename => self.give_up(act, is_taken, number, survivor, other),
            IdentityAct::Link => self.link(number, survivor, other),
            IdentityAct::Unlink | IdentityAct::Withdraw if survivor.is_none() && other.is_none() => {
                hold("unmatched", "no child on record has an identifier of this message")
            }
            IdentityAct::Unlink => self.unlink(survivor, other),
            IdentityAct::Withdraw => {
                hold("identity-link", "the sender deletes this person; nothing is deleted here, a person must look at its identifiers")
            }
        }
    }

    fn note_found(&mut self, survivor: Option<&Sketch>, other: Option<&Sketch>, any_prior: bool) {
        let text = match (survivor, other) {
            (None, None) => "neither the identifiers of the person nor the prior ones are on record",
            (Some(_), None) if any_prior => "the prior identifiers are those of the same child",
            (Some(_), None) => "the prior identifiers are on record for nobody",
            (None, Some(_)) => "the prior identifiers name a child; those of the person are on record for nobody",
            (Some(_), Some(_)) => "the prior identifiers name another child",
        };
        self.matching.note(STEP, text);
    }

    /// A merge or a renaming: the prior identifiers are given up.
    fn give_up(
        &mut self,
        act: IdentityAct,
        is_taken: bool,
        number: Number,
        survivor: Option<Sketch>,
        other: Option<Sketch>,
    ) -> Result<Found, Hold> {
        match (survivor, other) {
            (None, None) => self.matching.new_child(number).map(Found::New),
            (Some(survivor), None) => {
                if self.would_turn_round(&survivor.child) {
                    return hold(
                        "identity-conflict",
                        "an earlier message said the opposite: these identifiers would replace each other in a circle",
                    );
                }
                let has_prior = priors(self.matching.statement).any(|id| holds(&survivor.child, id).is_some());
                if act == IdentityAct::Rename && is_taken && !has_prior {
                    return hold(
                        "identity-conflict",
                        "the new identifier is on record already, and the old one is not; a merge would be another message",
                    );
                }
                Ok(Found::Known(survivor.id))
            }
            (None, Some(other)) => {
                let number = if self.is_superseded_nationally(&other)? { None } else { number };
                self.matching.local_id_agrees(number, &other)?;
                Ok(Found::Known(other.id))
            }
            (Some(_), Some(_)) if act == IdentityAct::Rename => hold(
                "identity-conflict",
                "the new identifier belongs to another child on record; a renaming must not make two children one",
            ),
            (Some(survivor), Some(other)) => {
                self.may_unite(&survivor, &other)?;
                Ok(Found::Unite(survivor.id, other.id))
            }
        }
    }

    /// The national record gives a child another NHS number: taken where name and sex agree too (identity rules, section 3).
    fn is_superseded_nationally(&self, known: &Sketch) -> Result<bool, Hold> {
        let said = self.matching.statement;
        let current = known.child.nhs_number().map(|(number, _)| number);
        if !said.event.national || current.is_none() || !priors(said).any(|id| id.nhs_number() == current) {
            return Ok(false);
        }
        let family = compare_families(&said.child, &known.child);
        if family == Compared::Differs || !sex_agrees(said.child.sex, known.child.sex) {
            return hold("identity-mismatch", "the child whose NHS number is superseded has another family name or sex");
        }
        Ok(true)
    }

    /// A given-up identifier comes back for the very one that replaced it.
    fn would_turn_round(&self, child: &Child) -> bool {
        let is = |id: &Identifier, usage: IdentifierUse| holds(child, id).is_some_and(|known| known.usage == usage);
        let lasting = |id: &&Identifier| id.kind.as_deref() != Some("TEMP");
        let comes_back = local_ids(&self.matching.statement.child).filter(lasting).any(|id| is(id, IdentifierUse::Superseded));
        comes_back && priors(self.matching.statement).filter(|id| is_local(id)).any(|id| is(id, IdentifierUse::Current))
    }

    /// Nothing that is known of two records may differ before they become one.
    fn may_unite(&mut self, survivor: &Sketch, other: &Sketch) -> Result<(), Hold> {
        let (a, b) = (&survivor.child, &other.child);
        let birth = compare_dates(a.birth.date.as_ref(), b.birth.date.as_ref());
        let said = compare_dates(self.matching.statement.child.birth.date.as_ref(), b.birth.date.as_ref());
        let (order, family, sex) = (compare_orders(&a.birth, &b.birth), compare_families(a, b), sex_agrees(a.sex, b.sex));
        let words = format!(
            "two records: date of birth {}, family name {}, sex {}, birth order {}",
            birth.word(),
            family.word(),
            if sex { if stated(a.sex).is_some() && stated(b.sex).is_some() { "agrees" } else { "not compared" } } else { "differs" },
            order.word()
        );
        self.matching.note(STEP, &words);
        if let (Some(a), Some(b)) = (verified(survivor), verified(other))
            && a != b
        {
            return hold("identity-conflict", "both records have a verified NHS number, and they are not the same; a person must decide");
        }
        if birth == Compared::Differs || said == Compared::Differs {
            return hold("identity-mismatch", "the two records have different dates of birth; a person must decide");
        }
        let several = a.birth.is_multiple() || b.birth.is_multiple();
        if order == Compared::Differs || several && order != Compared::Agrees {
            return hold("identity-conflict", "the two records may be two babies of one birth; a person must decide");
        }
        if !sex && family == Compared::Differs {
            return hold("identity-mismatch", "the two records have another sex and another family name; a person must decide");
        }
        Ok(())
    }

    /// A24: one known child, and local identifiers that nobody has, are attached. All else is a person's decision.
    fn link(&mut self, number: Number, survivor: Option<Sketch>, other: Option<Sketch>) -> Result<Found, Hold> {
        let said = self.matching.statement;
        let unheard = "a link names an NHS number that is not on record for this child; a person must decide";
        match (survivor, other) {
            (Some(_), Some(_)) => hold(
                "identity-link",
                "the sender says that two children on record are one person; a link merges nothing, a person must decide",
            ),
            (None, None) => hold("unmatched", "no child on record has an identifier of this message"),
            (Some(survivor), None) => {
                let known = |id: &Identifier| holds(&survivor.child, id).is_some();
                if priors(said).any(|id| !is_local(id) && !known(id)) {
                    return hold("identity-link", unheard);
                }
                Ok(Found::Known(survivor.id))
            }
            (None, Some(other)) => {
                self.matching.local_id_agrees(number, &other)?;
                if number.is_some() {
                    return hold("identity-link", unheard);
                }
                Ok(Found::Known(other.id))
            }
        }
    }

    /// A37: both identifiers stand on one record, and neither is an NHS number that the second person brings.
    fn unlink(&mut self, survivor: Option<Sketch>, other: Option<Sketch>) -> Result<Found, Hold> {
        let said = self.matching.statement;
        let Some(child) = survivor.filter(|survivor| other.is_none() && priors(said).any(|id| holds(&survivor.child, id).is_some())) else {
            return hold(
                "identity-link",
                "the sender says that these identifiers are two persons', and here they stand on no common record: there is nothing to part; \
                 look at both records, then `identity resolve --discard` ends this message",
            );
        };
        if priors(said).any(|id| id.nhs_number().is_some()) {
            return hold(
                "identity-link",
                "the sender says that an NHS number of this child is another person's; it is never taken off by itself: ask the national record \
                 whose it is",
            );
        }
        Ok(Found::Detach(child.id))
    }
}

/// A47: is the new identifier on record already, for whomever?
fn is_taken(statement: &Statement, index: &dyn ChildIndex) -> Result<bool, IndexError> {
    for id in local_ids(&statement.child) {
        if index.by_local_id(&id.system, &id.value)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn holds<'c>(child: &'c Child, id: &Identifier) -> Option<&'c Identifier> {
    child.identifiers.iter().find(|known| (&known.system, &known.value) == (&id.system, &id.value))
}

/// Sealed, invalidated, or behind the barrier of an adoption.
fn is_closed(sketch: &Sketch) -> bool {
    matches!(sketch.status, ChildStatus::Sealed | ChildStatus::Invalidated) || sketch.child.flags.adoption_barrier
}

/// The current NHS number, where it is verified: status 01, or the national record's without a status.
fn verified(sketch: &Sketch) -> Option<NhsNumber> {
    match sketch.child.nhs_number()? {
        (number, Some("01")) => Some(number),
        (number, None) if sketch.status != ChildStatus::Provisional => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide::tests::{Shelf, child, child_id, on_record, said};
    use super::*;
    use crate::canon::{EventKind, IdentityChange};

    /// `ACT PERSON > PRIOR`, in the words of the match: `merge mrn=B > mrn=A`.
    fn change(words: &str) -> Statement {
        let (person, prior) = words.split_once(" > ").unwrap_or((words, ""));
        let (act, person) = person.split_once(' ').unwrap();
        let act = match act {
            "merge" => IdentityAct::Merge,
            "rename" => IdentityAct::Rename,
            "link" => IdentityAct::Link,
            "unlink" => IdentityAct::Unlink,
            _ => IdentityAct::Withdraw,
        };
        let mut statement = said(person);
        statement.event.kind = EventKind::Merge;
        statement.identity_changes = vec![IdentityChange { act, prior: child(prior).identifiers }];
        statement
    }

    #[track_caller]
    fn check(shelf: &Shelf, words: &str, expected: &str) {
        let found = decide_change(&change(words), shelf).unwrap();
        let outcome = match &found {
            Change::Known(child, _) => format!("child {}", child.0.as_u128()),
            Change::New(status, _) => format!("new {status:?}").to_lowercase(),
            Change::Unite { survivor, other, .. } => format!("{} into {}", other.0.as_u128(), survivor.0.as_u128()),
            Change::Detach { child, .. } => format!("detach from {}", child.0.as_u128()),
            Change::Held { code, .. } => (*code).to_owned(),
        };
        assert_eq!(outcome, expected, "{words}: {found:?}");
    }

    #[test]
    fn a_merge_gives_identifiers_up_and_unites_only_what_does_not_differ() {
        let shelf = on_record(&[
            "mrn=A nhs=9990000026/01 born=2026-01-05 family=EXAMPLE given=AMARA sex=2",
            "mrn=B born=2026-01-05 family=EXAMPLE given=BABY sex=2",
            "mrn=C nhs=9990000077/01 born=2026-01-05 family=EXAMPLE given=AMARA sex=2",
            "mrn=D born=2026-01-06",
            "mrn=T1 born=2026-01-05 order=1",
            "mrn=T2 born=2026-01-05 order=2",
            "mrn=X1 born=2026-01-05 family=OTHER given=SAM sex=1",
        ]);
        let cases = [
            // One side is known.
            ("merge mrn=A > mrn=Z", "child 1"),
            ("merge mrn=Z > mrn=A", "child 1"),
            ("merge mrn=Z born=2026-01-05 > mrn=A", "child 1"),
            ("merge mrn=Z born=2026-01-06 > mrn=A", "identity-mismatch"),
            ("merge mrn=Z nhs=9990000050/01 > mrn=A", "identity-conflict"),
            // Neither is.
            ("merge mrn=Y born=2026-01-05 may-create > mrn=Z", "new provisional"),
            ("merge mrn=Y born=2026-01-05 > mrn=Z", "unmatched"),
            ("merge mrn=Y may-create > mrn=Z", "no-birth-date"),
            // Both are.
            ("merge mrn=A > mrn=B", "2 into 1"),
            ("merge mrn=B > mrn=A", "1 into 2"),
            ("merge mrn=A > nhs=9990000026 mrn=B", "2 into 1"),
            ("merge mrn=A > nhs=9990000026", "child 1"),
            ("merge mrn=A > mrn=C", "identity-conflict"),
            ("merge mrn=A > mrn=D", "identity-mismatch"),
            ("merge mrn=A born=2026-01-06 > mrn=B", "identity-mismatch"),
            ("merge mrn=A > mrn=X1", "identity-mismatch"),
            ("merge mrn=T1 > mrn=T2", "identity-conflict"),
            ("merge mrn=B > mrn=T2", "identity-conflict"),
            // Identifiers that hold nothing together.
            ("merge mrn=A > mrn=B mrn=D", "identity-conflict"),
            ("merge mrn=A mrn=D > mrn=Z", "identity-conflict"),
            ("merge mrn=A > mrn=A", "no-identifier"),
            ("merge mrn=A", "no-identifier"),
            ("merge mrn=A > visit=B", "child 1"),
        ];
        for (words, expected) in cases {
            check(&shelf, words, expected);
        }
    }

    #[test]
    fn twins_of_unknown_order_are_never_made_one_and_the_two_records_of_one_twin_are() {
        let shelf = on_record(&["mrn=T1 born=2026-01-05 order=2", "mrn=T2 born=2026-01-05", "mrn=T3 born=2026-01-05 order=2"]);
        check(&shelf, "merge mrn=T1 > mrn=T2", "identity-conflict");
        check(&shelf, "merge mrn=T1 > mrn=T3", "3 into 1");
    }

    #[test]
    fn closed_records_and_those_behind_a_barrier_are_never_merged() {
        for status in [ChildStatus::Sealed, ChildStatus::Invalidated] {
            for closed in [0, 1] {
                let mut shelf = on_record(&["mrn=A born=2026-01-05", "mrn=B born=2026-01-05"]);
                shelf.0[closed].status = status;
                check(&shelf, "merge mrn=A > mrn=B", "record-closed");
            }
        }
        let mut shelf = on_record(&["mrn=A born=2026-01-05", "mrn=B born=2026-01-05"]);
        shelf.0[1].child.flags.adoption_barrier = true;
        check(&shelf, "merge mrn=A > mrn=B", "record-closed");
        check(&shelf, "merge mrn=Z > mrn=B", "record-closed");
    }

    #[test]
    fn a_merged_child_is_the_one_that_goes_on_and_a_circle_is_held() {
        let mut shelf = on_record(&["mrn=A born=2026-01-05", "mrn=B born=2026-01-05", "mrn=C born=2026-01-05"]);
        // A went into B.
        shelf.0[0].status = ChildStatus::Merged;
        shelf.0[0].child.merged_into = Some(child_id(1));
        let given_up = Identifier { usage: IdentifierUse::Superseded, ..shelf.0[0].child.identifiers[0].clone() };
        shelf.0[1].child.identifiers.push(given_up);
        shelf.0.swap_remove(0);
        check(&shelf, "merge mrn=C > mrn=A", "2 into 3");
        check(&shelf, "merge mrn=B > mrn=A", "child 2");
        check(&shelf, "merge mrn=A > mrn=B", "identity-conflict");
        check(&shelf, "rename mrn=A > mrn=B", "identity-conflict");
        // Said late, with the identifier that has been given up meanwhile: still the same child.
        check(&shelf, "merge mrn=A > mrn=Z", "child 2");
    }

    #[test]
    fn a_renaming_never_makes_two_children_one() {
        let shelf = on_record(&["mrn=A nhs=9990000026/01 born=2026-01-05 sex=2", "mrn=B born=2026-01-05", "mrn=C mrn=D born=2026-01-05"]);
        let cases = [
            ("rename mrn=Z > mrn=A", "child 1"),
            ("rename mrn=Z nhs=9990000026/01 born=2026-01-05 sex=2 > mrn=A", "child 1"),
            ("rename mrn=B > mrn=A", "identity-conflict"),
            // The new identifier is somebody's, and the old one nobody's.
            ("rename mrn=B > mrn=Z", "identity-conflict"),
            ("rename mrn=D > mrn=C", "child 3"),
            ("rename mrn=Y nhs=9990000026/01 born=2026-01-05 sex=2 > mrn=Z", "child 1"),
            ("rename mrn=Y > mrn=Z", "unmatched"),
        ];
        for (words, expected) in cases {
            check(&shelf, words, expected);
        }
    }

    #[test]
    fn a_number_superseded_by_the_national_record_is_another_number_of_the_same_child_where_name_and_sex_agree() {
        let shelf = on_record(&["mrn=A nhs=9990000026/01 born=2026-01-05 family=EXAMPLE given=AMARA sex=2"]);
        let cases = [
            ("merge national nhs=9990000077/01 born=2026-01-05 family=EXAMPLE given=X sex=2 > nhs=9990000026", "child 1"),
            ("merge national nhs=9990000077/01 born=2026-01-05 family=OTHER given=X sex=2 > nhs=9990000026", "identity-mismatch"),
            ("merge national nhs=9990000077/01 born=2026-01-05 sex=1 > nhs=9990000026", "identity-mismatch"),
            ("merge national nhs=9990000077/01 born=2026-01-06 > nhs=9990000026", "identity-mismatch"),
            // A hospital cannot say so, and neither can the national record by a local identifier.
            ("merge nhs=9990000077/01 born=2026-01-05 family=EXAMPLE given=X sex=2 > nhs=9990000026", "identity-conflict"),
            ("merge national nhs=9990000077/01 born=2026-01-05 family=EXAMPLE given=X sex=2 > mrn=A", "identity-conflict"),
        ];
        for (words, expected) in cases {
            check(&shelf, words, expected);
        }
    }

    #[test]
    fn a_link_attaches_what_nobody_has_and_leaves_everything_else_to_a_person() {
        let shelf = on_record(&["mrn=A born=2026-01-05", "mrn=B nhs=9990000026/01 born=2026-01-05", "mrn=C mrn=D born=2026-01-05"]);
        let cases = [
            ("link mrn=A > mrn=Z", "child 1"),
            ("link mrn=Z > mrn=A", "child 1"),
            ("link mrn=C > mrn=D", "child 3"),
            ("link mrn=Z born=2026-01-06 > mrn=A", "identity-mismatch"),
            ("link mrn=A > mrn=B", "identity-link"),
            ("link mrn=A > nhs=9990000077", "identity-link"),
            ("link mrn=Z nhs=9990000077/01 > mrn=A", "identity-link"),
            ("link mrn=B > nhs=9990000026", "child 2"),
            ("link mrn=Y > mrn=Z", "unmatched"),
            ("unlink mrn=A > mrn=Z", "identity-link"),
            ("unlink mrn=Z > mrn=A", "identity-link"),
            ("unlink mrn=A > mrn=B", "identity-link"),
            ("unlink mrn=C > mrn=D", "detach from 3"),
            ("unlink mrn=D > mrn=C", "detach from 3"),
            ("unlink mrn=B > nhs=9990000026", "identity-link"),
            ("unlink mrn=C > mrn=C", "no-identifier"),
            ("unlink mrn=Y > mrn=Z", "unmatched"),
            ("withdraw mrn=A", "identity-link"),
            ("withdraw mrn=Z", "unmatched"),
        ];
        for (words, expected) in cases {
            check(&shelf, words, expected);
        }
    }

    #[test]
    fn what_is_given_up_is_superseded_what_is_linked_is_in_force_and_what_pid_names_too_stays() {
        let uses = |words: &str| {
            let ids = identifiers_of(&change(words));
            ids.iter().map(|id| format!("{} {:?}", id.value, id.usage).to_lowercase()).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(uses("merge mrn=B nhs=9990000026/01 > mrn=A nhs=9990000026"), "b current, 9990000026 current, a superseded");
        assert_eq!(uses("link mrn=B > mrn=A"), "b current, a current");
    }

    #[test]
    fn a_mothers_identifier_is_not_merged_into_her_baby() {
        struct Mothers(Shelf);
        impl ChildIndex for Mothers {
            fn by_nhs_number(&self, number: NhsNumber) -> Result<Option<Sketch>, IndexError> {
                self.0.by_nhs_number(number)
            }
            fn by_local_id(&self, system: &str, value: &str) -> Result<Option<Sketch>, IndexError> {
                self.0.by_local_id(system, value)
            }
            fn is_a_relations(&self, _system: &str, value: &str) -> Result<bool, IndexError> {
                Ok(value == "M")
            }
        }
        let index = Mothers(on_record(&["mrn=A born=2026-01-05"]));
        let held = decide_change(&change("merge mrn=A born=2026-01-05 > mrn=M"), &index).unwrap();
        assert!(matches!(held, Change::Held { code: "identity-conflict", .. }), "{held:?}");
    }

    #[test]
    fn the_steps_of_a_change_are_told_and_quote_nothing() {
        let shelf = on_record(&["mrn=A1 born=2026-01-05 family=EXAMPLE given=AMARA", "mrn=B1 born=2026-01-05"]);
        let Change::Unite { evidence, .. } = decide_change(&change("merge mrn=A1 > mrn=B1"), &shelf).unwrap() else { panic!("held") };
        assert!(evidence.iter().any(|step| step.step == STEP && step.text.contains("date of birth agrees")), "{evidence:?}");
        assert!(evidence.iter().all(|step| !step.text.contains("B1") && !step.text.contains("EXAMPLE")), "{evidence:?}");
    }
}

//! A parents' record: what may be shown to a parent's account, and everything that stands before it.
//!
//! # The way of an event
//!
//!     refusals, in order ──▶ the allow-list picks facts into `Shown` ──▶ Bundle made of `Shown` alone
//!
//! # Invariants
//!
//! - The Bundle is made of [`Shown`], which has no field for what must not be seen. No text of a message gets into it
//!   but the child's own name; all else is a date, a number, or a code of our own tables.
//! - A doubt withholds. What stays away can be looked at by a hub; what was shown cannot be taken back.
//! - Whatever is withheld has a rule with a stable word ([`RULES`]), and the word says nothing of the child.
//!
//! - Which facts are shown is data (`list`, `parents-record.toml`) that can only take away from what the code permits.
//!
//! # What an account has, and what it is sent
//!
//!     an event        what it says, and what the account was not sent yet of what stands: a new account has the record so far, and so
//!                     comes what a hub released by `hub informed`
//!     a deletion      `entered-in-error` for what this account was sent and what stands no more; nothing else
//!     a correction    to something that is held back: nothing, until a hub has noted that the parents were told
//!
//! - Of two results of one thing (two hearing screens) an account sees the later, by the time at which it was so and not by arrival; while
//!   the later waits for a person, the earlier is not said again.
//!
//! # Not here
//!
//! What an account was sent before: the ledger keeps it and gives it along ([`Known::told`]).

mod facts;
mod list;

use std::collections::{BTreeMap, BTreeSet};

use fhir_r4::{Consent, Identifier, IdentifierUse, Name, NotBuilt, Observation, Patient, When, url};
use jiff::{Timestamp, ToSpan, civil};
use serde_json::Value;
use uuid::Uuid;

use self::facts::{Fact, Judge, Order, Says};
use super::Withheld;
use super::render::{self, Entries};
use crate::canon::{self, ChildStatus, EventKind, ProxyConsent};
use crate::outbox::FiledEvent;

pub use facts::takes_back;
pub(super) use facts::{gestation, is_told_by_a_person, keeps_others_back};
#[cfg(test)]
pub(super) use list::leaves_of;
pub use list::{CLASSES, ELEMENTS, PARENTS_FILE, ParentRules, ParentsError, Showing};

/// Every rule that withholds from a parents' record, with what it says (destination rules, section 3; identity rules,
/// sections 4, 7, 8, 9). The words are stable: they stand in traces and in `messages_withheld_total{rule}`.
pub const RULES: [(&str, &str); 30] = [
    ("superseded", "something later was known when it was filed"),
    ("sealed", "the record is sealed: nothing goes out"),
    ("adoption-barrier", "nothing may link to an earlier record"),
    ("merged", "another record goes on in its place"),
    ("stillborn", "born dead"),
    ("deceased", "a death was notified, in the record or in the event"),
    ("invalidated", "the national record says that the number is invalid"),
    ("moved-out", "lives outside the area of all hubs"),
    ("not-active", "known only provisionally"),
    ("birth-needs-review", "a person must look at the birth first"),
    ("identity-unknown", "a pseudo-person"),
    ("no-proxy-consent", "no account has a verified proxy consent in force"),
    ("aged-out", "the child's own access begins, or may have begun: no date of birth is known"),
    ("restricted", "restricted or hidden, or a sensitivity that is not known here"),
    ("dissent", "sharing was dissented from"),
    ("unverified-number", "no current NHS number of status 01, or more than one"),
    ("delete-not-sent", "takes back something; nothing is known to have been sent to the account"),
    ("not-on-allow-list", "this kind of event is not shown"),
    ("nothing-to-show", "says nothing of what may be shown"),
    ("placeholder-name", "says nothing but a name that stands in for one"),
    ("needs-review", "a person must look at a result of this kind first"),
    ("wrong-patient", "a result of another child"),
    ("not-final", "a result that is not final"),
    ("hold-back", "an outcome that a clinician tells first"),
    ("unknown-condition", "an outcome for a condition that is not in the table"),
    ("not-rendered", "could not be written as FHIR"),
    ("no-code", "a product that no code names"),
    ("nothing-new", "the account has been sent all of it"),
    ("later-result", "a later result of the same is on record"),
    ("element-not-allowed", "an element that may not leave the house"),
];

/// Who an account is, in a Consent.
const ACCOUNT_SYSTEM: &str = "urn:chis-broker:account";

fn withheld(rule: &'static str) -> Withheld {
    Withheld { rule }
}

fn refuse_if(is_so: bool, rule: &'static str) -> Result<(), Withheld> {
    if is_so { Err(withheld(rule)) } else { Ok(()) }
}

/// Precondition 1: an active child. Also looks at what the event itself says, because a death may be notified by a
/// source that is not believed yet, and is still not to be followed by a birth weight.
fn refuse_by_record(event: &FiledEvent) -> Result<(), Withheld> {
    let (record, said) = (&event.record, &event.statement.child);
    let both = [record, said];
    refuse_if(event.superseded, "superseded")?;
    refuse_if(both.iter().any(|child| child.status == Some(ChildStatus::Sealed)), "sealed")?;
    let severed = |child: &&canon::Child| child.relations.iter().any(|r| r.link_status.as_deref() == Some("adoption_severed"));
    refuse_if(both.iter().any(|child| child.flags.adoption_barrier) || both.iter().any(severed), "adoption-barrier")?;
    refuse_if(record.merged_into.is_some() || record.status == Some(ChildStatus::Merged), "merged")?;
    let stillborn = |child: &&canon::Child| {
        child.birth.is_stillbirth() || child.death.as_ref().is_some_and(|d| d.stillbirth) || child.status == Some(ChildStatus::Stillborn)
    };
    refuse_if(both.iter().any(stillborn), "stillborn")?;
    let dead = |child: &&canon::Child| child.status == Some(ChildStatus::Deceased) || child.birth.live_still.as_deref() == Some("5");
    // Hospitals say "not dead" of every child (PID-30 N); where it took a death back, the record says so.
    let everyday =
        |death: &canon::Death| death.status.as_deref() == Some("removed") && death.ground.as_deref() == Some(canon::Death::INDICATOR);
    let notified = record.death.as_ref().is_some_and(|death| death.status.as_deref() != Some("removed"))
        || said.death.as_ref().is_some_and(|death| !everyday(death));
    refuse_if(both.iter().any(dead) || notified, "deceased")?;
    refuse_if(record.status == Some(ChildStatus::Invalidated), "invalidated")?;
    refuse_if(record.status == Some(ChildStatus::MovedOut), "moved-out")?;
    refuse_if(record.status != Some(ChildStatus::Active), "not-active")?;
    refuse_if(both.iter().any(|child| child.flags.birth_needs_review), "birth-needs-review")?;
    refuse_if(both.iter().any(|child| child.flags.identity_unknown == Some(true)), "identity-unknown")
}

/// Precondition 2: the accounts with a consent in force at `now`, in the order of their ids.
fn accounts(consents: &[ProxyConsent], now: Timestamp) -> Result<Vec<String>, Withheld> {
    let in_force = |consent: &&ProxyConsent| {
        // A bound that cannot be read is no bound that was kept: such a consent is not in force.
        let begun = consent.from.as_ref().is_none_or(|from| from.timestamp().is_some_and(|from| from <= now));
        let open = consent.to.as_ref().is_none_or(|to| to.timestamp().is_some_and(|to| now < to));
        // Nobody looked whether whoever has the account may see the child.
        let verified = consent.verified_by.as_ref().is_some_and(|by| !by.trim().is_empty());
        consent.status == "active" && !consent.account_id.is_empty() && verified && begun && open
    };
    let mut accounts: Vec<String> = consents.iter().filter(in_force).map(|consent| consent.account_id.clone()).collect();
    accounts.sort();
    accounts.dedup();
    refuse_if(accounts.is_empty(), "no-proxy-consent")?;
    Ok(accounts)
}

/// Accounts are the child's own from this age on (destination rules, section 3). Of a year or a month the first day counts; a child of whom
/// no date is known may be as old.
fn refuse_by_age(event: &FiledEvent, known: Known<'_>) -> Result<(), Withheld> {
    let born = event.record.birth.date.as_ref().and_then(|date| first_day(&date.value)).ok_or_else(|| withheld("aged-out"))?;
    let Ok(today) = known.now.in_tz("Europe/London").map(|at| at.date()) else { return Ok(()) };
    let grown = born.checked_add(known.rules.age_out_years().years()).is_ok_and(|birthday| birthday <= today);
    refuse_if(grown, "aged-out")
}

/// The first day of `2014`, `2014-05`, `2014-05-20`.
fn first_day(value: &str) -> Option<civil::Date> {
    let rest = match value.len() {
        4 => "-01-01",
        7 => "-01",
        _ => "",
    };
    format!("{value}{rest}").parse().ok()
}

/// Preconditions 3 and 4. A sensitivity this code does not know is taken for a restriction.
fn refuse_by_flags(event: &FiledEvent) -> Result<(), Withheld> {
    for flags in [&event.record.flags, &event.statement.child.flags] {
        let unrestricted = matches!(flags.sensitivity.as_deref(), None | Some("unrestricted"));
        refuse_if(flags.is_restricted() || !unrestricted, "restricted")?;
        refuse_if(flags.share_consent.as_deref() == Some("dissent"), "dissent")?;
    }
    Ok(())
}

/// Precondition 5: one current NHS number, verified.
fn nhs_number(event: &FiledEvent) -> Result<String, Withheld> {
    let current =
        event.record.identifiers.iter().filter(|id| id.system == canon::NHS_NUMBER_SYSTEM && id.usage == canon::IdentifierUse::Current);
    let mut numbers = current.map(|id| (id.nhs_number(), id.status.as_deref()));
    match (numbers.next(), numbers.next()) {
        (Some((Some(number), Some("01"))), None) => Ok(number.to_string()),
        _ => Err(withheld("unverified-number")),
    }
}

/// All that can be shown. There is no field for anything else.
struct Shown {
    nhs_number: String,
    demographics: Demographics,
    facts: Vec<Fact>,
    accounts: Vec<String>,
}

/// Name, date of birth, sex.
struct Demographics {
    name: Option<Name>,
    birth_date: Option<When>,
    sex: Option<canon::Sex>,
}

impl Demographics {
    fn of(record: &canon::Child, judge: Judge<'_>) -> Self {
        let birth_date = render::date(record.birth.date.as_ref()).filter(|_| judge.shows("birth-date"));
        let name = facts::shown_name(&record.names).filter(|_| judge.shows("name"));
        Self { name, birth_date, sex: record.sex.filter(|_| judge.shows("sex")) }
    }
}

/// One resource as an account is sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it says of the child, by a word of ours: `blood-spot/PKU`.
    pub what: String,
    /// Where it stands with the receiver: `Observation/<uuid>`.
    pub resource: String,
    /// The resource without its version; what is alike is not sent twice. Empty where it was taken back.
    pub text: String,
}

/// A delivery to a parents' record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The Bundle.
    pub body: Vec<u8>,
    /// To whom it goes.
    pub accounts: Vec<String>,
    /// What they are sent.
    pub items: Vec<Item>,
}

/// A result that stands on record, for [`Known::so_far`].
#[derive(Clone, Debug)]
pub struct Standing {
    /// The event of its newest version; its lists hold what stands, and nothing else.
    pub event: FiledEvent,
    /// A hub noted that a person told the parents of it.
    pub informed: bool,
    /// Something else on record forbids showing it.
    pub is_forbidden: bool,
}

/// What is known when something is to be told.
#[derive(Clone, Copy)]
pub struct Known<'k> {
    /// What may be shown.
    pub rules: &'k ParentRules,
    /// Accounts that follow the child or did.
    pub consents: &'k [ProxyConsent],
    /// At which moment consents and age are judged.
    pub now: Timestamp,
    /// What stands of the child, oldest first.
    pub so_far: &'k [Standing],
    /// What an account was sent last, by account and [`Item::what`]: [`Item::text`].
    pub told: &'k BTreeMap<(String, String), String>,
}

/// Which time something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// As it was filed.
    First,
    /// Once more: to the accounts that lack something of it, and of what it says only what stands still.
    Missing,
    /// Once more, to all of them; what stands still.
    Whole,
}

/// What an event has told: itself, and beside it what an account was not sent yet of what stands (a new account has the record so far; what
/// a hub released, what was withheld for a reason that is gone). Pure.
pub fn tell(event: &FiledEvent, known: Known<'_>, turn: Turn) -> Result<Told, Withheld> {
    refuse_by_record(event)?;
    let mut accounts = accounts(known.consents, known.now)?;
    refuse_by_age(event, known)?;
    refuse_by_flags(event)?;
    let nhs_number = nhs_number(event)?;
    let own = facts::facts(event, Judge { rules: known.rules, informed: false })?;
    let consented = event.statement.event.kind == EventKind::ProxyConsent;
    if consented && !event.statement.proxy_consents.is_empty() {
        accounts.retain(|account| event.statement.proxy_consents.iter().any(|consent| consent.account_id == *account));
        refuse_if(accounts.is_empty(), "no-proxy-consent")?;
    }
    let judge = Judge { rules: known.rules, informed: false };
    let shown = Shown { nhs_number, demographics: Demographics::of(&event.record, judge), facts: own, accounts };
    shown.tell(event, known, (turn, consented))
}

/// Takes back from one account what it was sent and what stands no more. `items`: what it was sent; those that still stand are left alone.
/// Where an earlier word on the same thing stands still (the first of two screens, when the second was deleted), the account is sent that,
/// and where that may not be shown, the deleted word is taken back all the same.
pub fn take_back(event: &FiledEvent, account: &str, items: &[Item], known: Known<'_>) -> Result<Told, Withheld> {
    refuse_by_record(event)?;
    let accounts = accounts(known.consents, known.now)?;
    refuse_if(!accounts.iter().any(|open| open == account), "no-proxy-consent")?;
    refuse_by_age(event, known)?;
    refuse_by_flags(event)?;
    let nhs_number = nhs_number(event)?;
    let judge = Judge { rules: known.rules, informed: false };
    let shown =
        Shown { nhs_number, demographics: Demographics::of(&event.record, judge), facts: Vec::new(), accounts: vec![account.to_owned()] };
    shown.take_back(event, known, items)
}

/// Of what an account was sent, what stands no more, shown or not.
pub fn gone(items: &[Item], so_far: &[Standing]) -> Vec<Item> {
    let stands: BTreeSet<String> = so_far.iter().flat_map(|standing| facts::said(&standing.event)).map(|(what, _)| what).collect();
    items.iter().filter(|item| item.what != CHILD && !item.text.is_empty() && !stands.contains(&item.what)).cloned().collect()
}

/// Of each thing that stands on record, shown or not, where its newest word stands in time.
fn newest(so_far: &[Standing]) -> BTreeMap<String, Option<Order>> {
    let mut newest = BTreeMap::new();
    for (what, order) in so_far.iter().flat_map(|standing| facts::said(&standing.event)) {
        let known = newest.entry(what).or_insert(order);
        *known = order.max(*known);
    }
    newest
}

fn is_newest(fact: &Fact, newest: &BTreeMap<String, Option<Order>>) -> bool {
    fact.order.is_none() || newest.get(&fact.what).is_none_or(|newest| *newest <= fact.order)
}

/// What may be shown of what stands, each thing as its newest word says it.
fn standing(
    event: &FiledEvent,
    subject: &str,
    known: Known<'_>,
    newest: &BTreeMap<String, Option<Order>>,
) -> Result<BTreeMap<String, (Item, Resource)>, Withheld> {
    let mut all = BTreeMap::new();
    for standing in known.so_far.iter().filter(|standing| !standing.is_forbidden) {
        let judge = Judge { rules: known.rules, informed: standing.informed };
        for fact in facts::facts(&standing.event, judge).unwrap_or_default().into_iter().filter(|fact| is_newest(fact, newest)) {
            all.insert(fact.what.clone(), written(event, subject, fact)?);
        }
    }
    Ok(all)
}

/// Of several words on one thing in one message the newest.
fn last_of_each(mut own: Vec<Fact>) -> Vec<Fact> {
    own.sort_by_key(|fact| fact.order);
    let mut last: Vec<Fact> = Vec::new();
    for fact in own {
        last.retain(|other| other.what != fact.what);
        last.push(fact);
    }
    last
}

/// The Patient among the items.
const CHILD: &str = "child";

impl From<NotBuilt> for Withheld {
    fn from(_: NotBuilt) -> Self {
        withheld("not-rendered")
    }
}

impl Shown {
    fn tell(mut self, event: &FiledEvent, known: Known<'_>, (turn, consented): (Turn, bool)) -> Result<Told, Withheld> {
        let newest = newest(known.so_far);
        let (own, late): (Vec<Fact>, Vec<Fact>) = std::mem::take(&mut self.facts).into_iter().partition(|fact| is_newest(fact, &newest));
        let own = last_of_each(own);
        let (mut entries, child) = self.begin(event)?;
        let subject = entries.subject.clone();
        let mut items = Vec::new();
        let mut resources: Vec<(Item, Resource)> = Vec::new();
        for fact in own {
            resources.push(written(event, &subject, fact)?);
        }
        let is_new = |account: &String, item: &Item| known.told.get(&(account.clone(), item.what.clone())) != Some(&item.text);
        let later = standing(event, &subject, known, &newest)?;
        if turn != Turn::First && !resources.is_empty() {
            // What was corrected or taken back since is not said again as it was.
            resources.retain(|(item, _)| later.get(&item.what).is_some_and(|(standing, _)| standing.text == item.text));
            refuse_if(resources.is_empty(), "superseded")?;
        }
        resources.extend(
            later
                .into_values()
                .filter(|(item, _)| {
                    let is_own = |own: &(Item, Resource)| own.0.what == item.what;
                    self.accounts.iter().any(|account| is_new(account, item)) && !items_have(&resources, is_own)
                })
                .collect::<Vec<_>>(),
        );
        // Nothing but what is out of date, and nothing else to say.
        refuse_if(!late.is_empty() && resources.is_empty(), "later-result")?;
        if consented || turn == Turn::Missing {
            // A consent tells nothing by itself, nor does what is sent again: whoever has everything already is not written to.
            let news = |account: &String| is_new(account, &child) || resources.iter().any(|(item, _)| is_new(account, item));
            self.accounts.retain(news);
            if self.accounts.is_empty() {
                return Err(withheld("nothing-new"));
            }
        }
        items.push(child);
        for (item, resource) in resources {
            entries.push(resource.kind, resource.id, Ok(resource.tree))?;
            items.push(item);
        }
        self.end(event, known, entries, items)
    }

    fn take_back(self, event: &FiledEvent, known: Known<'_>, sent: &[Item]) -> Result<Told, Withheld> {
        let (mut entries, _) = self.begin(event)?;
        let mut items = Vec::new();
        let mut otherwise = standing(event, &entries.subject, known, &newest(known.so_far))?;
        let mut gone = gone(sent, known.so_far);
        let sent = || sent.iter().filter(|item| !item.text.is_empty());
        // A deletion that came after a later word on the same thing says nothing of what stands.
        let taken_back = if event.superseded { Vec::new() } else { facts::taken_back(event) };
        let is_hidden = |item: &&Item| taken_back.contains(&item.what) && !otherwise.contains_key(&item.what);
        let hidden: Vec<Item> = sent().filter(is_hidden).filter(|item| !gone.contains(item)).cloned().collect();
        gone.extend(hidden);
        otherwise.retain(|what, (item, _)| sent().any(|sent| sent.what == *what && sent.text != item.text));
        refuse_if(gone.is_empty() && otherwise.is_empty(), "delete-not-sent")?;
        for (item, resource) in otherwise.into_values() {
            entries.push(resource.kind, resource.id, Ok(resource.tree))?;
            items.push(item);
        }
        for item in &gone {
            let (Some((kind, id)), Ok(mut tree)) = (item.resource.split_once('/'), serde_json::from_str::<Value>(&item.text)) else {
                continue;
            };
            let Ok(id) = id.parse::<Uuid>() else { continue };
            if let Some(fields) = tree.as_object_mut() {
                fields.retain(|name, _| KEPT_OF_WHAT_IS_GONE.contains(&name.as_str()));
                fields.insert("status".to_owned(), "entered-in-error".into());
                fields.insert("meta".to_owned(), serde_json::json!({ "versionId": event.version.to_string() }));
            }
            entries.push(kind, id, Ok(tree))?;
            items.push(Item { text: String::new(), ..item.clone() });
        }
        self.end(event, known, entries, items)
    }

    fn begin(&self, event: &FiledEvent) -> Result<(Entries, Item), NotBuilt> {
        let patient = fhir_r4::patient(&Patient {
            meta: fhir_r4::Meta { version: Some(event.version), ..fhir_r4::Meta::default() },
            identifiers: vec![Identifier {
                system: url::NHS_NUMBER.to_owned(),
                value: self.nhs_number.clone(),
                usage: Some(IdentifierUse::Official),
                verification: Some("01".to_owned()),
                ..Identifier::default()
            }],
            names: self.demographics.name.iter().cloned().collect(),
            gender: self.demographics.sex.map(render::gender),
            birth_date: self.demographics.birth_date,
            ..Patient::default()
        })?;
        let put = format!("Patient?identifier={}|{}", url::NHS_NUMBER, self.nhs_number);
        let id = id_of(event, "patient");
        let child = Item { what: CHILD.to_owned(), resource: format!("Patient/{id}"), text: without_version(&patient) };
        Ok((Entries::of(id, patient, put), child))
    }

    fn end(self, event: &FiledEvent, known: Known<'_>, mut entries: Entries, items: Vec<Item>) -> Result<Told, Withheld> {
        for account in &self.accounts {
            let id = id_of(event, &format!("consent/{account}"));
            let who = Identifier { system: ACCOUNT_SYSTEM.to_owned(), value: account.clone(), ..Identifier::default() };
            let consent = Consent { id: Some(id.to_string()), subject: entries.subject.clone(), accounts: vec![who] };
            entries.push("Consent", id, fhir_r4::consent(&consent))?;
        }
        let body = entries.bundle(event, "parent-record");
        // The second barrier: whatever the code above writes, nothing but these elements leaves the house.
        let written: Value = serde_json::from_slice(&body).unwrap_or_default();
        if known.rules.strange_element(&written).is_some() {
            return Err(withheld("element-not-allowed"));
        }
        Ok(Told { body, accounts: self.accounts, items })
    }
}

/// Of what is taken back, what R4 asks for and nothing that it said.
const KEPT_OF_WHAT_IS_GONE: [&str; 10] =
    ["resourceType", "id", "code", "vaccineCode", "subject", "patient", "participant", "occurrenceDateTime", "occurrenceString", "meta"];

/// A resource before it stands in a Bundle.
struct Resource {
    kind: &'static str,
    id: Uuid,
    tree: Value,
}

fn items_have(resources: &[(Item, Resource)], is_it: impl Fn(&(Item, Resource)) -> bool) -> bool {
    resources.iter().any(is_it)
}

fn id_of(event: &FiledEvent, what: &str) -> Uuid {
    render::id(event.child_id, &format!("parent-record/{what}"))
}

fn written(event: &FiledEvent, subject: &str, fact: Fact) -> Result<(Item, Resource), NotBuilt> {
    let id = id_of(event, &fact.what);
    let (own, meta) = (Some(id.to_string()), fhir_r4::Meta { version: Some(event.version), ..fhir_r4::Meta::default() });
    let subject = subject.to_owned();
    let (kind, tree) = match fact.says {
        Says::Measured { code, value, on, status } => {
            let observation =
                Observation { id: own, meta, status, code, subject, effective: on, value: Some(value), ..Observation::default() };
            ("Observation", fhir_r4::observation(&observation)?)
        }
        Says::Immunisation(given) => ("Immunization", fhir_r4::immunization(&fhir_r4::Immunization { id: own, meta, subject, ..*given })?),
        Says::Appointment(booked) => ("Appointment", fhir_r4::appointment(&fhir_r4::Appointment { id: own, meta, subject, ..*booked })?),
    };
    let item = Item { what: fact.what, resource: format!("{kind}/{id}"), text: without_version(&tree) };
    Ok((item, Resource { kind, id, tree }))
}

fn without_version(tree: &Value) -> String {
    let mut tree = tree.clone();
    if let Some(fields) = tree.as_object_mut() {
        fields.remove("meta");
    }
    tree.to_string()
}

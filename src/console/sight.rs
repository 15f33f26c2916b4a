//! Who may see what: the rights that somebody asks with, and the gate that every view asks before it shows a row.
//!
//! # What always holds
//!
//! - No right without a reason, and each right that was named is in the audit under a name of its own before anything is read.
//! - One right gives what it names and nothing else: a child protection message of a sealed record takes both.
//! - A message that came again says no more than the first one.
//!
//! # Not here
//!
//! Values that only a reason shows: `mask.rs`.

use serde_json::{Value, json};

use super::mask;
use super::reading::Rereader;
use super::views::{Charset, ViewError};
use crate::canon::Flags;
use crate::names::{ChildId, Seq};
use crate::store::LedgerReader;

/// What may be seen beside what every reason shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// What a sealed record says.
    pub sealed: bool,
    /// Child protection facts, and messages that came for them.
    pub safeguarding: bool,
    /// Where a restricted child can be found.
    pub location: bool,
}

/// How a right is asked for and written down.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// `yes` in this header of the admin door; only beside a reason.
    pub header: &'static str,
    /// The act in the audit.
    pub act: &'static str,
    /// After what was looked at, in the audit of a folder.
    pub words: &'static str,
    of: fn(&mut Rights) -> &mut bool,
}

/// The right to where a restricted child is.
pub const LOCATION: Right =
    Right { header: "x-reveal-location", act: "reveal-location", words: ", with where a restricted child is", of: |all| &mut all.location };

/// Every right.
pub const RIGHTS: [Right; 3] = [
    Right {
        header: "x-reveal-safeguarding",
        act: "reveal-safeguarding",
        words: ", child protection facts too",
        of: |all| &mut all.safeguarding,
    },
    Right { header: "x-reveal-sealed", act: "reveal-sealed", words: ", though sealed", of: |all| &mut all.sealed },
    LOCATION,
];

impl Rights {
    /// Those that are asked for.
    pub fn of(is_asked: impl Fn(&Right) -> bool) -> Self {
        let mut rights = Self::default();
        for right in &RIGHTS {
            *(right.of)(&mut rights) = is_asked(right);
        }
        rights
    }

    /// Those that are given.
    pub fn named(mut self) -> Vec<Right> {
        RIGHTS.into_iter().filter(|right| *(right.of)(&mut self)).collect()
    }
}

/// Whether values out of messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Hidden.
    Masked,
    /// Shown; the reason is in the audit already, once for each right.
    Revealed(Rights),
}

impl Sight {
    /// True where no reason was given.
    pub fn is_masked(self) -> bool {
        self == Self::Masked
    }

    /// What may be seen.
    pub fn rights(self) -> Rights {
        match self {
            Self::Masked => Rights::default(),
            Self::Revealed(rights) => rights,
        }
    }

    /// What must be in the audit before anything is shown: the act, and the words behind what is looked at.
    pub fn audited(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Masked => Vec::new(),
            Self::Revealed(rights) if rights == Rights::default() => vec![("reveal", "")],
            Self::Revealed(rights) => rights.named().into_iter().map(|right| (right.act, right.words)).collect(),
        }
    }
}

/// Fields of a child that say where it can be found (identity rules, section 9).
const HOME: &[&str] = &["addresses", "telecoms", "relations", "gp", "gp_history"];
/// The same of its birth.
const BIRTH: &[&str] = &["place_ods", "place_type", "place_text", "registering_authority", "responsible_cho", "partner_cho"];
/// What is said beside the child and says where it will be, or who visits it.
const BESIDE: &[&str] = &["appointment", "episode", "document"];
/// Keys under which a message is named by its number.
const NUMBERS: &[&str] = &["seq", "msg", "by", "satisfied_by"];

/// Decides of each row whether this sight may see it.
pub(super) struct Gate<'r> {
    reader: &'r LedgerReader,
    rereader: Rereader<'r>,
    rights: Rights,
}

impl<'r> Gate<'r> {
    pub(super) fn new(reader: &'r LedgerReader, charset: Charset<'r>, sight: Sight) -> Self {
        Self { reader, rereader: Rereader::new(reader, charset), rights: sight.rights() }
    }

    /// True where nothing is said of a message but that it came.
    pub(super) fn is_apart(&mut self, seq: i64) -> Result<bool, ViewError> {
        Ok(!self.rights.safeguarding && self.rereader.is_apart(seq)?)
    }

    /// True where the text of a message as a whole would say child protection facts.
    pub(super) fn has_facts(&mut self, seq: Seq) -> Result<bool, ViewError> {
        Ok(!self.rights.safeguarding && self.rereader.is_restricted(seq)?)
    }

    /// True for a child of which nothing is said but that its record is sealed.
    pub(super) fn is_sealed(&self, child: ChildId) -> Result<bool, ViewError> {
        Ok(!self.rights.sealed && self.reader.is_sealed(child)?)
    }

    /// True for a message of a sealed or closed record.
    pub(super) fn is_closed(&self, seq: Seq) -> Result<bool, ViewError> {
        Ok(!self.rights.sealed && self.reader.is_of_a_sealed(Seq(self.reader.repeats(seq.0)?))?)
    }

    /// What a message of a sealed record says is for whoever asks for sealed records.
    pub(super) fn is_open(&self, seq: Seq) -> Result<(), ViewError> {
        if self.is_closed(seq)? {
            let text = format!("message {seq} is of a sealed or closed record: --sealed with --reveal REASON shows it");
            return Err(ViewError::Forbidden(text));
        }
        Ok(())
    }

    /// True for a child of whom it is not shown where it is.
    pub(super) fn hides_place_of(&self, child: ChildId) -> Result<bool, ViewError> {
        if self.rights.location {
            return Ok(false);
        }
        Ok(self.reader.child(child)?.is_some_and(|view| is_restricted(&view.record)))
    }

    /// True for a record of which it is not shown where its child is.
    pub(super) fn hides_place_in(&self, record: &Value) -> bool {
        !self.rights.location && is_restricted(record)
    }

    /// True for a message about a child of whom it is not shown where it is: by its record, or by the message itself.
    pub(super) fn hides_place(&mut self, seq: Seq) -> Result<bool, ViewError> {
        if self.rights.location {
            return Ok(false);
        }
        let seq = Seq(self.reader.repeats(seq.0)?);
        for event in self.reader.trace(seq)?.map(|trace| trace.events).unwrap_or_default() {
            if let Ok(child) = event.child.parse()
                && self.hides_place_of(ChildId(child))?
            {
                return Ok(true);
            }
        }
        self.rereader.says_restricted(seq)
    }

    /// The text of a message or document as a whole, which would say where a restricted child is.
    pub(super) fn says_no_place(&mut self, seq: Seq) -> Result<(), ViewError> {
        if self.hides_place(seq)? {
            let text = format!(
                "message {seq} is about a restricted child: --location with --reveal REASON shows it, where it says the child lives too"
            );
            return Err(ViewError::Forbidden(text));
        }
        Ok(())
    }

    /// Takes away the number of each message of which nothing is said but that it came.
    pub(super) fn forget(&mut self, value: &mut Value) -> Result<(), ViewError> {
        match value {
            Value::Object(fields) => {
                for (key, field) in fields.iter_mut() {
                    match field.as_i64().filter(|seq| 0 < *seq && NUMBERS.contains(&key.as_str())) {
                        Some(seq) if self.is_apart(seq)? => *field = Value::Null,
                        Some(_) => {}
                        None => self.forget(field)?,
                    }
                }
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.forget(item))?,
            _ => {}
        }
        Ok(())
    }
}

/// All that is said of a sealed record (identity rules, section 8).
pub(super) fn sealed(child: ChildId) -> Value {
    json!({ "child": child.to_string(), "sealed": true })
}

/// True for a record whose flags hide where its child is.
pub(crate) fn is_restricted(record: &Value) -> bool {
    let flags = record.get("flags").cloned().unwrap_or_default();
    flags.is_object() && serde_json::from_value::<Flags>(flags).is_ok_and(|flags| flags.is_restricted())
}

/// True for a canonical field, or a group of fields of a record, that says where a child is.
pub(super) fn is_place(field: &str) -> bool {
    let field = field.strip_prefix("child.").unwrap_or(field);
    let is_in = |list: &[&str], field: &str| list.contains(&field.split(['.', '[']).next().unwrap_or_default());
    is_in(HOME, field)
        || field.strip_prefix("birth.").is_some_and(|rest| is_in(BIRTH, rest))
        || BESIDE.iter().any(|kind| field.strip_prefix(kind).is_some_and(|rest| rest.starts_with("s[")))
}

/// Hides where a child is, in its record and in what stands beside it.
pub(crate) fn hide_place(view: &mut Value) {
    if let Some(record) = view.get_mut("record") {
        for key in HOME {
            if let Some(field) = record.get_mut(key) {
                mask::mask(field, &[]);
            }
        }
        if let Some(birth) = record.get_mut("birth") {
            mask::hide(birth, BIRTH);
        }
    }
    // As the ledger tells it, and as a hub's store does.
    let beside = if view.get("stands").is_some() { "stands" } else { "aggregates" };
    for aggregate in view.get_mut(beside).and_then(Value::as_array_mut).into_iter().flatten() {
        if aggregate.get("kind").and_then(Value::as_str).is_some_and(|kind| BESIDE.contains(&kind)) {
            let seqs = aggregate.get("seqs").cloned();
            mask::mask(aggregate, &["kind", "publisher", "deleted"]);
            if let (Some(seqs), Some(fields)) = (seqs, aggregate.as_object_mut()) {
                fields.insert("seqs".to_owned(), seqs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_right_that_is_named_is_audited_under_its_own_name_and_none_is_given_without_a_reason() {
        let both = Rights { sealed: true, safeguarding: true, location: false };
        let acts = |sight: Sight| sight.audited().into_iter().map(|(act, _)| act).collect::<Vec<_>>();
        assert_eq!(acts(Sight::Revealed(both)), ["reveal-safeguarding", "reveal-sealed"]);
        assert_eq!(acts(Sight::Revealed(Rights::of(|right| right.header == "x-reveal-location"))), ["reveal-location"]);
        assert_eq!((acts(Sight::Revealed(Rights::default())), acts(Sight::Masked)), (vec!["reveal"], vec![]));
        assert_eq!(Sight::Masked.rights(), Rights::default());
    }

    #[test]
    fn where_a_child_is_stands_in_its_address_practice_people_place_of_birth_and_appointments() {
        for field in [
            "child.addresses[0].postcode",
            "addresses.home",
            "gp.practice_ods",
            "child.gp_history[1].from",
            "child.relations[0].name",
            "telecoms.phone.home",
            "child.birth.place_ods",
            "birth.responsible_cho",
            "appointments[0].site_ods",
            "episodes[2].provider",
        ] {
            assert!(is_place(field), "{field}");
        }
        for field in
            ["child.names[0].family", "birth.weight_g", "birth.date", "identifiers.urn:v2:RJ1|B1", "appointment", "event.kind", "gpx"]
        {
            assert!(!is_place(field), "{field}");
        }
    }

    #[test]
    fn what_is_hidden_of_a_restricted_child_is_where_it_is_and_nothing_else() {
        let mut view = json!({
            "record": { "names": [{ "family": "EXAMPLE" }], "addresses": [{ "postcode": "SE1 9ZZ" }], "gp": { "practice_ods": "G85001" },
                "birth": { "weight_g": 3420, "place_ods": "RJ122" } },
            "aggregates": [{ "kind": "appointment", "seqs": [4], "item": { "site": "RJ122" } }, { "kind": "hearing", "item": { "place": "x" } }]
        });
        hide_place(&mut view);
        for said in ["SE1 9ZZ", "G85001", "RJ122"] {
            assert!(!view.to_string().contains(said), "{said}: {view}");
        }
        assert_eq!((&view["record"]["names"][0]["family"], &view["record"]["birth"]["weight_g"]), (&json!("EXAMPLE"), &json!(3420)));
        assert_eq!((&view["aggregates"][0]["seqs"], &view["aggregates"][1]["item"]["place"]), (&json!([4]), &json!("x")));
    }
}

//! Reads entries again as they were read when they were filed: by the files of the bundle that spoke then, which the ledger keeps.
//!
//! # What always holds
//!
//! - Where a message has child protection facts, or may have them and could not be read to the end, it is *restricted*: what
//!   it says of them is shown to nobody without a right of its own.
//!
//! # Not here
//!
//! What is shown of it: `views.rs`, `why.rs`.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use jiff::Timestamp;

use super::views::ViewError;
use crate::canon::EventKind;
use crate::mapping::{Bundle, Input, Outcome, Provenance, Reading};
use crate::names::{Format, Seq};
use crate::store::LedgerReader;

/// Field names of child protection facts begin with this.
const SAFEGUARDING: &str = "safeguarding[";

/// Reads entries again; bundles are compiled once.
pub(super) struct Rereader<'r> {
    reader: &'r LedgerReader,
    /// The character set of a source whose messages do not name theirs.
    charset: &'r dyn Fn(&str) -> Option<String>,
    bundles: HashMap<String, Option<Rc<Bundle>>>,
    /// The bundle that was activated last, once it was needed.
    last: Option<Option<Rc<Bundle>>>,
}

/// An entry, read again.
pub(super) struct Reread {
    /// The bundle that spoke.
    pub(super) bundle: String,
    /// What it says.
    pub(super) reading: Reading,
    /// Says child protection facts, or might.
    pub(super) is_restricted: bool,
    /// Came for nothing else, or might have.
    pub(super) is_apart: bool,
}

/// Words of the finding on a number of the test range that was not taken.
const TEST_NUMBER: &str = "is a test number (999)";

impl<'r> Rereader<'r> {
    pub(super) fn new(reader: &'r LedgerReader, charset: &'r dyn Fn(&str) -> Option<String>) -> Self {
        Self { reader, charset, bundles: HashMap::new(), last: None }
    }

    /// Reads an entry by the bundle under which it stands.
    pub(super) fn reread(&mut self, seq: Seq) -> Result<Reread, ViewError> {
        let missing = || ViewError::Missing(format!("the ledger has no message {seq}; `chis-broker msg list` shows the newest"));
        let (row, body) = self.reader.entry(seq)?.ok_or_else(missing)?;
        let hash = self.reader.bundle_of(seq)?.ok_or_else(|| {
            ViewError::Missing(format!("message {seq} was not mapped (it is {}), so nothing can be explained", row.standing))
        })?;
        let bundle = self.bundle(&hash)?.ok_or_else(|| {
            ViewError::Store(
                format!("this program cannot compile bundle {hash}, which an older one used, or the ledger does not have it"),
                65,
            )
        })?;
        let format =
            Format::from_word(&row.format).ok_or_else(|| ViewError::Store(format!("the format of message {seq} is not known"), 65))?;
        let charset = (self.charset)(&row.source);
        // As it was read: a broker that takes no test numbers said so of each.
        let findings = self.reader.trace(seq)?.map(|trace| trace.findings.to_string()).unwrap_or_default();
        let took_test_numbers = !findings.contains(TEST_NUMBER);
        let body = (format, body.as_slice(), row.arrived.parse().ok());
        Ok(read((&bundle, hash), &row.source, body, (charset.as_deref(), took_test_numbers)))
    }

    /// True where listings say nothing of the entry but that it came.
    pub(super) fn is_apart(&mut self, seq: i64) -> Result<bool, ViewError> {
        let seq = self.reader.repeats(seq)?;
        match self.reader.is_apart(seq)? {
            Some(is_apart) => Ok(is_apart),
            None => Ok(self.reread_now(Seq(seq))?.is_none_or(|reread| reread.is_apart)),
        }
    }

    /// True where the entry says child protection facts, or might.
    pub(super) fn is_restricted(&mut self, seq: Seq) -> Result<bool, ViewError> {
        Ok(self.reread_now(seq)?.is_none_or(|reread| reread.is_restricted))
    }

    /// True where the entry itself says that its child is restricted.
    pub(super) fn says_restricted(&mut self, seq: Seq) -> Result<bool, ViewError> {
        let says = |reread: Reread| reread.reading.statements.iter().any(|said| said.child.flags.is_restricted());
        Ok(self.reread_now(seq)?.is_some_and(says))
    }

    /// An entry read by its own bundle, or by the newest where it was never mapped; none where nobody can know what it says.
    fn reread_now(&mut self, seq: Seq) -> Result<Option<Reread>, ViewError> {
        let Some((row, body)) = self.reader.entry(seq)? else { return Ok(None) };
        let Some(format) = Format::from_word(&row.format) else { return Ok(None) };
        let own = match self.reader.bundle_of(seq)? {
            Some(hash) => self.bundle(&hash)?,
            None => None,
        };
        let bundle = match own {
            Some(bundle) => bundle,
            None => match self.last_bundle()? {
                Some(bundle) => bundle,
                None => return Ok(None),
            },
        };
        let charset = (self.charset)(&row.source);
        // A message that makes the reading panic is held by itself, and must not take a listing with it.
        let reread = catch_unwind(AssertUnwindSafe(|| {
            read((&bundle, String::new()), &row.source, (format, &body, row.arrived.parse().ok()), (charset.as_deref(), true))
        }));
        Ok(reread.ok())
    }

    fn last_bundle(&mut self) -> Result<Option<Rc<Bundle>>, ViewError> {
        if let Some(known) = &self.last {
            return Ok(known.clone());
        }
        let bundle = self.reader.last_bundle()?.and_then(|files| Bundle::compile(&files, "").ok()).map(Rc::new);
        self.last = Some(bundle.clone());
        Ok(bundle)
    }

    fn bundle(&mut self, hash: &str) -> Result<Option<Rc<Bundle>>, ViewError> {
        if let Some(known) = self.bundles.get(hash) {
            return Ok(known.clone());
        }
        let files = self.reader.bundle_files(hash)?;
        let bundle = files.and_then(|files| Bundle::compile(&files, "").ok()).map(Rc::new);
        self.bundles.insert(hash.to_owned(), bundle.clone());
        Ok(bundle)
    }
}

type Body<'b> = (Format, &'b [u8], Option<Timestamp>);

fn read(
    (bundle, hash): (&Bundle, String),
    source: &str,
    (format, body, received): Body<'_>,
    (charset, allow_test_numbers): (Option<&str>, bool),
) -> Reread {
    let input = Input { format, body, default_charset: charset, allow_test_numbers, received };
    let reading = bundle.read_from(Some(source), &input, true);
    let says = reading.statements.iter().any(|said| !said.safeguarding.is_empty() || said.event.kind == EventKind::Safeguarding);
    let might = reading.outcome != Outcome::Mapped && reading.mapping.as_ref().is_some_and(|mapping| bundle.tells_of_safeguarding(mapping));
    let is_apart = crate::broker::filer::is_apart(bundle, &reading);
    Reread { bundle: hash, is_apart, is_restricted: says || might || reading.provenance.iter().any(is_safeguarding), reading }
}

/// True for a value of a child protection fact.
pub(super) fn is_safeguarding(one: &Provenance) -> bool {
    one.field.starts_with(SAFEGUARDING)
}

//! What a viewer may be told of an event as the child is now: asked before each attempt.

use std::path::Path;

use crate::canon::Child;
use crate::destinations::{Unsaid, Viewer};
use crate::names::ChildId;
use crate::outbox::{FiledEvent, Settlement};
use crate::store::{LedgerReader, StoreError};

/// The messages of an event of a child, or how the debt ends without them.
pub(super) fn as_of_now(viewer: &Viewer, data: &Path, child: i64, event: FiledEvent) -> Result<Vec<u8>, Settlement> {
    let unread = |why: String| Settlement::Retry { after_ms: 1_000, why };
    let failed = |error: StoreError| unread(error.text);
    let reader = LedgerReader::open(data).map_err(failed)?;
    let now = reader.child_now(child).map_err(failed)?;
    let (now, _) = now.ok_or_else(|| unread("the child's record cannot be read".into()))?;
    let survivor = match now.merged_into {
        Some(survivor) => Some(goes_on(&reader, survivor).map_err(failed)?.ok_or_else(|| unread("the child's record cannot be read".into()))?),
        None => None,
    };
    // What waited since before a merge is said of the record that it was filed for; the merge comes after it in the same lane.
    let record = if event.record.merged_into.is_none() && now.merged_into.is_some() {
        Child { flags: now.flags, ..event.record.clone() }
    } else {
        now
    };
    let content = |sha256: &str| reader.content(sha256).ok().flatten();
    viewer.body(&FiledEvent { record, ..event }, survivor.as_ref(), &content).map_err(|unsaid| match unsaid {
        Unsaid::Withheld(rule) => Settlement::Withdrawn { rule },
        Unsaid::Unsayable(why) => Settlement::Held { why },
    })
}

/// The record that goes on.
fn goes_on(reader: &LedgerReader, survivor: ChildId) -> Result<Option<Child>, StoreError> {
    let view = reader.child(survivor)?;
    Ok(view.and_then(|view| serde_json::from_value(view.record).ok()))
}

//! What a viewer and a vaccination file may be told of an event as the child is now: asked before each attempt. And the clock of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::receivers::Post;
use crate::canon::{Child, ChildStatus};
use crate::clock;
use crate::destinations::{CareplusDestination, Unsaid, VaccinationFile, Viewer};
use crate::names::ChildId;
use crate::outbox::{FiledEvent, Settlement};
use crate::store::{LedgerReader, StoreError};

/// What becomes of a debt where something of ours cannot be read: a record that is damaged is for a person, everything else passes.
pub(super) fn unread(error: StoreError) -> Settlement {
    match error.exit {
        65 => Settlement::Held { why: error.text },
        _ => Settlement::Retry { after_ms: 1_000, why: error.text },
    }
}

fn no_record() -> Settlement {
    Settlement::Held { why: "the child's record cannot be read".into() }
}

/// The messages of an event, or how the debt ends without them.
pub(super) fn as_of_now(viewer: &Viewer, data: &Path, child: i64, event: FiledEvent) -> Result<Vec<u8>, Settlement> {
    let reader = LedgerReader::open(data).map_err(unread)?;
    let now = reader.child_now(child).map_err(unread)?;
    let (now, _) = now.ok_or_else(no_record)?;
    let survivor = match now.merged_into {
        Some(survivor) => Some(goes_on(&reader, survivor).map_err(unread)?.ok_or_else(no_record)?),
        None => None,
    };
    // The event is said as it was filed, so that each attempt says the same under the same control id; what hides a child counts as it is now.
    let status = if now.status == Some(ChildStatus::Sealed) { now.status } else { event.record.status };
    let record = Child { flags: now.flags, status, ..event.record.clone() };
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

/// The rows of an event, with the child's name and address as they are now; or how the debt ends without them.
pub(super) fn rows_as_of_now(file: &VaccinationFile, data: &Path, child: i64, event: FiledEvent) -> Result<Vec<u8>, Settlement> {
    let now = LedgerReader::open(data).and_then(|reader| reader.child_now(child)).map_err(unread)?;
    let (now, _) = now.ok_or_else(no_record)?;
    if now.status == Some(ChildStatus::Sealed) {
        return Err(Settlement::Withdrawn { rule: "sealed" });
    }
    let record = if now.merged_into.is_some() { Child { flags: now.flags, ..event.record.clone() } } else { now };
    file.body(&FiledEvent { record, ..event }).map_err(|why| Settlement::Held { why })
}

/// Hands over what has come, as often as the destination says, until `ends`. What came since stays in the spool.
pub(super) async fn hand_over_by_the_clock((post, data): (Arc<Post>, PathBuf), files: CareplusDestination, ends: CancellationToken) {
    let name = &post.name;
    let mut due = tokio::time::interval(files.every);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is at once: what a process before left waits no longer.
    loop {
        tokio::select! {
            _ = due.tick() => {}
            () = ends.cancelled() => return,
        }
        if post.window(clock::now()).is_some() {
            continue;
        }
        let (files, data, paid) = (files.clone(), data.clone(), name.clone());
        // While a person has stopped it, or nobody can say, the rows stay in the spool.
        let hand_over = move || match LedgerReader::open(&data).and_then(|reader| reader.is_paused(paid.as_str())) {
            Ok(false) => files.hand_over(),
            Ok(true) | Err(_) => Ok(0),
        };
        let handed = tokio::task::spawn_blocking(hand_over).await;
        match handed {
            Ok(Ok(0)) => {}
            Ok(Ok(vaccinations)) => tracing::info!(destination = %name, vaccinations, "delivery.file: a vaccination file was handed over"),
            Ok(Err(error)) => {
                tracing::warn!(destination = %name, kind = %error.kind(), "delivery.file: no file could be handed over; it is tried again")
            }
            Err(_) => metrics::counter!("chis_panics_total").increment(1),
        }
    }
}

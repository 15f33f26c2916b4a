//! What a viewer and a vaccination file may be told of an event as the child is now: asked before each attempt. And the clock of files.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::canon::{Child, ChildStatus};
use crate::destinations::{CareplusDestination, Unsaid, VaccinationFile, Viewer};
use crate::names::{ChildId, DestinationName};
use crate::outbox::{FiledEvent, Settlement};
use crate::store::{LedgerReader, StoreError};

/// The messages of an event, or how the debt ends without them.
pub(super) fn as_of_now(viewer: &Viewer, data: &Path, child: i64, event: FiledEvent) -> Result<Vec<u8>, Settlement> {
    let unread = |why: String| Settlement::Retry { after_ms: 1_000, why };
    let failed = |error: StoreError| unread(error.text);
    let reader = LedgerReader::open(data).map_err(failed)?;
    let now = reader.child_now(child).map_err(failed)?;
    let (now, _) = now.ok_or_else(|| unread("the child's record cannot be read".into()))?;
    let survivor = match now.merged_into {
        Some(survivor) => {
            Some(goes_on(&reader, survivor).map_err(failed)?.ok_or_else(|| unread("the child's record cannot be read".into()))?)
        }
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
    let unread = |why: String| Settlement::Retry { after_ms: 1_000, why };
    let now = LedgerReader::open(data).and_then(|reader| reader.child_now(child)).map_err(|error| unread(error.text))?;
    let (now, _) = now.ok_or_else(|| unread("the child's record cannot be read".into()))?;
    if now.status == Some(ChildStatus::Sealed) {
        return Err(Settlement::Withdrawn { rule: "sealed" });
    }
    let record = if now.merged_into.is_some() { Child { flags: now.flags, ..event.record.clone() } } else { now };
    file.body(&FiledEvent { record, ..event }).map_err(|why| Settlement::Held { why })
}

/// Hands over what has come, as often as the destination says, until `ends`. What came since stays in the spool.
pub(super) async fn hand_over_by_the_clock(name: DestinationName, files: CareplusDestination, ends: CancellationToken) {
    let mut due = tokio::time::interval(files.every);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is at once: what a process before left waits no longer.
    loop {
        tokio::select! {
            _ = due.tick() => {}
            () = ends.cancelled() => return,
        }
        let files = files.clone();
        let handed = tokio::task::spawn_blocking(move || files.hand_over()).await;
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

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

/// A child's record as it is now, and of one that was merged the record that goes on.
fn child_now(data: &Path, child: i64) -> Result<(LedgerReader, Child, Option<Child>), Settlement> {
    let no_record = || Settlement::Held { why: "the child's record cannot be read".into() };
    let reader = LedgerReader::open(data).map_err(unread)?;
    let (now, _) = reader.child_now(child).map_err(unread)?.ok_or_else(no_record)?;
    let survivor = match now.merged_into {
        Some(survivor) => Some(goes_on(&reader, survivor).map_err(unread)?.ok_or_else(no_record)?),
        None => None,
    };
    Ok((reader, now, survivor))
}

/// So many merges, one after the other, are followed.
const MERGES_MAX: usize = 32;

/// The messages of an event, or how the debt ends without them.
pub(super) fn as_of_now(viewer: &Viewer, data: &Path, child: i64, event: FiledEvent) -> Result<Vec<u8>, Settlement> {
    let (reader, now, survivor) = child_now(data, child)?;
    let record = as_filed(now, &event.record);
    let content = |sha256: &str| reader.content(sha256).map_err(|error| error.text);
    viewer.body(&FiledEvent { record, ..event }, survivor.as_ref(), &content).map_err(|unsaid| match unsaid {
        Unsaid::Withheld(rule) => Settlement::Withdrawn { rule },
        Unsaid::Unsayable(why) => Settlement::Held { why },
        Unsaid::Unread(why) => Settlement::Retry { after_ms: 1_000, why },
    })
}

/// The record as it was when the event was filed, so that each attempt says the same under the same control id; what keeps a child from being
/// shown counts as it is now.
fn as_filed(now: Child, filed: &Child) -> Child {
    let is_stillbirth = now.birth.is_stillbirth() || now.death.as_ref().is_some_and(|death| death.stillbirth);
    let status = match now.status {
        Some(ChildStatus::Sealed | ChildStatus::Stillborn | ChildStatus::Invalidated) => now.status,
        _ if is_stillbirth => Some(ChildStatus::Stillborn),
        _ => filed.status,
    };
    Child { flags: now.flags, status, ..filed.clone() }
}

/// The record that goes on, also where it is the second or third one that does.
fn goes_on(reader: &LedgerReader, mut survivor: ChildId) -> Result<Option<Child>, StoreError> {
    for _ in 0..MERGES_MAX {
        let view = reader.child(survivor)?;
        let Some(child) = view.and_then(|view| serde_json::from_value::<Child>(view.record).ok()) else { return Ok(None) };
        match child.merged_into {
            Some(next) => survivor = next,
            None => return Ok(Some(child)),
        }
    }
    Ok(None)
}

/// The rows of an event, with the child's name and address as they are now; or how the debt ends without them.
pub(super) fn rows_as_of_now(file: &VaccinationFile, data: &Path, child: i64, event: FiledEvent) -> Result<Vec<u8>, Settlement> {
    let (_, now, survivor) = child_now(data, child)?;
    let record = of_rows(now, survivor, &event.record).map_err(|rule| Settlement::Withdrawn { rule })?;
    file.body(&FiledEvent { record, ..event }).map_err(|why| Settlement::Held { why })
}

/// The record that rows are written of: as it is now, and of one that was merged as it was filed, with what hides the one that goes on.
fn of_rows(now: Child, survivor: Option<Child>, filed: &Child) -> Result<Child, &'static str> {
    let is_sealed = |child: &Child| child.status == Some(ChildStatus::Sealed);
    if is_sealed(&now) || survivor.as_ref().is_some_and(is_sealed) {
        return Err("sealed");
    }
    let Some(survivor) = survivor else { return Ok(now) };
    let record = Child { flags: now.flags, ..filed.clone() };
    // A sensitivity that is not known here is taken for a restriction.
    let is_open = matches!(survivor.flags.sensitivity.as_deref(), None | Some("unrestricted")) && !survivor.flags.is_restricted();
    Ok(if is_open { record } else { Child { flags: survivor.flags, addresses: Vec::new(), ..record } })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{Address, BirthFacts, Death, Flags};

    fn filed() -> Child {
        let home = Address { lines: vec!["10 TEST STREET".into()], postcode: Some("SE1 9ZZ".into()), ..Address::default() };
        Child { status: Some(ChildStatus::Active), addresses: vec![home], ..Child::default() }
    }

    #[test]
    fn rows_of_a_child_that_was_merged_hide_the_address_where_the_record_that_goes_on_is_restricted() {
        let merged = || Child { status: Some(ChildStatus::Merged), merged_into: Some(ChildId(uuid::Uuid::from_u128(2))), ..filed() };
        let flags = |sensitivity: &str| Flags { sensitivity: Some(sensitivity.into()), ..Flags::default() };
        for (hidden, sensitivity) in [(true, "restricted"), (true, "a word that is not known"), (false, "unrestricted")] {
            let survivor = Child { flags: flags(sensitivity), ..filed() };
            let record = of_rows(merged(), Some(survivor), &filed()).unwrap();
            assert_eq!(record.addresses.is_empty(), hidden, "{sensitivity}");
            assert_eq!(record.flags.sensitivity.as_deref() == Some(sensitivity), hidden, "{sensitivity}");
        }
        let sealed = Child { status: Some(ChildStatus::Sealed), ..filed() };
        assert_eq!(of_rows(merged(), Some(sealed.clone()), &filed()), Err("sealed"));
        assert_eq!(of_rows(sealed, None, &filed()), Err("sealed"));
        assert_eq!(of_rows(filed(), None, &Child::default()).unwrap().addresses.len(), 1, "as it is now");
    }

    #[test]
    fn a_live_birth_is_not_told_of_a_child_that_is_known_by_now_as_born_dead() {
        let born_dead = Child { birth: BirthFacts { live_still: Some("2".into()), ..BirthFacts::default() }, ..filed() };
        let died = Child { death: Some(Death { stillbirth: true, ..Death::default() }), ..filed() };
        for now in [born_dead, died, Child { status: Some(ChildStatus::Stillborn), ..filed() }] {
            assert_eq!(as_filed(now, &filed()).status, Some(ChildStatus::Stillborn));
        }
        for hides in [ChildStatus::Sealed, ChildStatus::Invalidated] {
            assert_eq!(as_filed(Child { status: Some(hides), ..filed() }, &filed()).status, Some(hides));
        }
        let merged = Child { status: Some(ChildStatus::Merged), ..filed() };
        assert_eq!(as_filed(merged, &filed()).status, Some(ChildStatus::Active), "what does not hide it is as it was filed");
    }
}

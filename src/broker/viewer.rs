//! What a viewer and a vaccination file may be told of an event as the child is now: asked before each attempt, and of a file again when it is
//! made. And the clock of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::receivers::Post;
use crate::canon::{Child, ChildStatus};
use crate::clock;
use crate::destinations::{CareplusDestination, HandedOver, RowsOfNow, Unsaid, VaccinationFile, Viewer};
use crate::names::ChildId;
use crate::outbox::{FiledEvent, Settlement};
use crate::store::{Ledger, LedgerReader, StoreError};

/// What becomes of a debt where something of ours cannot be read: a record that is damaged is for a person, everything else passes.
pub(super) fn unread(error: StoreError) -> Settlement {
    match error.exit {
        65 => Settlement::Held { why: error.text },
        _ => Settlement::Retry { after_ms: 1_000, why: error.text },
    }
}

/// A child's record as it is now, and of one that was merged the record that goes on.
fn child_now(reader: &LedgerReader, child: i64) -> Result<(Child, Option<Child>), Settlement> {
    let no_record = || Settlement::Held { why: "the child's record cannot be read".into() };
    let (now, _) = reader.child_now(child).map_err(unread)?.ok_or_else(no_record)?;
    let survivor = match now.merged_into {
        Some(survivor) => Some(goes_on(reader, survivor).map_err(unread)?.ok_or_else(no_record)?),
        None => None,
    };
    Ok((now, survivor))
}

/// So many merges, one after the other, are followed.
const MERGES_MAX: usize = 32;

/// The messages of an event, or how the debt ends without them. `job`: the one that sends them by force.
pub(super) fn as_of_now(viewer: &Viewer, data: &Path, (child, job): (i64, Option<i64>), event: FiledEvent) -> Result<Vec<u8>, Settlement> {
    let reader = LedgerReader::open(data).map_err(unread)?;
    let (now, survivor) = child_now(&reader, child)?;
    let record = as_filed(now, &event.record);
    let content = |sha256: &str| reader.content(sha256).map_err(|error| error.text);
    viewer.body_again(&FiledEvent { record, ..event }, survivor.as_ref(), &content, job).map_err(|unsaid| match unsaid {
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

/// The rows of an event for this debt, with the child's name and address as they are now; or how the debt ends without them.
pub(super) fn rows_as_of_now(
    file: &VaccinationFile,
    reader: &LedgerReader,
    (debt, child): (i64, i64),
    event: FiledEvent,
) -> Result<Vec<u8>, Settlement> {
    let (now, survivor) = child_now(reader, child)?;
    let record = of_rows(now, survivor, &event.record).map_err(|rule| match rule {
        // The national record takes the word back now and then, and what was withdrawn would be in no file.
        "invalidated" => Settlement::Held {
            why: "the national record says that the number is invalid: release it once that is lifted, or discard it".into(),
        },
        rule => Settlement::Withdrawn { rule },
    })?;
    file.body(debt, &FiledEvent { record, ..event }).map_err(|why| Settlement::Held { why })
}

/// What a spool asks when a file is made.
#[derive(Debug)]
pub(super) struct Spooled {
    pub(super) file: Arc<ArcSwap<VaccinationFile>>,
    pub(super) ledger: Ledger,
    pub(super) runtime: Handle,
}

impl RowsOfNow for Spooled {
    fn rows_of_now(&self, debts: &[i64]) -> std::io::Result<Vec<Option<Vec<u8>>>> {
        let unknown = |error: StoreError| std::io::Error::other(error.text);
        let reader = LedgerReader::open(self.ledger.data()).map_err(unknown)?;
        let file = self.file.load();
        let (mut rows, mut ended) = (Vec::with_capacity(debts.len()), Vec::new());
        for debt in debts {
            // One that a person released has its own turn again, and one that was withdrawn none.
            let Some(found) = reader.spooled_debt(*debt).map_err(unknown)? else {
                rows.push(None);
                continue;
            };
            let event = serde_json::from_slice::<FiledEvent>(&found.event);
            let event = event.map_err(|_| Settlement::Held { why: "the filed event cannot be read".into() });
            match event.and_then(|event| rows_as_of_now(&file, &reader, (*debt, found.child), event)) {
                Ok(body) => rows.push(Some(body)),
                Err(Settlement::Retry { why, .. }) => return Err(std::io::Error::other(why)),
                Err(how) => {
                    rows.push(None);
                    ended.push((*debt, how));
                }
            }
        }
        let rules: Vec<&'static str> =
            ended.iter().filter_map(|(_, how)| if let Settlement::Withdrawn { rule } = how { Some(*rule) } else { None }).collect();
        self.runtime.block_on(self.ledger.take_out(ended, clock::now())).map_err(unknown)?;
        for rule in rules {
            metrics::counter!("chis_messages_withheld_total", "rule" => rule).increment(1);
        }
        Ok(rows)
    }
}

/// Why nothing is said of a child in a file. A restriction is no reason: the row goes to the child's own hub, without an address.
fn silenced(child: &Child) -> Option<&'static str> {
    match child.status {
        Some(ChildStatus::Sealed) => Some("sealed"),
        Some(ChildStatus::Invalidated) => Some("invalidated"),
        Some(ChildStatus::Stillborn) => Some("stillborn"),
        _ => None,
    }
}

/// The record that rows are written of: as it is now, and of one that was merged as it was filed, with what hides the one that goes on.
fn of_rows(now: Child, survivor: Option<Child>, filed: &Child) -> Result<Child, &'static str> {
    if let Some(rule) = silenced(&now).or_else(|| survivor.as_ref().and_then(silenced)) {
        return Err(rule);
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
            Ok(true) | Err(_) => Ok(HandedOver::default()),
        };
        let handed = tokio::task::spawn_blocking(hand_over).await;
        match handed {
            Ok(Ok(HandedOver { vaccinations: 0, withheld: 0 })) => {}
            Ok(Ok(HandedOver { vaccinations: 0, withheld })) => {
                tracing::info!(destination = %name, withheld, "delivery.file: no file was made: nothing of what waited may be said any more");
            }
            Ok(Ok(HandedOver { vaccinations, withheld })) => {
                tracing::info!(destination = %name, vaccinations, withheld, "delivery.file: a vaccination file was handed over, without what may not be said any more");
            }
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
        for (status, rule) in [(ChildStatus::Invalidated, "invalidated"), (ChildStatus::Stillborn, "stillborn")] {
            assert_eq!(of_rows(Child { status: Some(status), ..filed() }, None, &filed()), Err(rule));
        }
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

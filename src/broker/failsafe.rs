//! Looks at the children whose time has come, and keeps what came of it: changes, lists, tasks.
//!
//! # One round
//!
//! 1. where other rules hold than before, or there is another default hub, children are marked anew, some thousands at a time;
//! 2. children that are due, because something was filed or time has passed, are looked at: facts are read, [`crate::failsafe`] judges,
//!    the writer keeps the outcome, unless the child has changed meanwhile;
//! 3. where nothing is due any more, the calendar does what is due: so a nightly report stands on clocks of its own minute.
//!
//! # What always holds
//!
//! - Only children that are due are touched: an index over the time of the next change says which.
//! - A task is told to the store of the hub that acts, and to no other destination.
//! - There is at most one open task for a child and a clock, and it ends with its reason.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Present;
use super::calendar::Calendar;
use crate::canon::{ChildStatus, FailsafeTask, Instant};
use crate::clock;
use crate::failsafe::{self, Clock, ClockState, Facts, Rules, TaskNow};
use crate::names::{DestinationName, HubName};
use crate::routing::Directory;
use crate::store::{ClockChange, Ledger, LedgerReader, Look, LookedAt, OpenClock, OpenTask, StoreError, TaskAct};

/// Children looked at in one transaction: it must not keep senders waiting.
const BATCH: usize = 100;
/// Children marked in one transaction when other rules hold.
const MARKED_AT_ONCE: i64 = 5_000;
/// Without anything to do it is asked so often.
const POLL: Duration = Duration::from_millis(500);
/// After an error.
const REST: Duration = Duration::from_secs(5);

/// What children are looked at by.
#[derive(Clone)]
pub struct Watching {
    /// Limits and schedule; swapped whole at reload.
    pub rules: Arc<ArcSwap<Rules>>,
    /// Which hub acts.
    pub directory: Arc<ArcSwap<Directory>>,
    /// Which destination is the store of which hub.
    pub stores: Arc<HashMap<HubName, DestinationName>>,
}

impl Watching {
    /// Of what was read once and will not change.
    pub fn of(rules: Rules, directory: Directory, stores: HashMap<HubName, DestinationName>) -> Self {
        let (rules, directory) = (Arc::new(ArcSwap::from_pointee(rules)), Arc::new(ArcSwap::from_pointee(directory)));
        Self { rules, directory, stores: Arc::new(stores) }
    }
}

/// Starts the thread that watches. It ends when `ends` is cancelled.
pub(super) fn start(
    watching: Watching,
    (ledger, data): (Ledger, PathBuf),
    mut calendar: Calendar,
    ends: CancellationToken,
    runtime: Handle,
    present: Present,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("failsafe".into()).spawn(move || {
        let _present = present;
        let watcher = Watcher { watching, ledger, runtime: runtime.clone(), pause: ends.clone(), judge: looked_at };
        loop {
            let rest = match watcher.run(&data, &mut calendar) {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(error = %error, "failsafe.failed: children could not be looked at; it is tried again");
                    REST
                }
            };
            if watcher.has_ended(rest) {
                return;
            }
        }
    })
}

struct Watcher {
    watching: Watching,
    ledger: Ledger,
    runtime: Handle,
    pause: CancellationToken,
    /// What comes of looking at a child: [`looked_at`].
    judge: fn(&Look, &Rules, Timestamp) -> LookedAt,
}

impl Watcher {
    fn run(&self, data: &std::path::Path, calendar: &mut Calendar) -> Result<(), StoreError> {
        let reader = LedgerReader::open(data)?;
        loop {
            if self.pause.is_cancelled() || self.ledger.is_broken() {
                return Ok(());
            }
            let is_marking = self.mark_for_other_rules(&reader)?;
            let looked = self.look_at_due(&reader, clock::now())?;
            if 0 < looked || is_marking {
                continue;
            }
            calendar.tick(&reader, clock::now())?;
            if self.has_ended(clock::poll(POLL)) {
                return Ok(());
            }
        }
    }

    /// True when it is time to stop.
    fn has_ended(&self, wait: Duration) -> bool {
        self.runtime.block_on(async {
            tokio::select! { () = tokio::time::sleep(wait) => self.ledger.is_broken(), () = self.pause.cancelled() => true }
        })
    }

    /// Marks children where the rules are not those that they were looked at by, or another hub works on those of nobody. True while
    /// there may be more.
    fn mark_for_other_rules(&self, reader: &LedgerReader) -> Result<bool, StoreError> {
        let (rules, directory) = (self.watching.rules.load(), self.watching.directory.load());
        let judged_by = format!("{}/{}", rules.fingerprint, directory.default_hub());
        if reader.failsafe_meta("failsafe_rules")?.as_deref() == Some(judged_by.as_str()) {
            return Ok(false);
        }
        let marked = reader.failsafe_meta("failsafe_marked")?.unwrap_or_default();
        let after = marked.rsplit_once(' ').filter(|(by, _)| *by == judged_by);
        let after = after.and_then(|(_, after)| after.parse().ok()).unwrap_or(0);
        let last = self.runtime.block_on(self.ledger.look_again(after, MARKED_AT_ONCE, &judged_by))?;
        Ok(last.is_some())
    }

    fn look_at_due(&self, reader: &LedgerReader, now: Timestamp) -> Result<usize, StoreError> {
        let rows = reader.children_due(now, BATCH)?;
        let (rules, directory) = (self.watching.rules.load(), self.watching.directory.load());
        let mut looks = Vec::with_capacity(rows.len());
        for row in &rows {
            match reader.look(*row, &directory, &self.watching.stores)? {
                Some(look) => looks.push(self.judged(&look, &rules, now)),
                // A record that cannot be read must not stop all others: it is asked for again tomorrow.
                None => looks.push(unreadable(*row, reader.marks(*row)?, now)),
            }
        }
        for late in looks.iter().flat_map(|look| &look.changes).filter(|change| change.became == "breached") {
            metrics::counter!("chis_failsafe_breaches_total", "clock" => late.kind.clone()).increment(1);
        }
        if !looks.is_empty() {
            self.runtime.block_on(self.ledger.write_looks(looks, Arc::clone(&self.watching.stores), now))?;
        }
        Ok(rows.len())
    }

    /// A child at which judging breaks must not stop all others either. The hook of all panics says where it broke, and counts it.
    fn judged(&self, look: &Look, rules: &Rules, now: Timestamp) -> LookedAt {
        let judged = catch_unwind(AssertUnwindSafe(|| (self.judge)(look, rules, now)));
        judged.unwrap_or_else(|_panic| unreadable(look.row, look.marks, now))
    }
}

fn unreadable(row: i64, marks: i64, now: Timestamp) -> LookedAt {
    tracing::error!(child = row, "failsafe.unreadable: this child cannot be looked at; its clocks are not kept");
    LookedAt::unread(row, marks, now.saturating_add(jiff::SignedDuration::from_hours(24)).ok())
}

/// What comes of looking at a child at `now`.
pub fn looked_at(look: &Look, rules: &Rules, now: Timestamp) -> LookedAt {
    let watched = failsafe::clocks(&look.facts, rules, now);
    let states: BTreeMap<String, ClockState> = watched.clocks.iter().map(|clock| (clock.kind.clone(), clock.state)).collect();
    let tasks = tasks(look, &watched.clocks, rules, now);
    let listed = watched.clocks.iter().filter(|clock| clock.is_listed(now));
    let open = listed.map(|clock| OpenClock {
        kind: clock.kind.clone(),
        state: clock.state,
        owner: clock.owner.to_owned(),
        started: clock.started,
        warn_at: clock.warn_at,
        due_at: clock.due_at,
        breach_at: clock.breach_at,
        reason: clock.reason.clone(),
    });
    let acting = look.facts.acting.as_ref();
    let is_told = tasks.iter().any(|act| !matches!(act, TaskAct::Close { task: None, .. }));
    LookedAt {
        row: look.row,
        child: look.child,
        version: look.version,
        marks: look.marks,
        next: watched.next_change,
        awaits: states.get("CHO_ALLOC").is_some_and(|state| *state != ClockState::Satisfied),
        hub: acting.map(ToString::to_string).unwrap_or_default(),
        born: look.facts.record.child.birth.date.as_ref().map(|date| date.value.clone()).unwrap_or_default(),
        open: open.collect(),
        changes: changes(look, &watched.clocks),
        moved: moved(look),
        record: is_told.then(|| look.facts.record.child.clone()),
        tasks,
        states,
    }
}

/// Every clock that stands otherwise than before. Of a child that was never looked at: what somebody must know.
fn changes(look: &Look, clocks: &[Clock]) -> Vec<ClockChange> {
    let none = BTreeMap::new();
    let stood = look.stood.as_ref().unwrap_or(&none);
    let became = clocks.iter().filter_map(|clock| {
        let was = stood.get(&clock.kind).copied();
        let begins_quietly = match look.stood {
            None => !(clock.state.needs_somebody() || clock.state == ClockState::Suspended),
            Some(_) => was.is_none() && clock.state == ClockState::Pending,
        };
        (was != Some(clock.state) && !begins_quietly).then(|| ClockChange {
            kind: clock.kind.clone(),
            was: was.map(|was| was.word().to_owned()).unwrap_or_default(),
            became: clock.state.word().to_owned(),
            reason: clock.reason.clone(),
            by: clock.satisfied_by,
        })
    });
    let gone = stood.iter().filter(|(kind, _)| !clocks.iter().any(|clock| clock.kind == **kind)).map(|(kind, was)| ClockChange {
        kind: kind.clone(),
        was: was.word().to_owned(),
        became: String::new(),
        reason: "not kept for this child any more".to_owned(),
        by: None,
    });
    became.chain(gone).collect()
}

fn moved(look: &Look) -> Option<(HubName, HubName, Timestamp)> {
    let from = look.acted.clone()?;
    let to = look.facts.acting.clone().unwrap_or_else(|| HubName::new(HubName::OUT));
    let at = look.facts.stays.last().map(|stay| stay.from)?;
    (from != to).then_some((from, to, at))
}

/// What is to be done about tasks: raised, changed, moved, ended.
fn tasks(look: &Look, clocks: &[Clock], rules: &Rules, now: Timestamp) -> Vec<TaskAct> {
    let mut acts = Vec::new();
    let wanted = |clock: &Clock| failsafe::task_of(clock, &look.facts, rules, now);
    for clock in clocks {
        let known = look.tasks.iter().find(|task| task.kind == clock.kind);
        let (Some(now_wanted), Some(hub)) = (wanted(clock), look.facts.acting.clone()) else {
            acts.extend(known.map(|task| close(task, look, &clock.reason)));
            continue;
        };
        let task = task(clock, &now_wanted, &look.facts);
        match known {
            None => acts.push(TaskAct::Open { kind: clock.kind.clone(), hub, task }),
            Some(known) if known.hub == hub && known.owner == now_wanted.owner && known.escalation == now_wanted.escalation => {}
            Some(known) => {
                let told = || Box::new((known.hub.clone(), ended(&known.kind, &format!("moved to {hub}"), "cancelled")));
                let left = (known.hub != hub).then(told);
                acts.push(TaskAct::Change { id: known.id, hub, task, left });
            }
        }
    }
    let is_kept = |task: &&OpenTask| clocks.iter().any(|clock| clock.kind == task.kind);
    acts.extend(look.tasks.iter().filter(|task| !is_kept(task)).map(|task| close(task, look, "not kept for this child any more")));
    acts
}

fn task(clock: &Clock, now: &TaskNow, facts: &Facts) -> FailsafeTask {
    let visiting = facts.episodes.iter().filter(|said| said.item.service.as_deref() == Some(now.owner)).max_by_key(|said| said.at);
    FailsafeTask {
        key: None,
        severity: Some(now.severity.clone()),
        escalation: Some(now.escalation.to_owned()),
        action: now.action.clone(),
        reason: now.reason.clone(),
        owner_ods: visiting.and_then(|said| said.item.org_ods.clone()),
        due: clock.breach_at.map(Instant::of),
        service: Some(now.owner.to_owned()),
        clock: Some(clock.kind.clone()),
        closed: None,
        status: Some("requested".to_owned()),
    }
}

fn ended(kind: &str, why: &str, status: &str) -> FailsafeTask {
    FailsafeTask { clock: Some(kind.to_owned()), closed: Some(why.to_owned()), status: Some(status.to_owned()), ..FailsafeTask::default() }
}

/// Of a record that is sealed or invalid nobody is told anything (identity rules, sections 3 and 8).
fn close(task: &OpenTask, look: &Look, why: &str) -> TaskAct {
    let is_mute = matches!(look.facts.record.child.status, Some(ChildStatus::Sealed | ChildStatus::Invalidated));
    let told = (!is_mute).then(|| ended(&task.kind, why, "completed"));
    TaskAct::Close { id: task.id, hub: task.hub.clone(), task: told, why: why.to_owned() }
}

#[cfg(test)]
mod tests;

//! A batch in one frame or body: each of its messages is received, kept and answered by itself (protocol rules, section 10).
//!
//! # Invariants
//!
//! - Messages are begun in the order of the file; the answer is a batch of their answers in that order.
//! - A count that is wrong loses nothing: what is there is taken, and the answer says so.
//! - Of a long file only [`UNDER_WAY_MAX`] messages are looked at and not yet kept at any moment.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::admission::Rules;
use super::desk::Desk;
use super::in_order::InOrder;
use super::refusal::Told;
use super::sources::Source;
use crate::hl7::{self, Answer, BatchFile};
use crate::journal::{FileMark, Journal, Place};
use crate::observe;

/// Messages of a batch that are begun and not yet kept.
const UNDER_WAY_MAX: usize = 16;

/// What a listener knows when a batch arrives; owned, because a batch takes its time.
#[derive(Clone, Debug)]
pub(super) struct BatchRules {
    pub(super) candidates: Vec<Arc<Source>>,
    pub(super) processing_ids: Vec<String>,
    pub(super) message_bytes_max: usize,
}

/// What was said to each message, and the batch of answers; no answer where no message wanted one.
pub(super) struct SettledBatch {
    pub(super) told: Vec<Told>,
    pub(super) answer: Option<Vec<u8>>,
}

impl BatchRules {
    /// Is this a batch with at least one message in it? An empty one is refused like any other that does not begin with MSH.
    pub(super) fn is_batch(&self, raw: &[u8]) -> bool {
        hl7::is_batch(raw) && self.split(raw).batches.iter().any(|batch| !batch.messages.is_empty())
    }

    fn split<'a>(&self, raw: &'a [u8]) -> BatchFile<'a> {
        hl7::split_batch(raw, self.candidates.iter().any(|source| source.line_feed))
    }
}

/// Keeps and answers every message of a file on disk: a batch, or messages one after the other. Each is an entry once, however often
/// the file is read, also when it has grown meanwhile: the place of a message is all that stands up to its end, begun with `name`. A
/// single message without batch segments is answered by itself.
pub(super) async fn settle_file<J: Journal>(desk: &Arc<Desk<J>>, raw: Bytes, rules: &BatchRules, name: &Sha256) -> SettledBatch {
    let file = rules.split(&raw);
    let messages: Vec<Bytes> = file.batches.iter().flat_map(|batch| &batch.messages).map(|message| raw.slice_ref(message)).collect();
    let (is_count_wrong, stray_lines) = (file.is_count_wrong(), file.stray_lines);
    let is_single = messages.len() == 1 && file.header.is_none() && file.batches.iter().all(|batch| batch.header.is_none());
    observe::BatchReceived { messages: messages.len(), is_count_wrong, stray_lines }.say();
    drop(file);

    let places = places(name, &messages);
    let settled = settle_all(desk, messages.into_iter().zip(places), rules).await;
    let (told, mut answers): (Vec<Told>, Vec<Option<Answer>>) = settled.into_iter().unzip();
    let answer = match answers.iter().any(Option::is_some) {
        true if is_single => answers.pop().flatten().map(|answer| answer.bytes),
        true => Some(desk.answer_batch(&rules.split(&raw), answers)),
        false => None,
    };
    SettledBatch { told, answer }
}

/// Keeps and answers every message of a batch.
pub(super) async fn settle_batch<J: Journal>(desk: Arc<Desk<J>>, raw: Bytes, rules: BatchRules) -> SettledBatch {
    let file = rules.split(&raw);
    let messages: Vec<Bytes> = file.batches.iter().flat_map(|batch| &batch.messages).map(|message| raw.slice_ref(message)).collect();
    let (is_count_wrong, stray_lines) = (file.is_count_wrong(), file.stray_lines);
    observe::BatchReceived { messages: messages.len(), is_count_wrong, stray_lines }.say();
    drop(file);

    let settled = settle_all(&desk, messages.into_iter().map(|message| (message, None)), &rules).await;
    let (told, answers): (Vec<Told>, Vec<Option<Answer>>) = settled.into_iter().unzip();
    let answer = answers.iter().any(Option::is_some).then(|| desk.answer_batch(&rules.split(&raw), answers));
    SettledBatch { told, answer }
}

/// Each message is marked by itself and all before it, so that what is written behind it later changes nothing of its place, and a
/// message that was cut where the file ended has another place when its rest has come.
fn places(name: &Sha256, messages: &[Bytes]) -> Vec<Option<Place>> {
    let mut so_far = name.clone();
    let place = |(number, message): (i64, &Bytes)| {
        // Line ends behind the last message may come later and are no part of it.
        let message = message.trim_ascii_end();
        so_far.update((message.len() as u64).to_be_bytes());
        so_far.update(message);
        Some(Place { file: FileMark(so_far.clone().finalize().into()), number })
    };
    (1..).zip(messages).map(place).collect()
}

async fn settle_all<J: Journal>(
    desk: &Arc<Desk<J>>,
    messages: impl Iterator<Item = (Bytes, Option<Place>)>,
    rules: &BatchRules,
) -> Vec<(Told, Option<Answer>)> {
    let mut under_way = InOrder::new();
    let mut settled = Vec::new();
    for (message, place) in messages {
        if under_way.len() == UNDER_WAY_MAX {
            under_way.ready(&mut settled).await;
        }
        let looked_at = Rules {
            candidates: &rules.candidates,
            processing_ids: &rules.processing_ids,
            message_bytes_max: rules.message_bytes_max,
            limits: &desk.limits,
        };
        let received = desk.receive(message, &looked_at);
        let desk = Arc::clone(desk);
        under_way.push(async move { desk.settle(received, place).await });
    }
    while !under_way.is_empty() {
        under_way.ready(&mut settled).await;
    }
    settled
}

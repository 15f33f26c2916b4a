//! One MLLP connection: frames in, answers out, in order.
//!
//! # Invariants
//!
//! - A message is begun only after all before it were begun, and answered only after all before it were answered.
//! - At most [`UNDER_WAY_MAX`] messages are begun and unanswered; then nothing is read until some are answered (back-pressure).
//! - A frame that was cut short is never answered and never joined with another.
//! - A connection that was silent so far holds no buffer. Long frames of all connections together share one budget of memory: where
//!   it is used up, reading waits, and the frame's clock runs on.
//!
//! # Not here
//!
//! Where a frame begins and ends (`hl7::MllpCodec`), and what is told (`desk`). This file only waits.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;

use super::admission::Rules;
use super::batch::{BatchRules, settle_batch};
use super::budget::Share;
use super::desk::{Desk, Received};
use super::in_order::InOrder;
use super::listener::Guest;
use super::sources::Source;
use crate::hl7::{self, Frame, MllpCodec};
use crate::journal::Journal;
use crate::observe;

/// Messages begun and not yet answered on one connection (threat model's limits: 16 read ahead, answered in order).
const UNDER_WAY_MAX: usize = 16;
/// The first read of a silent connection goes here, so that 10,000 silent ones cost little.
const FIRST_BYTES: usize = 64;
/// Room made for a read.
const READ_BYTES: usize = 4 * 1024;
/// A buffer that grew beyond this is given back when the connection falls silent; what is beyond it comes out of the budget.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// After our own end the peer's last bytes are awaited so long, so that no reset overtakes an answer.
const LINGER: Duration = Duration::from_millis(500);

/// What all connections of one MLLP listener share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) processing_ids: Vec<String>,
    pub(super) frame_bytes_max: usize,
    pub(super) frame_time_max: Duration,
    pub(super) idle_time_max: Option<Duration>,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Peer,
    Drained,
    Idle,
    FrameTimeout,
    Oversize,
    Identity,
    Read,
    Write,
    WriteTimeout,
}

impl Ended {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Drained => "drained",
            Self::Idle => "idle",
            Self::FrameTimeout => "frame_timeout",
            Self::Oversize => "oversize",
            Self::Identity => "identity",
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteTimeout => "write_timeout",
        }
    }
}

/// What the clock of a connection runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Unended,
    Frame,
    Idle,
}

/// One connection.
pub(super) struct Conversation<J, S> {
    stream: S,
    desk: Arc<Desk<J>>,
    line: Arc<Line>,
    guest: Guest,
    candidates: Vec<Arc<Source>>,
    generation: u64,
    codec: MllpCodec,
    input: BytesMut,
    output: BytesMut,
    /// What `input` holds of the budget.
    share: Share,
    is_starved: bool,
    /// Each gives its answer, if one is owed.
    under_way: InOrder<Option<Vec<u8>>>,
    settled: Vec<Option<Vec<u8>>>,
    /// A batch is under way: what comes after it waits for its last message.
    is_batch: bool,
    last_activity: Instant,
    frame_began: Option<Instant>,
    is_unended_tried: bool,
    is_mismatch_said: bool,
    is_draining: bool,
    is_peer_done: bool,
    stop: Option<Ended>,
}

impl<J: Journal, S: AsyncRead + AsyncWrite + Unpin> Conversation<J, S> {
    pub(super) fn new(stream: S, desk: Arc<Desk<J>>, line: Arc<Line>, guest: Guest) -> Self {
        let generation = desk.generation.load(Ordering::Acquire);
        Self {
            candidates: desk.sources.load().of_peer(&guest.peer),
            codec: MllpCodec::new(line.frame_bytes_max),
            stream,
            desk,
            line,
            guest,
            generation,
            input: BytesMut::new(),
            output: BytesMut::new(),
            share: Share::default(),
            is_starved: false,
            under_way: InOrder::new(),
            settled: Vec::new(),
            is_batch: false,
            last_activity: Instant::now(),
            frame_began: None,
            is_unended_tried: false,
            is_mismatch_said: false,
            is_draining: false,
            is_peer_done: false,
            stop: None,
        }
    }

    /// Bytes between frames that were none.
    pub(super) fn noise_bytes(&self) -> u64 {
        self.codec.noise_bytes
    }

    /// Speaks until one side is done.
    pub(super) async fn run(&mut self, drain: CancellationToken) -> Ended {
        let mut drained = pin!(drain.cancelled());
        let mut timer = pin!(sleep_until(self.last_activity));
        loop {
            self.take_frames();
            if let Some(ended) = self.end() {
                return ended;
            }
            self.make_room();
            let freed = self.await_room();
            let wait = self.wait();
            set(timer.as_mut(), wait);
            let is_starved = self.is_starved;
            let is_reading = self.is_reading() && !is_starved;
            let is_draining = self.is_draining;
            tokio::select! {
                biased;
                () = self.under_way.ready(&mut self.settled), if !self.under_way.is_empty() => self.send_answers().await,
                read = read_some(&mut self.stream, &mut self.input), if is_reading => self.heard(read),
                () = freed, if is_starved => {}
                () = drained.as_mut(), if !is_draining => self.is_draining = true,
                () = timer.as_mut(), if wait.is_some() => self.lose_patience(wait),
            }
        }
    }

    /// Ends our half, and waits a moment for the other half where we end first.
    pub(super) async fn close(mut self, ended: Ended) {
        let linger = async {
            self.stream.shutdown().await?;
            let mut unread = [0; 1024];
            while ended != Ended::Peer && self.stream.read(&mut unread).await? != 0 {}
            Ok::<(), std::io::Error>(())
        };
        // However it ends, it has ended.
        let _ = timeout(LINGER, linger).await;
    }

    /// Begins every whole frame there is room for.
    fn take_frames(&mut self) {
        while self.stop.is_none() && self.has_room() {
            match self.codec.decode(&mut self.input) {
                Ok(Some(frame)) => {
                    self.frame_began = None;
                    self.take(frame);
                }
                Ok(None) => {
                    // The frame's clock runs from its first byte, however slowly the others come.
                    let began = |began: Option<Instant>| began.unwrap_or_else(Instant::now);
                    self.frame_began = self.codec.is_inside_frame().then(|| began(self.frame_began));
                    return;
                }
                Err(_) => self.stop = Some(Ended::Read),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < UNDER_WAY_MAX && !self.is_batch
    }

    /// Room for the next read, if the house has it.
    fn make_room(&mut self) {
        self.is_starved = false;
        let (held, free) = (self.input.len(), self.input.capacity() - self.input.len());
        if !self.is_reading() || self.input.capacity() == 0 || READ_BYTES / 4 <= free {
            return;
        }
        // As much again as there is: a long frame is copied a few times, not a thousand.
        let more = held.max(READ_BYTES);
        self.is_starved = KEPT_BYTES_MAX < held + more && !self.share.grow_to(held + more, &self.desk.budget);
        if !self.is_starved {
            self.input.reserve(more);
        }
    }

    /// Ends when somebody else gave memory back. What was given back meanwhile is not missed: after the wait began, room is
    /// asked for once more.
    fn await_room(&mut self) -> impl Future<Output = ()> + use<J, S> {
        let freed = self.is_starved.then(|| self.desk.budget.freed());
        if freed.is_some() {
            self.make_room();
        }
        async move {
            if let Some(freed) = freed {
                freed.await;
            }
        }
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Message(raw) => {
                if self.is_still_welcome() {
                    self.take_message(raw);
                }
            }
            Frame::Truncated { bytes } => self.say_truncated(bytes),
            Frame::Oversize { head, bytes } => {
                observe::FrameOversize { peer: self.guest.peer.address, bytes }.say();
                if self.is_still_welcome() {
                    self.take_oversize(head);
                }
            }
        }
    }

    fn take_message(&mut self, raw: Bytes) {
        if hl7::is_batch(&raw) {
            let rules = BatchRules {
                candidates: self.candidates.clone(),
                processing_ids: self.line.processing_ids.clone(),
                message_bytes_max: self.line.frame_bytes_max,
            };
            if rules.is_batch(&raw) {
                return self.begin_batch(raw, rules);
            }
        }
        let received = self.desk.receive(raw, &self.rules());
        self.begin(received);
    }

    fn begin_batch(&mut self, raw: Bytes, rules: BatchRules) {
        self.is_batch = true;
        let desk = Arc::clone(&self.desk);
        let share = std::mem::take(&mut self.share);
        self.under_way.push(async move {
            let _share = share;
            settle_batch(desk, raw, rules).await.answer
        });
    }

    fn take_oversize(&mut self, head: Bytes) {
        match self.desk.receive_oversize(head, &self.rules()) {
            Some(received) => self.begin(received),
            None => self.stop = Some(Ended::Oversize),
        }
    }

    fn begin(&mut self, received: Received) {
        if received.examined().is_mismatch && !self.is_mismatch_said {
            self.is_mismatch_said = true;
            observe::SenderMismatch { source: &super::desk::name_of(received.examined().source.as_deref()) }.say();
        }
        let desk = Arc::clone(&self.desk);
        // The memory of a long frame is used until the journal has it.
        let share = std::mem::take(&mut self.share);
        self.under_way.push(async move {
            let _share = share;
            let (_told, answer) = desk.settle(received, None).await;
            answer.map(|answer| answer.bytes)
        });
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            candidates: &self.candidates,
            processing_ids: &self.line.processing_ids,
            message_bytes_max: self.line.frame_bytes_max,
            limits: &self.desk.limits,
        }
    }

    /// Who the peer is, is asked again for the first frame after anything about it may have changed.
    fn is_still_welcome(&mut self) -> bool {
        let generation = self.desk.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            if !self.guest.is_still_trusted((self.desk.clock.now)()) {
                observe::PeerRefused { peer: self.guest.peer.address, reason: "certificate" }.say();
                self.stop = Some(Ended::Identity);
                return false;
            }
            self.candidates = self.desk.sources.load().of_peer(&self.guest.peer);
        }
        true
    }

    /// Is all said and done?
    fn end(&mut self) -> Option<Ended> {
        if !self.under_way.is_empty() {
            return None;
        }
        if self.stop.is_some() {
            return self.stop;
        }
        if self.is_peer_done {
            return self.end_of_stream();
        }
        (self.is_draining && !self.codec.is_inside_frame()).then_some(Ended::Drained)
    }

    fn end_of_stream(&mut self) -> Option<Ended> {
        if let Some(frame) = self.codec.take_unended(&mut self.input) {
            self.take(frame);
            return if self.under_way.is_empty() { Some(Ended::Peer) } else { None };
        }
        if self.codec.is_inside_frame() {
            self.say_truncated(self.input.len());
        }
        Some(Ended::Peer)
    }

    fn say_truncated(&self, bytes: usize) {
        observe::FrameTruncated { peer: self.guest.peer.address, bytes }.say();
    }

    fn is_reading(&self) -> bool {
        // At drain a frame that was begun may be ended; a new one waits for the next process.
        let wants_more = !self.is_draining || self.codec.is_inside_frame();
        self.has_room() && wants_more && !self.is_peer_done && self.stop.is_none()
    }

    fn wait(&self) -> Option<(Wait, Instant)> {
        if !self.is_reading() {
            return None;
        }
        if let Some(began) = self.frame_began {
            let has_end_block = self.codec.is_end_half_seen(&self.input) && !self.is_unended_tried;
            let whole = began + self.line.frame_time_max;
            return if has_end_block {
                Some((Wait::Unended, (self.last_activity + self.desk.patience.unended).min(whole)))
            } else {
                Some((Wait::Frame, whole))
            };
        }
        let idle = self.line.idle_time_max?;
        self.under_way.is_empty().then(|| (Wait::Idle, self.last_activity + idle))
    }

    fn lose_patience(&mut self, wait: Option<(Wait, Instant)>) {
        match wait {
            Some((Wait::Unended, _)) => {
                self.is_unended_tried = true;
                if let Some(frame) = self.codec.take_unended(&mut self.input) {
                    self.frame_began = None;
                    self.take(frame);
                }
            }
            Some((Wait::Frame, _)) => {
                self.say_truncated(self.input.len());
                self.stop = Some(Ended::FrameTimeout);
            }
            Some((Wait::Idle, _)) => self.stop = Some(Ended::Idle),
            None => {}
        }
    }

    fn heard(&mut self, read: std::io::Result<usize>) {
        match read {
            Ok(0) => self.is_peer_done = true,
            Ok(_) => {
                self.last_activity = Instant::now();
                self.is_unended_tried = false;
            }
            Err(_) => self.stop = Some(Ended::Read),
        }
    }

    /// All answers that are ready, in one write.
    async fn send_answers(&mut self) {
        self.is_batch = self.is_batch && !self.under_way.is_empty();
        for answer in self.settled.drain(..).flatten() {
            if self.codec.encode(&answer, &mut self.output).is_err() {
                self.stop = Some(Ended::Write);
                return;
            }
        }
        let stream = &mut self.stream;
        let output = &self.output;
        let write = async move {
            stream.write_all(output).await?;
            stream.flush().await
        };
        match timeout(self.desk.patience.write, write).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.give_up(Ended::Write),
            Err(_) => self.give_up(Ended::WriteTimeout),
        }
        self.last_activity = Instant::now();
        self.output.clear();
        self.give_back_buffers();
    }

    /// Nobody hears the answers any more. What was begun stays begun; its sender will come again.
    fn give_up(&mut self, ended: Ended) {
        self.stop = Some(ended);
        self.under_way = InOrder::new();
    }

    fn give_back_buffers(&mut self) {
        let is_silent = self.under_way.is_empty() && self.input.is_empty();
        if is_silent && KEPT_BYTES_MAX < self.input.capacity() {
            self.input = BytesMut::new();
        }
        if KEPT_BYTES_MAX < self.output.capacity() {
            self.output = BytesMut::new();
        }
    }
}

fn set(timer: Pin<&mut Sleep>, wait: Option<(Wait, Instant)>) {
    if let Some((_, at)) = wait
        && timer.deadline() != at
    {
        timer.reset(at);
    }
}

/// Reads what there is. Nothing is lost when the wait is dropped.
async fn read_some<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> std::io::Result<usize> {
    if buffer.capacity() == 0 {
        let mut first = [0; FIRST_BYTES];
        let read = stream.read(&mut first).await?;
        buffer.reserve(READ_BYTES);
        buffer.extend_from_slice(first.get(..read).unwrap_or_default());
        return Ok(read);
    }
    stream.read_buf(buffer).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::super::budget::Budget;
    use super::super::desk::{Clock, Patience};
    use super::super::settings::Config;
    use super::super::sources::Sources;
    use super::*;
    use crate::journal::{Entry, JournalError, Place, Receipt, Standing};
    use crate::names::Seq;

    /// Keeps nothing; what is kept is asked of real sockets in `tests/intake`.
    #[derive(Clone)]
    struct Forgetful;

    impl Journal for Forgetful {
        async fn append(&self, _entry: Entry) -> Result<Receipt, JournalError> {
            Ok(Receipt::after_commit(Seq(1), None))
        }
        async fn append_placed(&self, entry: Entry, _place: Place) -> Result<Receipt, JournalError> {
            self.append(entry).await
        }
        async fn outcome(&self, _seq: Seq, _patience: Duration) -> Standing {
            Standing::Filed
        }
    }

    fn connection(desk: &Arc<Desk<Forgetful>>) -> (DuplexStream, tokio::task::JoinHandle<Ended>) {
        let (ours, theirs) = duplex(4096);
        let line = Line { processing_ids: vec![], frame_bytes_max: 1 << 20, frame_time_max: Duration::from_secs(60), idle_time_max: None };
        let mut conversation = Conversation::new(theirs, Arc::clone(desk), Arc::new(line), Guest::at([127, 0, 0, 1].into()));
        (ours, tokio::spawn(async move { conversation.run(CancellationToken::new()).await }))
    }

    async fn answer(stream: &mut DuplexStream) -> u8 {
        loop {
            if stream.read_u8().await.unwrap() == b'\r' && stream.read_u8().await.unwrap() == 0x1C {
                return stream.read_u8().await.unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_memory_is_used_up_a_long_frame_waits_for_another_one_and_not_for_ever() {
        let clock = Clock { now: crate::clock::now, tick: crate::clock::tick };
        let mut desk = Desk::new(&Config::default(), Sources::default(), Forgetful, clock, Patience::default());
        desk.budget = Budget::of(5);
        let desk = Arc::new(desk);
        let half = vec![b'x'; 100_000];
        for _ in 0..20 {
            let (mut first, first_running) = connection(&desk);
            first.write_all(&[b"\x0B", &half[..]].concat()).await.unwrap();
            let (mut second, second_running) = connection(&desk);
            let sending = tokio::spawn(async move {
                second.write_all(&[b"\x0B", &vec![b'y'; 200_000][..], b"\x1C\r"].concat()).await.unwrap();
                second
            });
            tokio::task::yield_now().await;
            first.write_all(b"\x1C\r").await.unwrap();
            assert_eq!(answer(&mut first).await, b'\r');
            let mut second = sending.await.unwrap();
            assert_eq!(answer(&mut second).await, b'\r');
            drop((first, second));
            assert_eq!((first_running.await.unwrap(), second_running.await.unwrap()), (Ended::Peer, Ended::Peer));
        }
    }
}

//! One MLLP connection: frames in, answers out, in order.
//!
//! # Invariants
//!
//! - A message is begun only after all before it were begun, and answered only after all before it were answered.
//! - At most [`UNDER_WAY_MAX`] messages are begun and unanswered; then nothing is read until some are answered (back-pressure).
//! - A frame that was cut short is never answered and never joined with another.
//! - A connection that was silent so far holds no buffer.
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
use super::desk::{Desk, Received};
use super::in_order::InOrder;
use super::listener::Guest;
use super::refusal::Told;
use super::sources::Source;
use crate::hl7::{Answer, Frame, MllpCodec};
use crate::journal::Journal;
use crate::observe;

/// Messages begun and not yet answered on one connection (threat model's limits: 16 read ahead, answered in order).
const UNDER_WAY_MAX: usize = 16;
/// The first read of a silent connection goes here, so that 10,000 silent ones cost little.
const FIRST_BYTES: usize = 64;
/// Room made for a read.
const READ_BYTES: usize = 4 * 1024;
/// A buffer that grew beyond this is given back when the connection falls silent.
const KEPT_BYTES_MAX: usize = 64 * 1024;

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
    under_way: InOrder<(Told, Option<Answer>)>,
    settled: Vec<(Told, Option<Answer>)>,
    last_byte: Instant,
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
            under_way: InOrder::new(),
            settled: Vec::new(),
            last_byte: Instant::now(),
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
        let mut timer = pin!(sleep_until(self.last_byte));
        loop {
            self.take_frames();
            if let Some(ended) = self.end() {
                return ended;
            }
            let wait = self.wait();
            set(timer.as_mut(), wait);
            let is_reading = self.is_reading();
            let is_draining = self.is_draining;
            tokio::select! {
                biased;
                () = self.under_way.ready(&mut self.settled), if !self.under_way.is_empty() => self.send_answers().await,
                read = read_some(&mut self.stream, &mut self.input), if is_reading => self.heard(read),
                () = drained.as_mut(), if !is_draining => self.is_draining = true,
                () = timer.as_mut(), if wait.is_some() => self.lose_patience(wait),
            }
        }
    }

    /// Begins every whole frame there is room for.
    fn take_frames(&mut self) {
        while self.stop.is_none() && self.under_way.len() < UNDER_WAY_MAX {
            match self.codec.decode(&mut self.input) {
                Ok(Some(frame)) => {
                    self.frame_began = None;
                    self.take(frame);
                }
                Ok(None) => {
                    // The frame's clock runs from its first byte, however slowly the others come.
                    let began = self.frame_began.unwrap_or(self.last_byte);
                    self.frame_began = self.codec.is_inside_frame().then_some(began);
                    return;
                }
                Err(_) => self.stop = Some(Ended::Read),
            }
        }
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Message(raw) => {
                if self.is_still_welcome() {
                    let received = self.desk.receive(raw, &self.rules());
                    self.begin(received);
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
        self.under_way.push(async move { desk.settle(received).await });
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
        let has_room = self.under_way.len() < UNDER_WAY_MAX;
        // At drain a frame that was begun may be ended; a new one waits for the next process.
        let wants_more = !self.is_draining || self.codec.is_inside_frame();
        has_room && wants_more && !self.is_peer_done && self.stop.is_none()
    }

    fn wait(&self) -> Option<(Wait, Instant)> {
        if !self.is_reading() {
            return None;
        }
        if let Some(began) = self.frame_began {
            let has_end_block = self.codec.is_end_half_seen(&self.input) && !self.is_unended_tried;
            let whole = began + self.line.frame_time_max;
            return if has_end_block {
                Some((Wait::Unended, (self.last_byte + self.desk.patience.unended).min(whole)))
            } else {
                Some((Wait::Frame, whole))
            };
        }
        let idle = self.line.idle_time_max?;
        self.under_way.is_empty().then(|| (Wait::Idle, self.last_byte + idle))
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
                self.last_byte = Instant::now();
                self.is_unended_tried = false;
            }
            Err(_) => self.stop = Some(Ended::Read),
        }
    }

    /// All answers that are ready, in one write.
    async fn send_answers(&mut self) {
        for (_told, answer) in self.settled.drain(..) {
            if let Some(answer) = answer
                && self.codec.encode(&answer.bytes, &mut self.output).is_err()
            {
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
    if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
        // As much again as there is: a long frame is copied a few times, not a thousand.
        buffer.reserve(buffer.len().max(READ_BYTES));
    }
    stream.read_buf(buffer).await
}

//! MLLP frames: `0x0B message 0x1C 0x0D` (protocol rules, section 1).
//!
//! # What always holds
//!
//! - However the network cuts the stream, the same frames come out.
//! - Two frames are never joined: a start block inside a frame gives the first one up as [`Frame::Truncated`].
//! - Memory is bounded by the longest frame allowed; what is longer is read to its end and thrown away.
//! - No byte is looked at twice while a frame grows: the search goes on where it stopped.
//!
//! # Not here
//!
//! Clocks. Whoever reads the socket asks [`MllpCodec::is_inside_frame`] and [`MllpCodec::is_end_half_seen`] and waits.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::{memchr, memchr2};
use tokio_util::codec::{Decoder, Encoder};

const START: u8 = 0x0B;
const END: u8 = 0x1C;
const HEAD_BYTES_MAX: usize = 4 * 1024;

/// What the codec takes off the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole frame without its block characters.
    Message(Bytes),
    /// A frame was cut short by the next start block, or by the end of the stream. Its bytes are gone; never answered, never joined.
    Truncated {
        /// How many bytes were given up.
        bytes: usize,
    },
    /// A frame longer than the limit was read to its end and dropped; `head` is its beginning (at most 4 KiB), for the answer.
    Oversize {
        /// Its first 4 KiB, or all of it.
        head: Bytes,
        /// Its length.
        bytes: u64,
    },
}

/// Sans-IO MLLP codec. `noise_bytes` counts what was skipped between frames.
#[derive(Debug)]
pub struct MllpCodec {
    /// Longest frame taken, without block characters.
    pub frame_bytes_max: usize,
    /// Bytes skipped before start blocks so far (newlines not counted).
    pub noise_bytes: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No start block seen.
    Between,
    /// The buffer begins with the frame's first byte; nothing before `searched` ends it.
    Inside { searched: usize },
    /// The frame is too long: its bytes are counted and thrown away until it ends.
    Dropping { head: BytesMut, bytes: u64 },
}

/// The next thing that matters inside a frame.
enum Mark {
    /// An end block before `at`, `used` bytes long.
    End { at: usize, used: usize },
    /// The next frame starts.
    Start { at: usize },
    /// 0x1C is the last byte seen: perhaps an end, perhaps data.
    HalfEnd { at: usize },
    /// Nothing.
    None,
}

impl Mark {
    /// The first mark at or after `from`. A 0x1C is an end block when CR follows, or LF, or the next start block
    /// (senders that leave the CR out); otherwise it is data.
    fn find(bytes: &[u8], mut from: usize) -> Self {
        while let Some(found) = memchr2(START, END, bytes.get(from..).unwrap_or_default()) {
            let at = from + found;
            if bytes.get(at) == Some(&START) {
                return Self::Start { at };
            }
            match bytes.get(at + 1) {
                None => return Self::HalfEnd { at },
                Some(b'\r' | b'\n') => return Self::End { at, used: 2 },
                Some(&START) => return Self::End { at, used: 1 },
                Some(_) => from = at + 1,
            }
        }
        Self::None
    }
}

impl MllpCodec {
    /// A codec for one connection.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max, noise_bytes: 0, state: State::Between }
    }

    /// True while a start block was seen whose end block (with its CR) has not: the frame-completion clock runs.
    pub fn is_inside_frame(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    /// True when the last byte read is 0x1C and nothing followed it: after 200 ms of silence [`Self::take_unended`] has a frame.
    pub fn is_end_half_seen(&self, buf: &BytesMut) -> bool {
        self.is_inside_frame() && buf.last() == Some(&END)
    }

    /// End block seen but the CR after it is missing: after 200 ms of silence the caller takes the frame so.
    pub fn take_unended(&mut self, buf: &mut BytesMut) -> Option<Frame> {
        let searched = match self.state {
            State::Between => return None,
            State::Inside { searched } => searched,
            State::Dropping { .. } => 0,
        };
        let Mark::HalfEnd { at } = Mark::find(buf, searched) else { return None };
        Some(self.finish(buf, at, 1))
    }

    /// Skips what is between frames. True when a frame begins.
    fn skip_noise(&mut self, buf: &mut BytesMut) -> bool {
        let noise = memchr(START, buf).unwrap_or(buf.len());
        let counted = buf.iter().take(noise).filter(|byte| !matches!(byte, b'\r' | b'\n')).count();
        self.noise_bytes = self.noise_bytes.saturating_add(counted as u64);
        buf.advance(noise);
        if buf.is_empty() {
            return false;
        }
        buf.advance(1);
        self.state = State::Inside { searched: 0 };
        true
    }

    fn take_frame(&mut self, buf: &mut BytesMut, searched: usize) -> Option<Frame> {
        let seen = match Mark::find(buf, searched) {
            Mark::End { at, used } => return Some(self.finish(buf, at, used)),
            Mark::Start { at } => return Some(self.give_up(buf, at)),
            Mark::HalfEnd { at } => at,
            Mark::None => buf.len(),
        };
        self.state = if self.frame_bytes_max < seen {
            let mut dropped = Dropped::default();
            dropped.swallow(buf, seen);
            State::Dropping { head: dropped.head, bytes: dropped.bytes }
        } else {
            State::Inside { searched: seen }
        };
        None
    }

    fn drop_frame(&mut self, buf: &mut BytesMut) -> Option<Frame> {
        let seen = match Mark::find(buf, 0) {
            Mark::End { at, used } => return Some(self.finish(buf, at, used)),
            Mark::Start { at } => return Some(self.give_up(buf, at)),
            Mark::HalfEnd { at } => at,
            Mark::None => buf.len(),
        };
        let mut dropped = self.dropped();
        dropped.swallow(buf, seen);
        self.state = State::Dropping { head: dropped.head, bytes: dropped.bytes };
        None
    }

    /// The frame ends before `at`; its end block is `used` bytes long.
    fn finish(&mut self, buf: &mut BytesMut, at: usize, used: usize) -> Frame {
        let is_whole = matches!(self.state, State::Inside { .. }) && at <= self.frame_bytes_max;
        let frame = if is_whole {
            Frame::Message(buf.split_to(at).freeze())
        } else {
            let mut dropped = self.dropped();
            dropped.swallow(buf, at);
            Frame::Oversize { head: dropped.head.freeze(), bytes: dropped.bytes }
        };
        buf.advance(used.min(buf.len()));
        self.state = State::Between;
        frame
    }

    /// The next frame starts at `at`: what came before it is nobody's message.
    fn give_up(&mut self, buf: &mut BytesMut, at: usize) -> Frame {
        let bytes = self.dropped().bytes.saturating_add(at as u64);
        buf.advance((at + 1).min(buf.len()));
        self.state = State::Inside { searched: 0 };
        Frame::Truncated { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }
    }

    /// What was thrown away of this frame so far.
    fn dropped(&mut self) -> Dropped {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Dropping { head, bytes } => Dropped { head, bytes },
            State::Between | State::Inside { .. } => Dropped::default(),
        }
    }
}

/// A frame that is thrown away: its head and its length.
#[derive(Default)]
struct Dropped {
    head: BytesMut,
    bytes: u64,
}

impl Dropped {
    fn swallow(&mut self, buf: &mut BytesMut, count: usize) {
        let count = count.min(buf.len());
        let wanted = HEAD_BYTES_MAX.saturating_sub(self.head.len()).min(count);
        self.head.extend_from_slice(buf.get(..wanted).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(count as u64);
        buf.advance(count);
    }
}

impl Decoder for MllpCodec {
    type Item = Frame;
    type Error = io::Error;

    /// Never fails: whatever comes is a frame, noise, or not yet either.
    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, io::Error> {
        if matches!(self.state, State::Between) && !self.skip_noise(buf) {
            return Ok(None);
        }
        Ok(match self.state {
            State::Between => None,
            State::Inside { searched } => self.take_frame(buf, searched),
            State::Dropping { .. } => self.drop_frame(buf),
        })
    }

    /// At the end of the stream a frame may miss its last CR; one that misses more is [`Frame::Truncated`].
    fn decode_eof(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, io::Error> {
        if let Some(frame) = self.decode(buf)? {
            return Ok(Some(frame));
        }
        if let Some(frame) = self.take_unended(buf) {
            return Ok(Some(frame));
        }
        if !self.is_inside_frame() {
            return Ok(None);
        }
        let rest = buf.len();
        let frame = self.give_up(buf, rest);
        self.state = State::Between;
        Ok(Some(frame))
    }
}

impl Encoder<&[u8]> for MllpCodec {
    type Error = io::Error;

    /// Frames `item`. Fails with `InvalidInput`, writing nothing, where the receiver would see the frame end or start inside it.
    fn encode(&mut self, item: &[u8], dst: &mut BytesMut) -> Result<(), io::Error> {
        if matches!(Mark::find(item, 0), Mark::End { .. } | Mark::Start { .. }) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message holds MLLP block characters and cannot be framed"));
        }
        dst.reserve(item.len() + 3);
        dst.put_u8(START);
        dst.put_slice(item);
        dst.put_slice(&[END, b'\r']);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 24;

    /// Frames as text, in the order they came, and the noise counted.
    fn read(chunks: &[&[u8]]) -> (Vec<String>, u64) {
        let mut codec = MllpCodec::new(LIMIT);
        let mut buf = BytesMut::new();
        let mut frames = vec![];
        for chunk in chunks {
            buf.extend_from_slice(chunk);
            while let Some(frame) = codec.decode(&mut buf).unwrap() {
                frames.push(say(&frame));
            }
            assert!(buf.len() <= LIMIT + 1 + chunk.len(), "memory is bounded");
        }
        while let Some(frame) = codec.decode_eof(&mut buf).unwrap() {
            frames.push(say(&frame));
        }
        (frames, codec.noise_bytes)
    }

    fn say(frame: &Frame) -> String {
        match frame {
            Frame::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Frame::Truncated { bytes } => format!("<truncated {bytes}>"),
            Frame::Oversize { head, bytes } => format!("<oversize {bytes} {}>", String::from_utf8_lossy(head)),
        }
    }

    fn check(stream: &[u8], expected: &[&str], noise: u64) {
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            let (frames, counted) = read(&[left, right]);
            assert_eq!(frames, expected, "cut at {cut}");
            assert_eq!(counted, noise, "cut at {cut}");
        }
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytewise).0, expected);
    }

    #[test]
    fn frames_arrive_however_the_network_cuts_them() {
        check(b"\x0BMSH|a\x1C\r\x0BMSH|b\x1C\r", &["MSH|a", "MSH|b"], 0);
    }

    #[test]
    fn a_frame_may_be_as_long_as_the_limit_and_not_one_byte_longer() {
        let exactly = b"\x0B123456789012345678901234\x1C\r\x0Bnext\x1C\r";
        check(exactly, &["123456789012345678901234", "next"], 0);
        let longer = b"\x0B1234567890123456789012345\x1C\r\x0Bnext\x1C\r";
        check(longer, &["<oversize 25 1234567890123456789012345>", "next"], 0);
    }

    #[test]
    fn the_head_of_an_oversize_frame_is_its_first_4_kib() {
        let mut stream = vec![START];
        stream.extend(std::iter::repeat_n(b'x', 100_000));
        stream.extend([END, b'\r']);
        for size in [1, 7, 4096, 8192, 200_000] {
            let mut codec = MllpCodec::new(1000);
            let mut buf = BytesMut::new();
            let mut frames = vec![];
            for chunk in stream.chunks(size) {
                buf.extend_from_slice(chunk);
                frames.extend(codec.decode(&mut buf).unwrap());
                assert!(buf.len() <= 1001);
            }
            assert_eq!(frames, [Frame::Oversize { head: Bytes::from(vec![b'x'; 4096]), bytes: 100_000 }], "chunks of {size}");
        }
    }

    #[test]
    fn a_start_block_inside_a_frame_gives_the_first_one_up_and_the_next_goes_on() {
        check(b"\x0BMSH|first half\x0BMSH|whole\x1C\r", &["<truncated 14>", "MSH|whole"], 0);
        check(b"\x0B\x0BMSH|whole\x1C\r", &["<truncated 0>", "MSH|whole"], 0);
        check(b"\x0B1234567890123456789012345678\x0BMSH|whole\x1C\r", &["<truncated 28>", "MSH|whole"], 0);
    }

    #[test]
    fn a_lone_end_character_inside_is_data() {
        check(b"\x0Ba\x1Cb\x1C\x1C\r", &["a\u{1c}b\u{1c}"], 0);
    }

    #[test]
    fn an_end_block_without_its_cr_ends_the_frame_when_the_next_one_starts() {
        check(b"\x0Bone\x1C\x0Btwo\x1C\n\x0Bthree\x1C\r", &["one", "two", "three"], 0);
    }

    #[test]
    fn noise_between_frames_is_counted_and_newlines_are_not() {
        check(b"GET / \r\n\x0Bone\x1C\r\n\r\n??\x0Btwo\x1C\r", &["one", "two"], 8);
    }

    #[test]
    fn the_end_of_the_stream_ends_a_frame_that_only_misses_its_cr() {
        check(b"\x0Bone\x1C", &["one"], 0);
        check(b"\x0Bone", &["<truncated 3>"], 0);
        check(b"", &[], 0);
    }

    #[test]
    fn after_silence_a_frame_is_taken_without_its_cr_and_a_late_cr_is_no_noise() {
        let mut codec = MllpCodec::new(LIMIT);
        let mut buf = BytesMut::from(&b"\x0Bone"[..]);
        assert_eq!(codec.decode(&mut buf).unwrap(), None);
        assert!(codec.is_inside_frame());
        assert_eq!(codec.take_unended(&mut buf), None, "no end block yet");
        buf.extend_from_slice(b"\x1C");
        assert_eq!(codec.decode(&mut buf).unwrap(), None);
        assert!(codec.is_inside_frame() && codec.is_end_half_seen(&buf));
        assert_eq!(codec.take_unended(&mut buf), Some(Frame::Message(Bytes::from_static(b"one"))));
        assert!(!codec.is_inside_frame());
        buf.extend_from_slice(b"\r\x0Btwo\x1C\r");
        assert_eq!(codec.decode(&mut buf).unwrap(), Some(Frame::Message(Bytes::from_static(b"two"))));
        assert_eq!(codec.noise_bytes, 0);
    }

    #[test]
    fn what_would_tear_a_frame_is_not_framed() {
        let mut codec = MllpCodec::new(LIMIT);
        let mut wire = BytesMut::new();
        for torn in [&b"a\x0Bb"[..], b"a\x1C\rb", b"a\x1C\nb"] {
            assert!(codec.encode(torn, &mut wire).is_err());
        }
        assert!(wire.is_empty());
        codec.encode(b"a\x1Cb", &mut wire).unwrap();
        assert_eq!(&wire[..], b"\x0Ba\x1Cb\x1C\r");
    }

    fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(START), Just(END), Just(b'\r'), Just(b'\n'), Just(b'a'), any::<u8>()], 0..200)
    }

    proptest! {
        #[test]
        fn whole_and_in_pieces_agree(stream in hostile_bytes(), sizes in prop::collection::vec(1usize..9, 1..60)) {
            let whole = read(&[&stream]);
            let mut rest = &stream[..];
            let mut pieces = vec![];
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(whole, read(&pieces));
        }

        #[test]
        fn what_is_framed_comes_out_again(message in prop::collection::vec(any::<u8>(), 0..LIMIT)) {
            let mut codec = MllpCodec::new(LIMIT);
            let mut wire = BytesMut::new();
            if codec.encode(&message, &mut wire).is_ok() {
                prop_assert_eq!(codec.decode(&mut wire).unwrap(), Some(Frame::Message(Bytes::from(message))));
                prop_assert!(wire.is_empty());
            }
        }
    }
}

//! MLLP frames.
use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// What the codec takes off the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole frame without its block characters.
    Message(Bytes),
    /// A frame was cut short by the next start block. Its bytes are gone; never answered, never joined.
    Truncated { bytes: usize },
    /// A frame longer than the limit was read to its end and dropped; `head` is its beginning (at most 4 KiB), for the answer.
    Oversize { head: Bytes, bytes: u64 },
}

/// Sans-IO MLLP codec. `noise_bytes` counts what was skipped between frames.
#[derive(Debug)]
pub struct MllpCodec {
    /// Longest frame taken, without block characters.
    pub frame_bytes_max: usize,
    /// Bytes skipped before start blocks so far (newlines not counted).
    pub noise_bytes: u64,
}

impl MllpCodec {
    /// A codec for one connection.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max, noise_bytes: 0 }
    }

    /// True while a start block was seen whose end block has not: the frame-completion clock runs.
    pub fn is_inside_frame(&self) -> bool {
        unimplemented!()
    }

    /// End block seen but the CR after it is missing: after 200 ms of silence the caller takes the frame so.
    pub fn take_unended(&mut self, _buf: &mut BytesMut) -> Option<Frame> {
        unimplemented!()
    }
}

impl Decoder for MllpCodec {
    type Item = Frame;
    type Error = std::io::Error;
    fn decode(&mut self, _buf: &mut BytesMut) -> Result<Option<Frame>, std::io::Error> {
        unimplemented!()
    }
}

impl Encoder<&[u8]> for MllpCodec {
    type Error = std::io::Error;
    fn encode(&mut self, _item: &[u8], _dst: &mut BytesMut) -> Result<(), std::io::Error> {
        unimplemented!()
    }
}

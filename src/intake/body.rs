//! The body of a request: read within bounds of length and time, and unpacked within a bound of growth.
//!
//! # Invariants
//!
//! - Never more bytes are held than the limit allows, packed or unpacked.
//! - A body that is declared too long is refused before its first byte is read.
//! - A sender may be slow for a while, and afterwards not slower than 1 kB/s (threat model's limits).

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

/// What a packed body may grow to, times its own length (threat model's limits).
const GROWTH_MAX: usize = 20;
/// Room made at once for a body whose length is declared.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// Longer than the limit, as it came or unpacked.
    TooLong,
    /// Unpacked more than [`GROWTH_MAX`] times as long as it came.
    GrowsTooMuch,
    /// Slower than allowed.
    TooSlow,
    /// The connection broke, or the chunks make no sense.
    Broken,
    /// It says gzip and is not.
    NotGzip,
}

/// Reads a body to its end. `grace`: how long any pace is fine.
pub(super) async fn read_body(body: Body, declared: Option<u64>, bytes_max: usize, grace: Duration) -> Result<Bytes, BodyFault> {
    let declared = declared.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if bytes_max < declared {
        return Err(BodyFault::TooLong);
    }
    let began = Instant::now();
    let mut stream = body.into_data_stream();
    let mut read = BytesMut::with_capacity(declared.min(RESERVED_BYTES_MAX));
    loop {
        // 1 kB/s is one byte each millisecond.
        let patience = grace + Duration::from_millis(read.len() as u64);
        match timeout_at(began + patience, stream.next()).await {
            Err(_) => return Err(BodyFault::TooSlow),
            Ok(None) => return Ok(read.freeze()),
            Ok(Some(Err(_))) => return Err(BodyFault::Broken),
            Ok(Some(Ok(chunk))) if bytes_max - read.len() < chunk.len() => return Err(BodyFault::TooLong),
            Ok(Some(Ok(chunk))) => read.extend_from_slice(&chunk),
        }
    }
}

/// Unpacks one layer of gzip.
pub(super) fn unpack(packed: &[u8], bytes_max: usize) -> Result<Bytes, BodyFault> {
    let grown_max = packed.len().saturating_mul(GROWTH_MAX);
    let limit = bytes_max.min(grown_max);
    let mut unpacked = Vec::new();
    let mut reader = MultiGzDecoder::new(packed).take(limit as u64 + 1);
    reader.read_to_end(&mut unpacked).map_err(|_| BodyFault::NotGzip)?;
    if unpacked.len() <= limit {
        Ok(unpacked.into())
    } else if grown_max < bytes_max {
        Err(BodyFault::GrowsTooMuch)
    } else {
        Err(BodyFault::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn pack(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    /// Text that gzip cannot shrink much.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn a_bomb_is_refused_without_being_unpacked() {
        let bomb = pack(&vec![b' '; 50 * 1024 * 1024]);
        assert!(bomb.len() < 100_000);
        assert_eq!(unpack(&bomb, 64 * 1024 * 1024).unwrap_err(), BodyFault::GrowsTooMuch);
    }

    #[test]
    fn exactly_the_limit_is_unpacked_and_one_byte_more_is_not() {
        let plain = noise(1000);
        assert_eq!(unpack(&pack(&plain), 1000).unwrap(), plain);
        assert_eq!(unpack(&pack(&plain), 999).unwrap_err(), BodyFault::TooLong);
    }

    #[test]
    fn what_is_not_gzip_to_its_last_byte_is_no_gzip() {
        let packed = pack(b"{}");
        assert_eq!(unpack(b"{}", 100).unwrap_err(), BodyFault::NotGzip);
        assert_eq!(unpack(&packed[..packed.len() - 1], 100).unwrap_err(), BodyFault::NotGzip);
        assert_eq!(unpack(&[&packed[..], b"{}"].concat(), 100).unwrap_err(), BodyFault::NotGzip);
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let whole = |bytes: &'static [u8], declared| read_body(Body::from(bytes), declared, 5, Duration::from_secs(60));
        assert_eq!(whole(b"12345", Some(5)).await.unwrap(), "12345");
        assert_eq!(whole(b"123456", None).await.unwrap_err(), BodyFault::TooLong, "length not declared");
        assert_eq!(whole(b"1", Some(6)).await.unwrap_err(), BodyFault::TooLong, "declared too long");
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up() {
        let stalled = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read_body(stalled, None, 5, Duration::from_millis(1)).await.unwrap_err(), BodyFault::TooSlow);
    }
}

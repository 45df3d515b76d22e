//! Reads one `json-torrent` frame of bounded size from a socket. What is in it is decoded
//! elsewhere.

use std::io;

use bytes::{Bytes, BytesMut};
use sow_wire::framing::{FramingError, HEAD_LENGTH, take_frame};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The length exceeds the limit. Nothing after it was read.
    #[error(transparent)]
    TooLong(#[from] FramingError),
    /// The connection failed, or ended before the frame did.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the body of one frame of at most `limit` bytes. Memory is allocated as bytes arrive, not
/// by the length that the peer claims. There is one frame in each direction, so bytes behind it are
/// discarded.
pub(crate) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Bytes, FrameError> {
    let mut received = BytesMut::new();
    loop {
        if let Some(body) = take_frame(&mut received, limit)? {
            return Ok(body);
        }
        let wanted = (HEAD_LENGTH + limit - received.len()) as u64;
        if (&mut *stream).take(wanted).read_buf(&mut received).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use sow_wire::framing::{frame, head};

    use super::*;

    #[tokio::test]
    async fn a_frame_is_complete_or_an_error() {
        let bytes = [frame(b"body"), b"more".to_vec()].concat();
        assert_eq!(read_frame(&mut &bytes[..], 4).await.unwrap(), &b"body"[..]);
        assert_eq!(read_frame(&mut &frame(b"")[..], 4).await.unwrap(), Bytes::new());
        for length in 0..12 {
            let cut = read_frame(&mut &bytes[..length], 4).await;
            let Err(FrameError::Io(error)) = cut else { panic!("{cut:?}") };
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_an_error() {
        for length in [5, 1 << 32, u64::MAX] {
            let claimed = read_frame(&mut &head(length)[..], 4).await;
            let expected = FramingError::TooLong { length, limit: 4 };
            assert!(
                matches!(claimed, Err(FrameError::TooLong(error)) if error == expected),
                "{claimed:?}"
            );
        }
    }
}

//! Small frames of document 2 on a socket: one that is read, whole and bounded. What is inside is
//! others' affair.

use std::io;

use bytes::{Bytes, BytesMut};
use sow_wire::framing::{FramingError, HEAD_LENGTH, take_frame};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why no frame was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// A length over the bound. Nothing after it was read.
    #[error(transparent)]
    TooLong(#[from] FramingError),
    /// The connection failed, or ended before the frame did.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the body of one frame of at most `limit` bytes. Memory is taken as bytes arrive, not as
/// they are promised. There is one frame each way, so what comes with it behind it is of no use to
/// anybody.
pub(crate) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Bytes, FrameError> {
    let mut received = BytesMut::new();
    loop {
        if let Some(body) = take_frame(&mut received, limit)? {
            return Ok(body);
        }
        let most = (HEAD_LENGTH + limit - received.len()) as u64;
        if (&mut *stream).take(most).read_buf(&mut received).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use sow_wire::framing::{frame, head};

    use super::*;

    #[tokio::test]
    async fn a_frame_is_whole_or_an_error() {
        let bytes = [frame(b"body"), b"more".to_vec()].concat();
        assert_eq!(read_frame(&mut &bytes[..], 4).await.unwrap(), &b"body"[..]);
        assert_eq!(read_frame(&mut &frame(b"")[..], 4).await.unwrap(), Bytes::new());
        for length in 0..12 {
            let cut = read_frame(&mut &bytes[..length], 4).await;
            assert!(
                matches!(cut, Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof)
            );
        }
    }

    #[tokio::test]
    async fn a_length_is_a_claim() {
        for length in [5, 1 << 32, u64::MAX] {
            let claimed = read_frame(&mut &head(length)[..], 4).await;
            let due = FramingError::TooLong { length, limit: 4 };
            assert!(
                matches!(claimed, Err(FrameError::TooLong(error)) if error == due),
                "{claimed:?}"
            );
        }
    }
}

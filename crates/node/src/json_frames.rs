//! Small frames of document 2 on a socket: one that is read, whole and bounded. What is inside is others' affair.

use std::io;

use sow_wire::framing::{HEAD_LENGTH, length_of};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why no frame was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// A length over the bound. Nothing after it was read.
    #[error("a frame of {length} bytes; at most {limit} are accepted")]
    TooLong { length: u64, limit: usize },
    /// The connection failed, or ended before the frame did.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the body of one frame of at most `limit` bytes. Memory is taken as bytes arrive, not as they are promised.
pub(crate) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Vec<u8>, FrameError> {
    let mut head = [0; HEAD_LENGTH];
    stream.read_exact(&mut head).await?;
    let length = length_of(head);
    if length > limit as u64 {
        return Err(FrameError::TooLong { length, limit });
    }
    let mut body = Vec::new();
    (&mut *stream).take(length).read_to_end(&mut body).await?;
    if body.len() as u64 == length {
        Ok(body)
    } else {
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }
}

#[cfg(test)]
mod tests {
    use sow_wire::framing::{frame, head};

    use super::*;

    #[tokio::test]
    async fn a_frame_is_whole_or_an_error() {
        let bytes = [frame(b"body"), b"more".to_vec()].concat();
        let mut stream = &bytes[..];
        assert_eq!(read_frame(&mut stream, 4).await.unwrap(), b"body");
        assert_eq!(stream, b"more");
        assert_eq!(read_frame(&mut &frame(b"")[..], 4).await.unwrap(), b"");
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
            assert!(
                matches!(claimed, Err(FrameError::TooLong { length: found, limit: 4 }) if found == length)
            );
        }
    }
}

//! Detects the protocol of an accepted connection by its first bytes. They are read, not peeked at:
//! a peer that sends too few of them would keep a peeking task spinning.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use sow_wire::{
    bittorrent::handshake::HANDSHAKE_PREFIX,
    chunk,
    json_torrent::{self, Opening},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The HTTP methods that a handler here, a browser or a scanner may begin with.
const HTTP_METHODS: [&[u8]; 6] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"OPTIONS ", b"DELETE "];

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    BitTorrent,
    Http,
    Chunk,
    JsonTorrent,
    /// A request to a `json-torrent` tracker.
    JsonTracker,
    Unknown,
}

/// Reads until the protocol is clear, at most twenty bytes. Returns what was read, too.
///
/// # Errors
/// When the connection fails or ends first.
pub(crate) async fn sniff(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<(Protocol, Vec<u8>)> {
    let mut read = Vec::with_capacity(HANDSHAKE_PREFIX.len());
    loop {
        if let Some(protocol) = detect(&read) {
            return Ok((protocol, read));
        }
        let rest = (HANDSHAKE_PREFIX.len() - read.len()) as u64;
        if (&mut *stream).take(rest).read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// `None`: more bytes are needed.
fn detect(read: &[u8]) -> Option<Protocol> {
    if read.len() >= HANDSHAKE_PREFIX.len() && read.starts_with(HANDSHAKE_PREFIX) {
        Some(Protocol::BitTorrent)
    } else if HTTP_METHODS.iter().any(|method| read.starts_with(method)) {
        Some(Protocol::Http)
    } else if read.starts_with(chunk::HELLO_PREFIX) {
        Some(Protocol::Chunk)
    } else if read.first() == Some(&0) {
        json_torrent::opening(read).map(|opening| match opening {
            Opening::Peer => Protocol::JsonTorrent,
            Opening::TrackerRequest => Protocol::JsonTracker,
            Opening::Unknown => Protocol::Unknown,
        })
    } else if chunk::HELLO_PREFIX.starts_with(read)
        || HANDSHAKE_PREFIX.starts_with(read)
        || HTTP_METHODS.iter().any(|method| method.starts_with(read))
    {
        None
    } else {
        Some(Protocol::Unknown)
    }
}

/// A stream that returns bytes which were read already before it reads more.
#[derive(Debug)]
pub(crate) struct Rewound<S> {
    first: Vec<u8>,
    stream: S,
}

impl<S> Rewound<S> {
    pub(crate) fn new(first: Vec<u8>, stream: S) -> Self {
        Self { first, stream }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..count]);
        self.first.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn sniff_split(bytes: &[u8], at: usize) -> io::Result<(Protocol, Vec<u8>)> {
        let (mut peer, mut stream) = tokio::io::duplex(1024);
        peer.write_all(&bytes[..at]).await?;
        let sniffing = tokio::spawn(async move { sniff(&mut stream).await });
        tokio::task::yield_now().await;
        // The other end may have read enough, and be gone.
        let _ = peer.write_all(&bytes[at..]).await;
        drop(peer);
        sniffing.await.unwrap()
    }

    #[tokio::test]
    async fn protocols_are_told_apart_in_any_segmentation() {
        let cases: [(&[u8], Protocol); 10] = [
            (b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05", Protocol::BitTorrent),
            (b"GET /announce?info_hash=%12 HTTP/1.1\r\n", Protocol::Http),
            (b"POST / HTTP/1.1\r\n", Protocol::Http),
            (b"\x16\x03\x01\x02\x00 a TLS client hello", Protocol::Unknown),
            (b"\x13BitTorrent protocoL", Protocol::Unknown),
            (b"CHEL 51000\r\n", Protocol::Chunk),
            (b"CHEK 51000\r\n", Protocol::Unknown),
            (b"\0\0\0\0\0\0\0\x06\0\0\0\x02\x05\x01", Protocol::JsonTorrent),
            (b"\0\0\0\0\0\0\0\x10{\"port\": 5555 }", Protocol::JsonTracker),
            (b"\0\x01\0\0\0\0\0\x10", Protocol::Unknown),
        ];
        for (bytes, expected) in cases {
            for at in 0..bytes.len().min(24) {
                let (protocol, read) = sniff_split(bytes, at).await.unwrap();
                assert_eq!(protocol, expected, "{bytes:?} split at {at}");
                assert!(read.len() <= 20 && bytes.starts_with(&read));
            }
        }
    }

    #[tokio::test]
    async fn an_early_end_is_an_error() {
        for bytes in [&b""[..], b"G", b"\x13BitTor"] {
            assert!(sniff_split(bytes, 0).await.is_err());
        }
    }

    #[tokio::test]
    async fn bytes_that_were_read_come_first() {
        let (mut peer, stream) = tokio::io::duplex(64);
        peer.write_all(b"there").await.unwrap();
        drop(peer);
        let mut all = String::new();
        Rewound::new(b"hello ".to_vec(), stream).read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "hello there");
    }
}

//! Payload from a store to a socket: from the page cache with sendfile(2), without passing through
//! this process. Where the kernel refuses that, or where the disk would have to be waited for, by
//! way of memory.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use rustix::{
    fs::sendfile,
    io::{Errno, ReadWriteFlags, preadv2},
    net::{SendFlags, send},
};
use sow_store::Segment;
use tokio::{
    io::Interest,
    net::{TcpStream, tcp::OwnedWriteHalf},
    task::spawn_blocking,
    time::timeout,
};

use crate::throttle::Throttle;

/// What is read into memory at a time where sendfile does not do, in bytes.
const READ_AHEAD: u64 = 256 * 1024;

/// Zeros to send, for padding.
const ZEROS: [u8; 4096] = [0; 4096];

/// The sending half of a socket.
#[derive(Debug)]
pub(crate) struct Sender {
    half: OwnedWriteHalf,
    up: Arc<Throttle>,
    /// Between two moments at which the peer takes something.
    stall: Duration,
    /// The kernel refused sendfile once.
    refused: bool,
    /// What was to be sent last was not in memory.
    cold: bool,
}

impl Sender {
    pub(crate) fn new(half: OwnedWriteHalf, up: Arc<Throttle>, stall: Duration) -> Self {
        Self { half, up, stall, refused: false, cold: false }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.half.as_ref()
    }

    /// Whether payload has to wait for its turn under a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.up.limits()
    }

    /// Whether the disk had to be waited for of late, so that it should be told what is needed
    /// next.
    pub(crate) fn is_cold(&self) -> bool {
        self.cold
    }

    /// Sends bytes that no limit applies to. `more`: others follow at once, so the kernel need not
    /// hurry.
    pub(crate) async fn send(&self, mut bytes: &[u8], more: bool) -> io::Result<()> {
        let flags = SendFlags::NOSIGNAL | if more { SendFlags::MORE } else { SendFlags::empty() };
        while !bytes.is_empty() {
            let sent = self.when_writable(|stream| Ok(send(stream, bytes, flags)?)).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Sends a block's head and its payload.
    pub(crate) async fn send_block(
        &mut self,
        head: &[u8],
        segments: Vec<Segment>,
    ) -> io::Result<()> {
        let mut left: u64 = segments.iter().map(Segment::length).sum();
        // The limit is asked first: a head that waits alone in the kernel would hold up what was
        // sent before it.
        let mut grant = self.grant(left).await?;
        self.send(head, true).await?;
        for segment in segments {
            let mut rest = Rest::of(segment);
            while rest.length() > 0 {
                if grant == 0 {
                    grant = self.grant(left).await?;
                }
                let sent = self.send_some(&mut rest, grant).await?;
                grant -= sent;
                left -= sent;
            }
        }
        Ok(())
    }

    /// Nothing more will be sent.
    pub(crate) fn finish(&self) {
        // A socket that is gone already needs no end.
        let _ = rustix::net::shutdown(self.stream(), rustix::net::Shutdown::Write);
    }

    /// Ends both directions, so that the receiving half notices.
    pub(crate) fn abort(&self) {
        let _ = rustix::net::shutdown(self.stream(), rustix::net::Shutdown::Both);
    }

    /// How much payload may go now, at least 1 and at most `left`.
    async fn grant(&self, left: u64) -> io::Result<u64> {
        if !self.up.limits() || left == 0 {
            return Ok(left);
        }
        // A peer that takes nothing must not use up anybody's turn.
        self.writable().await?;
        Ok(self.up.take(usize::try_from(left).unwrap_or(usize::MAX)).await as u64)
    }

    /// Sends some of `rest`, at most `most` bytes; how much.
    async fn send_some(&mut self, rest: &mut Rest, most: u64) -> io::Result<u64> {
        let sent = match rest {
            Rest::File { file, offset, length, cached } => {
                let count = (*length).min(most);
                if !*cached {
                    *cached = is_cached(file, *offset + *length - 1);
                    self.cold = !*cached;
                }
                if *cached && !self.refused {
                    match self.send_from_file(file, offset, count).await {
                        Ok(sent) => {
                            *length -= sent;
                            return Ok(sent);
                        }
                        Err(error) if is_refusal(&error) => self.refused = true,
                        Err(error) => return Err(error),
                    }
                }
                let count = (*length).min(READ_AHEAD);
                let bytes = read(Arc::clone(file), *offset, count).await?;
                let after = (Arc::clone(file), *offset + count, *length - count);
                *rest = Rest::Bytes { bytes, after: Some(after) };
                0
            }
            Rest::Bytes { bytes, after } => {
                let now = bytes.split_to(bytes.len().min(most as usize));
                self.send(&now, false).await?;
                if bytes.is_empty()
                    && let Some((file, offset, length)) = after.take()
                {
                    *rest = Rest::File { file, offset, length, cached: false };
                }
                now.len() as u64
            }
            Rest::Zeros(length) => {
                let now = (*length).min(most).min(ZEROS.len() as u64);
                self.send(&ZEROS[..now as usize], false).await?;
                *length -= now;
                now
            }
        };
        Ok(sent)
    }

    async fn send_from_file(&self, file: &File, offset: &mut u64, count: u64) -> io::Result<u64> {
        let sent = self
            .when_writable(|stream| Ok(sendfile(stream, file, Some(offset), count as usize)?))
            .await?;
        match sent {
            0 => Err(cut_off()),
            sent => Ok(sent as u64),
        }
    }

    /// Repeats what would block once the socket takes something again.
    async fn when_writable<T>(
        &self,
        mut work: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match self.stream().try_io(Interest::WRITABLE, || work(self.stream())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match timeout(self.stall, self.half.writable()).await {
            Ok(ready) => ready,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it takes nothing")),
        }
    }
}

/// What is left to send of a segment.
enum Rest {
    /// `cached`: it was seen to be in memory.
    File {
        file: Arc<File>,
        offset: u64,
        length: u64,
        cached: bool,
    },
    /// In memory, and then perhaps more of a file.
    Bytes {
        bytes: Bytes,
        after: Option<(Arc<File>, u64, u64)>,
    },
    Zeros(u64),
}

impl Rest {
    fn of(segment: Segment) -> Self {
        match segment {
            Segment::File { file, offset, length } => {
                Self::File { file, offset, length, cached: false }
            }
            Segment::Bytes(bytes) => Self::Bytes { bytes, after: None },
            Segment::Zeros(length) => Self::Zeros(length),
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } | Self::Zeros(length) => *length,
            Self::Bytes { bytes, after } => {
                bytes.len() as u64 + after.as_ref().map_or(0, |(_, _, length)| *length)
            }
        }
    }
}

/// Whether the page with a byte is in memory, so that sendfile will not wait for a disk (nor a
/// whole thread with it). File systems that cannot tell are taken to be in memory.
fn is_cached(file: &File, at: u64) -> bool {
    let mut byte = [0];
    let mut bytes = [io::IoSliceMut::new(&mut byte)];
    preadv2(file, &mut bytes, at, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN)
}

/// Whether an error says that sendfile cannot be used with this pair.
fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
    error
        .raw_os_error()
        .is_some_and(|code| refusals.iter().any(|refusal| refusal.raw_os_error() == code))
}

/// Reads from a file on a thread that may wait.
async fn read(file: Arc<File>, offset: u64, length: u64) -> io::Result<Bytes> {
    let reading = spawn_blocking(move || {
        let mut bytes = BytesMut::zeroed(length as usize);
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.freeze())
    });
    reading.await.map_err(io::Error::other)?
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::{io::AsyncReadExt, net::TcpListener, time::Instant};

    use super::*;

    async fn pair(up: Option<u64>, stall: Duration) -> (Sender, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, half) = listener.accept().await.unwrap().0.into_split();
        // The receiving half closes nothing when it goes.
        (Sender::new(half, Arc::new(Throttle::new(up)), stall), peer)
    }

    fn content() -> (Vec<u8>, Arc<File>) {
        let bytes: Vec<u8> = (0..700_000u32).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (bytes, Arc::new(file))
    }

    async fn all_of(mut peer: TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        timeout(Duration::from_secs(20), peer.read_to_end(&mut all)).await.unwrap().unwrap();
        all
    }

    #[tokio::test]
    async fn every_kind_of_segment_arrives_as_it_is() {
        for (refused, up) in
            [(false, None), (true, None), (false, Some(50_000_000)), (true, Some(50_000_000))]
        {
            let (bytes, file) = content();
            let (mut sender, peer) = pair(up, Duration::from_secs(20)).await;
            sender.refused = refused;
            let segments = vec![
                Segment::File { file, offset: 1000, length: 600_000 },
                Segment::Zeros(10_000),
                Segment::Bytes(Bytes::from_static(b"the end")),
            ];
            let receiving = tokio::spawn(all_of(peer));
            sender.send_block(b"head", segments).await.unwrap();
            sender.finish();
            let got = receiving.await.unwrap();
            assert_eq!(got.len(), 4 + 600_000 + 10_000 + 7);
            assert!(got.starts_with(b"head") && got.ends_with(b"\0the end"));
            assert!(got[4..600_004] == bytes[1000..601_000], "the file's part differs");
        }
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        for refused in [false, true] {
            let (_, file) = content();
            let (mut sender, _peer) = pair(None, Duration::from_secs(20)).await;
            sender.refused = refused;
            let segment = Segment::File { file, offset: 699_000, length: 2000 };
            let error = sender.send_block(&[], vec![segment]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn what_only_the_disk_has_is_read_where_waiting_is_allowed() {
        let (bytes, file) = content();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let (mut sender, peer) = pair(None, Duration::from_secs(20)).await;
        let receiving = tokio::spawn(all_of(peer));
        let segment = Segment::File { file, offset: 0, length: 700_000 };
        sender.send_block(b"", vec![segment]).await.unwrap();
        sender.finish();
        assert!(receiving.await.unwrap() == bytes, "what arrived differs");
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up() {
        let (_, file) = content();
        let (mut sender, _peer) = pair(None, Duration::from_millis(300)).await;
        let start = Instant::now();
        let ending = timeout(Duration::from_secs(20), async {
            loop {
                let segment = Segment::File { file: Arc::clone(&file), offset: 0, length: 700_000 };
                if let Err(error) = sender.send_block(&[], vec![segment]).await {
                    return error;
                }
            }
        });
        assert_eq!(ending.await.unwrap().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(300));
    }

    #[tokio::test]
    async fn the_limit_is_kept() {
        let (_, file) = content();
        let (mut sender, peer) = pair(Some(2_000_000), Duration::from_secs(20)).await;
        let receiving = tokio::spawn(all_of(peer));
        let start = Instant::now();
        let segment = Segment::File { file, offset: 0, length: 700_000 };
        sender.send_block(&[], vec![segment]).await.unwrap();
        sender.finish();
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(receiving.await.unwrap().len(), 700_000);
        assert!((0.29..5.0).contains(&seconds), "0.7 MB at 2 MB/s took {seconds} s");
    }

    #[test]
    fn what_was_just_written_is_cached() {
        let (_, file) = content();
        assert!(is_cached(&file, 0) && is_cached(&file, 699_999));
    }
}

//! Where payload leaves: from a store to a socket. It goes from the page cache with sendfile(2),
//! without passing through this process. If the kernel refuses that, or the disk would have to be
//! waited for, it goes through memory. What is sent, and when, is not decided here.

use std::{fs::File, io, net::Ipv4Addr, os::unix::fs::FileExt, sync::Arc, time::Duration};

use super::pace::Pace;
use bytes::{Buf, Bytes, BytesMut};
use rustix::{
    fs::sendfile,
    io::{Errno, ReadWriteFlags, preadv2},
    net::{SendFlags, send},
};
use sow_engine::network_of;
use sow_store::Segment;
use tokio::{
    io::Interest,
    net::{TcpStream, tcp::OwnedWriteHalf},
    task::spawn_blocking,
    time::timeout,
};

use crate::throttle::{Flow, Service, Throttle};

/// How much is read into memory at a time where sendfile is not used, in bytes.
const READ_SIZE: u64 = 256 * 1024;

/// Zeros to send, for padding.
const ZEROS: [u8; 4096] = [0; 4096];

/// The sending half of a socket.
#[derive(Debug)]
pub(crate) struct PayloadSender {
    half: OwnedWriteHalf,
    upload_limit: Arc<Throttle>,
    flow: Flow,
    /// Measures the peer, if it is measured.
    pace: Option<Arc<Pace>>,
    /// The time limit between two moments at which the peer takes bytes.
    stall_timeout: Duration,
    /// The kernel has refused sendfile once.
    is_sendfile_refused: bool,
    /// The last payload was not in the page cache.
    is_cold: bool,
}

impl PayloadSender {
    pub(crate) fn new(
        half: OwnedWriteHalf,
        upload_limit: Arc<Throttle>,
        stall_timeout: Duration,
    ) -> Self {
        let peer = half.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
        let flow = Flow { service: Service::Swarm, network: network_of(peer), rank: 0 };
        Self {
            half,
            upload_limit,
            flow,
            pace: None,
            stall_timeout,
            is_sendfile_refused: false,
            is_cold: false,
        }
    }

    /// The same for a client of `raw` or `framed`, which is measured.
    pub(crate) fn for_client(mut self, pace: Arc<Pace>) -> Self {
        self.flow.service = Service::ClientServer;
        self.pace = Some(pace);
        self
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.half.as_ref()
    }

    /// Whether payload waits for a rate limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.upload_limit.limits()
    }

    /// Whether the last payload had to be read from the disk, so that prefetching the next one
    /// helps.
    pub(crate) fn is_cold(&self) -> bool {
        self.is_cold
    }

    /// Sends bytes that no rate limit applies to. `more`: other bytes follow at once, so the kernel
    /// may wait for them.
    pub(crate) async fn send(&self, mut bytes: &[u8], more: bool) -> io::Result<()> {
        let flags = SendFlags::NOSIGNAL | if more { SendFlags::MORE } else { SendFlags::empty() };
        while !bytes.is_empty() {
            let sent = self.when_writable(|stream| Ok(send(stream, bytes, flags)?)).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Sends the header of a block and its payload.
    pub(crate) async fn send_block(
        &mut self,
        head: &[u8],
        segments: Vec<Segment>,
    ) -> io::Result<SentBlock> {
        let mut left: u64 = segments.iter().map(Segment::length).sum();
        // The limit is asked first: a header that waits alone in the kernel would hold up the bytes
        // before it.
        let mut grant = self.grant(left).await?;
        self.send(head, true).await?;
        for segment in segments {
            let mut remaining = Remaining::of(segment);
            while remaining.length() > 0 {
                if grant.bytes == 0 {
                    grant = self.grant(left).await?;
                }
                let sent = match self.send_some(&mut remaining, grant.bytes).await {
                    Ok(sent) => sent,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Ok(SentBlock::CutShort { missing: left });
                    }
                    Err(error) => return Err(error),
                };
                if let Some(pace) = &self.pace {
                    pace.sent(sent.unwrap_or(0));
                }
                match sent {
                    Some(sent) => {
                        grant.bytes -= sent;
                        left -= sent;
                    }
                    // What the socket does not take now is for other connections.
                    None => grant = Grant::none(&self.upload_limit),
                }
            }
        }
        Ok(SentBlock::Whole)
    }

    /// Sends zeros in place of payload that is no longer in the file, so that messages may follow.
    pub(crate) async fn send_zeros(&self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let now = count.min(ZEROS.len() as u64);
            self.send(&ZEROS[..now as usize], false).await?;
            count -= now;
        }
        Ok(())
    }

    /// Shuts down the sending direction.
    pub(crate) fn finish(&self) {
        // This fails only if the connection is gone.
        let _ = rustix::net::shutdown(self.stream(), rustix::net::Shutdown::Write);
    }

    /// Shuts down both directions, so that the receiving half notices.
    pub(crate) fn abort(&self) {
        let _ = rustix::net::shutdown(self.stream(), rustix::net::Shutdown::Both);
    }

    /// How much payload may be sent now, at least 1 and at most `left`.
    async fn grant(&self, left: u64) -> io::Result<Grant> {
        let mut grant = Grant::none(&self.upload_limit);
        if !self.upload_limit.limits() || left == 0 {
            grant.bytes = left;
            return Ok(grant);
        }
        // A peer that takes nothing, or has gone, must not use a share of the limit.
        self.writable().await?;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        tokio::select! {
            biased;
            error = self.failed() => Err(error),
            taken = self.upload_limit.take_for(self.flow, wanted) => {
                grant.bytes = taken as u64;
                Ok(grant)
            }
        }
    }

    /// Returns when the connection is reset.
    async fn failed(&self) -> io::Error {
        match self.stream().ready(Interest::ERROR).await {
            Ok(_) => {
                let error = self.stream().take_error().ok().flatten();
                error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
            }
            Err(error) => error,
        }
    }

    /// Sends some of `remaining`, at most `limit` bytes. Returns how many; `None` if the socket
    /// takes nothing now and the bytes count against a rate limit.
    async fn send_some(
        &mut self,
        remaining: &mut Remaining,
        limit: u64,
    ) -> io::Result<Option<u64>> {
        let sent = match remaining {
            Remaining::File { file, offset, length, is_cached } => {
                let count = (*length).min(limit);
                if !*is_cached {
                    *is_cached = is_in_page_cache(file, *offset + *length - 1);
                    self.is_cold = !*is_cached;
                }
                if *is_cached && !self.is_sendfile_refused {
                    match self.send_from_file(file, offset, count).await {
                        Ok(Some(sent)) => {
                            *length -= sent;
                            return Ok(Some(sent));
                        }
                        Ok(None) => return Ok(None),
                        Err(error) if is_refusal(&error) => self.is_sendfile_refused = true,
                        Err(error) => return Err(error),
                    }
                }
                let count = (*length).min(READ_SIZE);
                let bytes = read(Arc::clone(file), *offset, count).await?;
                let after = (Arc::clone(file), *offset + count, *length - count);
                *remaining = Remaining::Bytes { bytes, after: Some(after) };
                0
            }
            Remaining::Bytes { bytes, after } => {
                let count = bytes.len().min(limit as usize);
                let Some(sent) = self.send_from_memory(&bytes[..count]).await? else {
                    return Ok(None);
                };
                bytes.advance(sent);
                if bytes.is_empty()
                    && let Some((file, offset, length)) = after.take()
                {
                    *remaining = Remaining::File { file, offset, length, is_cached: false };
                }
                sent as u64
            }
            Remaining::Zeros(length) => {
                let count = (*length).min(limit).min(ZEROS.len() as u64);
                let Some(sent) = self.send_from_memory(&ZEROS[..count as usize]).await? else {
                    return Ok(None);
                };
                *length -= sent as u64;
                sent as u64
            }
        };
        Ok(Some(sent))
    }

    async fn send_from_file(
        &self,
        file: &File,
        offset: &mut u64,
        count: u64,
    ) -> io::Result<Option<u64>> {
        let work = |stream: &TcpStream| Ok(sendfile(stream, file, Some(offset), count as usize)?);
        match self.send_payload(work).await? {
            Some(0) => Err(file_truncated()),
            sent => Ok(sent.map(|sent| sent as u64)),
        }
    }

    async fn send_from_memory(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.send_payload(|stream| Ok(send(stream, bytes, SendFlags::NOSIGNAL)?)).await
    }

    /// Runs `work` when the socket is writable. If a rate limit applies and the socket takes
    /// nothing now, returns `None` instead of waiting, so that the bytes can be given back.
    async fn send_payload<T>(
        &self,
        mut work: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        if !self.is_limited() {
            return self.when_writable(work).await.map(Some);
        }
        match self.stream().try_io(Interest::WRITABLE, || work(self.stream())) {
            Err(error) if is_for_later(&error) => Ok(None),
            done => done.map(Some),
        }
    }

    /// Runs `work`, and again when the socket is writable as long as `work` would block.
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
        let _waiting = self.pace.as_ref().map(|pace| pace.wait());
        match timeout(self.stall_timeout, self.half.writable()).await {
            Ok(ready) => ready,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")),
        }
    }
}

/// How much of a block was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SentBlock {
    /// All of it.
    Whole,
    /// The file has become shorter: the last bytes do not exist any more.
    CutShort {
        /// How many bytes were not sent.
        missing: u64,
    },
}

/// Bytes that may pass a rate limit. What is not used is given back.
struct Grant {
    limit: Arc<Throttle>,
    bytes: u64,
}

impl Grant {
    fn none(limit: &Arc<Throttle>) -> Self {
        Self { limit: Arc::clone(limit), bytes: 0 }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.limit.give_back(self.bytes as usize);
        }
    }
}

/// What is left to send of a segment.
enum Remaining {
    /// `is_cached`: it was seen in the page cache.
    File {
        file: Arc<File>,
        offset: u64,
        length: u64,
        is_cached: bool,
    },
    /// Bytes in memory, and then perhaps more of a file: its offset and length.
    Bytes {
        bytes: Bytes,
        after: Option<(Arc<File>, u64, u64)>,
    },
    Zeros(u64),
}

impl Remaining {
    fn of(segment: Segment) -> Self {
        match segment {
            Segment::File { file, offset, length } => {
                Self::File { file, offset, length, is_cached: false }
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

/// Whether the page with a byte is in the page cache, so that sendfile does not wait for a disk and
/// block its thread. A file system that cannot tell counts as cached.
fn is_in_page_cache(file: &File, at: u64) -> bool {
    let mut byte = [0];
    let mut bytes = [io::IoSliceMut::new(&mut byte)];
    preadv2(file, &mut bytes, at, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN)
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Whether an error says that sendfile does not work with this file and this socket.
fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
    error
        .raw_os_error()
        .is_some_and(|code| refusals.iter().any(|refusal| refusal.raw_os_error() == code))
}

/// Reads from a file on a blocking thread.
pub(crate) async fn read(file: Arc<File>, offset: u64, length: u64) -> io::Result<Bytes> {
    let reading = spawn_blocking(move || {
        let mut bytes = BytesMut::zeroed(length as usize);
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.freeze())
    });
    reading.await.map_err(io::Error::other)?
}

fn file_truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::{io::AsyncReadExt, net::TcpListener, time::Instant};

    use super::*;

    async fn pair(up: Option<u64>, stall: Duration) -> (PayloadSender, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, half) = listener.accept().await.unwrap().0.into_split();
        // Dropping the receiving half closes nothing.
        (PayloadSender::new(half, Arc::new(Throttle::new(up)), stall), peer)
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
    async fn every_kind_of_segment_arrives_unchanged() {
        for (refused, up) in
            [(false, None), (true, None), (false, Some(50_000_000)), (true, Some(50_000_000))]
        {
            let (bytes, file) = content();
            let (mut sender, peer) = pair(up, Duration::from_secs(20)).await;
            sender.is_sendfile_refused = refused;
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
    async fn a_file_that_became_shorter_is_noticed() {
        for refused in [false, true] {
            let (_, file) = content();
            let (mut sender, _peer) = pair(None, Duration::from_secs(20)).await;
            sender.is_sendfile_refused = refused;
            let segment = Segment::File { file, offset: 699_000, length: 2000 };
            let sent = sender.send_block(&[], vec![segment]).await.unwrap();
            assert!(matches!(sent, SentBlock::CutShort { missing: 1000 | 2000 }), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn what_is_only_on_the_disk_is_read_on_a_blocking_thread() {
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
    async fn a_peer_that_takes_nothing_is_given_up() {
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
    async fn a_peer_that_takes_nothing_or_has_gone_uses_no_share_of_the_limit() {
        let (_, file) = content();
        let (mut sender, peer) = pair(Some(4_000_000), Duration::from_secs(20)).await;
        let limit = Arc::clone(&sender.upload_limit);
        let sending = tokio::spawn(async move {
            let mut sent = Ok(SentBlock::Whole);
            while sent.is_ok() {
                let segment = Segment::File { file: Arc::clone(&file), offset: 0, length: 700_000 };
                sent = sender.send_block(&[], vec![segment]).await;
            }
            sent
        });
        // The kernel takes a few MB before it takes no more.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let start = Instant::now();
        let mut got = 0;
        while got < 400_000 {
            got += limit.take(80_000).await;
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(300), "0.4 MB at 4 MB/s took {took:?}");
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let ended = timeout(Duration::from_secs(5), sending).await.unwrap().unwrap();
        assert!(ended.is_err());
    }

    #[tokio::test]
    async fn the_upload_limit_is_kept() {
        let (_, file) = content();
        let (mut sender, peer) = pair(Some(2_000_000), Duration::from_secs(20)).await;
        let receiving = tokio::spawn(all_of(peer));
        let start = Instant::now();
        let segment = Segment::File { file, offset: 0, length: 700_000 };
        sender.send_block(&[], vec![segment]).await.unwrap();
        sender.finish();
        // That no more is lost to the limit than necessary is tested in `throttle`.
        let took = start.elapsed();
        assert_eq!(receiving.await.unwrap().len(), 700_000);
        assert!(took >= Duration::from_millis(290), "0.7 MB at 2 MB/s took {took:?}");
    }

    #[test]
    fn what_was_just_written_is_in_the_page_cache() {
        let (_, file) = content();
        assert!(is_in_page_cache(&file, 0) && is_in_page_cache(&file, 699_999));
    }
}

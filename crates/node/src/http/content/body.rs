//! The bytes of a file as the body of an answer. They are read from the page cache while the client
//! takes them, at most one part ahead; a disk is waited for on a thread that may block.
//!
//! `sendfile` is for connections of which this process has the socket to itself. Here the HTTP
//! library writes to it, so each part is copied once.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use rustix::{
    fs::fstat,
    io::{Errno, ReadWriteFlags, preadv2},
};
use sow_store::{Segment, SharedStore, Store};
use tokio::task::spawn_blocking;

use super::condition::ContentCondition;
use crate::{
    connection::sendfile::read,
    throttle::{Flow, Throttle},
};

/// The maximum size of a part, in bytes.
const PART_SIZE: u64 = 256 * 1024;

/// What is sent: some text, and a range of the content behind it. Each may be empty.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) head: Bytes,
    pub(super) range: Range<u64>,
}

/// Reads sections, part by part.
pub(super) struct FileReader {
    store: SharedStore,
    /// `None` until the first part is read.
    open: Option<Arc<Store>>,
    left: VecDeque<Section>,
    condition: ContentCondition,
    limit: (Arc<Throttle>, Flow),
    /// The state of the file when a part of it was last read.
    last_seen: Option<Stamp>,
}

/// What tells that a file was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: i64,
    modified: (i64, i64),
    /// The time of its status (`ctime`), which no program can set back.
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let stat = fstat(file)?;
        let modified = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        let changed = (stat.st_ctime as i64, stat.st_ctime_nsec as i64);
        Ok(Self { inode: stat.st_ino, length: stat.st_size, modified, changed })
    }

    /// The time of the last change.
    fn time(&self) -> SystemTime {
        let (seconds, nanoseconds) = self.changed;
        let since = Duration::new(seconds.max(0) as u64, nanoseconds.clamp(0, 999_999_999) as u32);
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }
}

impl FileReader {
    /// A reader of these sections.
    pub(super) fn new(
        store: SharedStore,
        sections: Vec<Section>,
        condition: ContentCondition,
        limit: (Arc<Throttle>, Flow),
    ) -> Self {
        Self { store, open: None, left: sections.into(), condition, limit, last_seen: None }
    }

    /// The parts; their bytes are added to `sent`. `kept` is dropped with them.
    pub(super) fn into_stream<K: Send + 'static>(
        self,
        sent: Arc<AtomicU64>,
        kept: K,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(Some((self, sent, kept)), async |state| {
            let (mut reader, sent, kept) = state?;
            let part = reader.next().await?;
            match &part {
                Ok(part) => {
                    sent.fetch_add(part.len() as u64, Ordering::Relaxed);
                }
                Err(error) => tracing::debug!(%error, "a download was cut off"),
            }
            let state = part.is_ok().then_some((reader, sent, kept));
            Some((part, state))
        })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let section = self.left.front_mut()?;
            if !section.head.is_empty() {
                return Some(Ok(std::mem::take(&mut section.head)));
            }
            let range = section.range.clone();
            if !range.is_empty() {
                let part = self.read(range).await;
                if let (Ok(part), Some(section)) = (&part, self.left.front_mut()) {
                    section.range.start += part.len() as u64;
                }
                return Some(part);
            }
            self.left.pop_front();
        }
    }

    /// Reads the first bytes of a range.
    async fn read(&mut self, range: Range<u64>) -> io::Result<Bytes> {
        let wanted = (range.end - range.start).min(PART_SIZE);
        let (limit, flow) = (Arc::clone(&self.limit.0), self.limit.1);
        let granted = limit.take_for(flow, wanted as usize).await as u64;
        // After the wait for the limit: it may be long.
        if !self.condition.is_right().await {
            return Err(withdrawn());
        }
        let range = range.start..range.start + granted;
        let store = self.open().await?;
        let segments = store.segments(range).map_err(io::Error::other)?;
        let Some(first) = segments.into_iter().next() else { return Err(withdrawn()) };
        let bytes = match first {
            Segment::File { file, offset, length } => {
                let bytes = match read_cached(&file, offset, length)? {
                    Some(bytes) => bytes,
                    None => read(Arc::clone(&file), offset, length).await?,
                };
                self.check(&file).await?;
                bytes
            }
            Segment::Bytes(bytes) => bytes,
            Segment::Zeros(length) => Bytes::from(vec![0; length as usize]),
        };
        limit.give_back((granted as usize).saturating_sub(bytes.len()));
        Ok(bytes)
    }

    /// The store, opened.
    async fn open(&mut self) -> io::Result<Arc<Store>> {
        if let Some(open) = &self.open {
            return Ok(Arc::clone(open));
        }
        let store = self.store.clone();
        let opened = spawn_blocking(move || store.open()).await.map_err(io::Error::other)?;
        let opened = opened.map_err(io::Error::other)?;
        self.open = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Cuts a download off whose file was written to since it began: what the client has may be of
    /// two states. Called after each read. A file that was touched or linked, or written to before
    /// the first read, is served when it was checked since.
    async fn check(&mut self, file: &File) -> io::Result<()> {
        let stamp = Stamp::of(file)?;
        if self.last_seen == Some(stamp) {
            return Ok(());
        }
        let is_written = |last: Stamp| Stamp { changed: stamp.changed, ..last } != stamp;
        if self.last_seen.is_some_and(is_written)
            || !self.condition.is_right_since(stamp.time()).await
            || Stamp::of(file)? != stamp
        {
            return Err(withdrawn());
        }
        self.last_seen = Some(stamp);
        Ok(())
    }
}

/// Reads what is in the page cache, at least one byte; `None` when a disk has to be waited for.
fn read_cached(file: &File, offset: u64, length: u64) -> io::Result<Option<Bytes>> {
    let mut bytes = BytesMut::zeroed(length as usize);
    let mut buffers = [io::IoSliceMut::new(&mut bytes)];
    let count = match preadv2(file, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => count,
        // Some file systems do not have it.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    bytes.truncate(count);
    Ok(Some(bytes.freeze()))
}

fn withdrawn() -> io::Error {
    io::Error::other("the file has changed while it was sent")
}

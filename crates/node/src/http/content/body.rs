//! The bytes of a file as the body of an answer. They are read from the page cache while the client
//! takes them, at most one part ahead; a disk is waited for on a thread that may block.
//!
//! `sendfile` is for connections of which this process has the socket to itself. Here the HTTP
//! library writes to it, so each part is copied once.

use std::{
    fs::File,
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use rustix::{
    fs::fstat,
    io::{Errno, ReadWriteFlags, preadv2},
};
use sow_store::{Segment, Store};

use super::condition::ContentCondition;
use crate::{
    connection::sendfile::read,
    throttle::{Flow, Throttle},
};

/// The maximum size of a part, in bytes.
const PART_SIZE: u64 = 256 * 1024;

/// Reads a range of the content, part by part.
pub(super) struct FileReader {
    store: Arc<Store>,
    left: Range<u64>,
    condition: ContentCondition,
    limit: (Arc<Throttle>, Flow),
    /// The state of the file when its first part was read.
    first_seen: Option<Stamp>,
}

/// What tells that a file was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: i64,
    modified: (i64, i64),
}

impl FileReader {
    /// A reader of `range`, which is not empty.
    pub(super) fn new(
        store: Arc<Store>,
        range: Range<u64>,
        condition: ContentCondition,
        limit: (Arc<Throttle>, Flow),
    ) -> Self {
        Self { store, left: range, condition, limit, first_seen: None }
    }

    /// The parts; their bytes are added to `sent`. `kept` is dropped with them.
    pub(super) fn into_stream<K: Send + 'static>(
        self,
        sent: Arc<AtomicU64>,
        kept: K,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(Some((self, sent, kept)), async |state| {
            let (mut reader, sent, kept) = state?;
            if reader.left.is_empty() {
                return None;
            }
            let part = reader.next().await;
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

    async fn next(&mut self) -> io::Result<Bytes> {
        let wanted = (self.left.end - self.left.start).min(PART_SIZE);
        let (limit, flow) = (Arc::clone(&self.limit.0), self.limit.1);
        let granted = limit.take_for(flow, wanted as usize).await as u64;
        // After the wait for the limit: it may be long.
        if !self.condition.is_right().await {
            return Err(withdrawn());
        }
        let range = self.left.start..self.left.start + granted;
        let segments = self.store.segments(range).map_err(io::Error::other)?;
        let Some(first) = segments.into_iter().next() else { return Err(withdrawn()) };
        let bytes = match first {
            Segment::File { file, offset, length } => {
                let bytes = match read_cached(&file, offset, length)? {
                    Some(bytes) => bytes,
                    None => read(Arc::clone(&file), offset, length).await?,
                };
                self.check(&file)?;
                bytes
            }
            Segment::Bytes(bytes) => bytes,
            Segment::Zeros(length) => Bytes::from(vec![0; length as usize]),
        };
        limit.give_back((granted as usize).saturating_sub(bytes.len()));
        self.left.start += bytes.len() as u64;
        Ok(bytes)
    }

    /// Cuts a download off whose file was written to since it began: what the client has may be of
    /// two states. Called after each read.
    fn check(&mut self, file: &File) -> io::Result<()> {
        let stat = fstat(file)?;
        let modified = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        let stamp = Stamp { inode: stat.st_ino, length: stat.st_size, modified };
        if *self.first_seen.get_or_insert(stamp) == stamp { Ok(()) } else { Err(withdrawn()) }
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

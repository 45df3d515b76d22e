//! Where a piece is verified: its SHA-1 is checked while it is in memory, then it is written and
//! noted in the journal. That runs on blocking threads, at most as many at a time as there are
//! cores. What the result means for peers is the engine's decision.

use std::{sync::Arc, thread::available_parallelism};

use bytes::Bytes;
use sow_content::{BLOCK_LENGTH, hash::Sha1};
use sow_engine::StoreOutcome;
use sow_store::{Store, StoreError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

/// The threads that hash and write pieces, shared by all swarms of a node. The number of waiting
/// pieces is bounded by the engines: a waiting piece is still an open one.
#[derive(Debug, Clone)]
pub(crate) struct HashPool {
    idle_threads: Arc<Semaphore>,
}

/// A piece of which every block has arrived.
#[derive(Debug)]
pub(crate) struct CompletePiece {
    pub(crate) piece: u32,
    /// Its bytes, in order.
    pub(crate) bytes: Vec<Bytes>,
    pub(crate) task: PieceTask,
}

/// What to do with a piece.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PieceTask {
    /// Check that its hash is this one, then write it.
    Verify {
        hash: [u8; 20],
        /// Return a digest of each block even if the hash is right.
        digests: bool,
    },
    /// Write it.
    Write,
    /// Write it if what is stored differs.
    WriteIfDifferent,
}

impl HashPool {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { idle_threads: Arc::new(Semaphore::new(cores)) }
    }

    /// Verifies and writes a piece as soon as a thread is idle, then calls `report` on that thread
    /// with the result. `report` may block.
    pub(crate) fn store(
        &self,
        complete: CompletePiece,
        store: Arc<Store>,
        report: impl FnOnce(StoreOutcome, Option<StoreError>) + Send + 'static,
    ) {
        let work = move |thread: OwnedSemaphorePermit| {
            let (verdict, error) = complete.verify_and_write(&store);
            drop(thread);
            // The receiver of the report may open the same target at once.
            drop(store);
            report(verdict, error);
        };
        match Arc::clone(&self.idle_threads).try_acquire_owned() {
            Ok(thread) => _ = spawn_blocking(move || work(thread)),
            Err(_) => {
                let idle_threads = Arc::clone(&self.idle_threads);
                tokio::spawn(async move {
                    // The semaphore is never closed.
                    if let Ok(thread) = idle_threads.acquire_owned().await {
                        spawn_blocking(move || work(thread));
                    }
                });
            }
        }
    }
}

impl CompletePiece {
    /// Verifies the piece, writes and journals it if it is right, and releases its blocks.
    fn verify_and_write(self, store: &Store) -> (StoreOutcome, Option<StoreError>) {
        let done = match self.task {
            PieceTask::Verify { hash, .. } if !self.has_hash(hash) => {
                Ok(StoreOutcome::Corrupt { digests: block_digests(&self.bytes) })
            }
            PieceTask::Verify { digests: true, .. } => self
                .write(store)
                .map(|()| StoreOutcome::Verified { digests: block_digests(&self.bytes) }),
            PieceTask::Verify { digests: false, .. } => {
                self.write(store).map(|()| StoreOutcome::Verified { digests: Vec::new() })
            }
            PieceTask::Write => {
                self.write(store).map(|()| StoreOutcome::WrittenUnverified { differed: false })
            }
            PieceTask::WriteIfDifferent => self
                .write_if_different(store)
                .map(|differed| StoreOutcome::WrittenUnverified { differed }),
        };
        done.map_or_else(|error| (StoreOutcome::Failed, Some(error)), |verdict| (verdict, None))
    }

    fn has_hash(&self, wanted: [u8; 20]) -> bool {
        let mut hash = Sha1::new();
        self.bytes.iter().for_each(|bytes| hash.update(bytes));
        hash.finish() == wanted
    }

    fn write(&self, store: &Store) -> Result<(), StoreError> {
        store.write_piece(self.piece, &self.bytes)?;
        store.journal(self.piece)
    }

    /// Writes the piece unless the store holds the same bytes. Returns whether they differed.
    fn write_if_different(&self, store: &Store) -> Result<bool, StoreError> {
        let range = store.geometry().range_of(self.piece);
        let mut stored = vec![0; (range.end - range.start) as usize];
        store.read(range, &mut stored)?;
        let mut rest = &stored[..];
        let same = self.bytes.iter().all(|bytes| {
            let (now, later) = rest.split_at(bytes.len().min(rest.len()));
            rest = later;
            now == &bytes[..]
        });
        if !same {
            self.write(store)?;
        }
        Ok(!same)
    }
}

/// The SHA-1 of each [`BLOCK_LENGTH`] bytes; the last one covers what is left.
fn block_digests(bytes: &[Bytes]) -> Vec<[u8; 20]> {
    let (mut digests, mut hash, mut room) = (Vec::new(), Sha1::new(), BLOCK_LENGTH as usize);
    for mut rest in bytes.iter().map(|bytes| &bytes[..]) {
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(room));
            hash.update(now);
            room -= now.len();
            if room == 0 {
                digests.push(std::mem::take(&mut hash).finish());
                room = BLOCK_LENGTH as usize;
            }
            rest = later;
        }
    }
    if room < BLOCK_LENGTH as usize {
        digests.push(hash.finish());
    }
    digests
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sow_content::{Geometry, hash::sha1};
    use sow_store::MemoryStore;
    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    fn runs(bytes: &[u8], step: usize) -> Vec<Bytes> {
        bytes.chunks(step).map(Bytes::copy_from_slice).collect()
    }

    async fn stored(
        complete: CompletePiece,
        store: &Arc<Store>,
    ) -> (StoreOutcome, Option<StoreError>) {
        let (sender, result) = oneshot::channel();
        HashPool::new().store(complete, Arc::clone(store), |verdict, error| {
            sender.send((verdict, error)).unwrap();
        });
        timeout(Duration::from_secs(20), result).await.unwrap().unwrap()
    }

    #[test]
    fn digests_do_not_depend_on_how_the_bytes_came() {
        let content: Vec<u8> = (0..100_000u32).map(|at| (at * 7) as u8).collect();
        for length in [1, 16384, 16385, 32768, 100_000] {
            let content = &content[..length];
            let want: Vec<[u8; 20]> = content.chunks(16384).map(sha1).collect();
            for step in [1000, 16384, 50_000] {
                assert_eq!(block_digests(&runs(content, step)), want);
            }
        }
    }

    #[tokio::test]
    async fn only_what_verifies_is_written() {
        let content: Vec<u8> = (0..50_000u32).map(|at| (at * 3) as u8).collect();
        let geometry = Geometry::new(50_000, 32768).unwrap();
        let store = Arc::new(Store::from(MemoryStore::new(geometry)));
        for (piece, flip) in [(0u32, false), (1, true)] {
            let range = geometry.range_of(piece);
            let mut bytes = content[range.start as usize..range.end as usize].to_vec();
            let hash = sha1(&bytes);
            bytes[17] ^= u8::from(flip);
            let complete = CompletePiece {
                piece,
                bytes: runs(&bytes, 9000),
                task: PieceTask::Verify { hash, digests: true },
            };
            let (verdict, error) = stored(complete, &store).await;
            assert!(error.is_none(), "{error:?}");
            let digests = bytes.chunks(16384).map(sha1).collect();
            match flip {
                false => assert_eq!(verdict, StoreOutcome::Verified { digests }),
                true => assert_eq!(verdict, StoreOutcome::Corrupt { digests }),
            }
        }
        let mut read = vec![1; 50_000];
        store.read(0..50_000, &mut read).unwrap();
        assert_eq!(read[..32768], content[..32768]);
        assert!(read[32768..].iter().all(|byte| *byte == 0), "a corrupt piece was written");
        assert!(store.finish().is_err());
    }

    #[tokio::test]
    async fn a_piece_that_cannot_be_written_is_reported() {
        let store = Arc::new(Store::from(MemoryStore::new(Geometry::new(100, 50).unwrap())));
        let complete = CompletePiece {
            piece: 0,
            bytes: runs(b"too short", 4),
            task: PieceTask::Verify { hash: sha1(b"too short"), digests: false },
        };
        let (verdict, error) = stored(complete, &store).await;
        assert_eq!(verdict, StoreOutcome::Failed);
        assert!(error.is_some());
    }
}

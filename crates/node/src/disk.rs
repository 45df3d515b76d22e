//! Workers that check a piece while it is in memory, write it and note it in the journal: as many
//! as there are cores, on threads that may wait.

use std::{sync::Arc, thread::available_parallelism};

use bytes::Bytes;
use sow_content::{BLOCK_LENGTH, hash::Sha1};
use sow_engine::StoreOutcome;
use sow_store::{Store, StoreError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::inbox::{Inbox, Letter};

/// The right to use a thread. How many wait is bounded by the engines: a piece that waits is an
/// open one.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    idle: Arc<Semaphore>,
}

/// A piece that is whole.
#[derive(Debug)]
pub(crate) struct WholePiece {
    pub(crate) piece: u32,
    /// Its bytes, in order.
    pub(crate) bytes: Vec<Bytes>,
    /// What is to be done with it.
    pub(crate) work: Work,
}

/// What is to be done with a piece.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Check that its hash is this one, then write it.
    Verify {
        hash: [u8; 20],
        /// A digest for each block is wanted even when the hash is right.
        digests: bool,
    },
    /// Write it.
    Keep,
    /// Write it where what is stored differs.
    Correct,
}

impl Workers {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { idle: Arc::new(Semaphore::new(cores)) }
    }

    /// Checks and writes a piece when it is its turn; a letter says what became of it.
    pub(crate) fn store(&self, whole: WholePiece, store: Arc<Store>, inbox: Inbox) {
        let work = move |turn: OwnedSemaphorePermit| {
            let piece = whole.piece;
            let (verdict, error) = whole.check_and_write(&store);
            drop(turn);
            // Whoever hears of it may want to open the same target at once.
            drop(store);
            // A swarm that is gone has no use for the news.
            let _ = inbox.blocking_send(Letter::Stored { piece, verdict, error });
        };
        match Arc::clone(&self.idle).try_acquire_owned() {
            Ok(turn) => _ = spawn_blocking(move || work(turn)),
            Err(_) => {
                let idle = Arc::clone(&self.idle);
                tokio::spawn(async move {
                    // The semaphore is never closed.
                    if let Ok(turn) = idle.acquire_owned().await {
                        spawn_blocking(move || work(turn));
                    }
                });
            }
        }
    }
}

impl WholePiece {
    /// Checks what is to be checked, and when it is right writes the piece and journals it. The
    /// blocks are let go.
    fn check_and_write(self, store: &Store) -> (StoreOutcome, Option<StoreError>) {
        let done = match self.work {
            Work::Verify { hash, .. } if !self.has_hash(hash) => {
                Ok(StoreOutcome::Corrupt { digests: block_digests(&self.bytes) })
            }
            Work::Verify { digests: true, .. } => self
                .write(store)
                .map(|()| StoreOutcome::Verified { digests: block_digests(&self.bytes) }),
            Work::Verify { digests: false, .. } => {
                self.write(store).map(|()| StoreOutcome::Verified { digests: Vec::new() })
            }
            Work::Keep => {
                self.write(store).map(|()| StoreOutcome::WrittenUnverified { differed: false })
            }
            Work::Correct => {
                self.correct(store).map(|differed| StoreOutcome::WrittenUnverified { differed })
            }
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

    /// Whether what was stored differed. What is the same is not written again.
    fn correct(&self, store: &Store) -> Result<bool, StoreError> {
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

/// A digest for each [`BLOCK_LENGTH`] bytes, the last one for what is left.
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
    use tokio::time::timeout;

    use super::*;
    use crate::inbox::inbox;

    fn runs(bytes: &[u8], step: usize) -> Vec<Bytes> {
        bytes.chunks(step).map(Bytes::copy_from_slice).collect()
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
        let (inbox, mut letters) = inbox();
        for (piece, flip) in [(0u32, false), (1, true)] {
            let range = geometry.range_of(piece);
            let mut bytes = content[range.start as usize..range.end as usize].to_vec();
            let hash = sha1(&bytes);
            bytes[17] ^= u8::from(flip);
            let whole = WholePiece {
                piece,
                bytes: runs(&bytes, 9000),
                work: Work::Verify { hash, digests: true },
            };
            Workers::new().store(whole, Arc::clone(&store), inbox.clone());
            let letter = timeout(Duration::from_secs(20), letters.recv()).await.unwrap();
            let Some(Letter::Stored { piece: named, verdict, error: None }) = letter else {
                panic!("{letter:?}")
            };
            assert_eq!(named, piece);
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
    async fn what_cannot_be_written_is_reported() {
        let store = Arc::new(Store::from(MemoryStore::new(Geometry::new(100, 50).unwrap())));
        let (inbox, mut letters) = inbox();
        let bytes = runs(b"too short", 4);
        let whole = WholePiece {
            piece: 0,
            bytes,
            work: Work::Verify { hash: sha1(b"too short"), digests: false },
        };
        Workers::new().store(whole, store, inbox);
        let letter = timeout(Duration::from_secs(20), letters.recv()).await.unwrap();
        let reported = matches!(
            letter,
            Some(Letter::Stored { verdict: StoreOutcome::Failed, error: Some(_), .. })
        );
        assert!(reported, "{letter:?}");
    }
}

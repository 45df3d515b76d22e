//! Verified content to standard output, in order, while it is downloaded.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use sow_content::{Bitfield, Geometry};
use sow_store::Store;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{exit::Failure, stdout};

/// The number of bytes that are copied at a time.
const COPY_SIZE: u64 = 256 * 1024;

/// Copies verified pieces to standard output. Ends when everything is copied.
pub(crate) struct StdoutStream {
    geometry: Geometry,
    have: Bitfield,
    /// The number of pieces from the first one on that are verified without a gap.
    prefix: u32,
    /// Takes the number of bytes that may be copied so far.
    verified_ends: Sender<u64>,
    copying: JoinHandle<Result<(), Failure>>,
}

impl StdoutStream {
    /// Starts to copy out of a store that has no pieces yet.
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let geometry = *store.geometry();
        let (verified_ends, ends) = channel();
        let copying = spawn_blocking(move || copy(&store, &ends, &mut io::stdout().lock()));
        let have = Bitfield::new(geometry.pieces());
        Self { geometry, have, prefix: 0, verified_ends, copying }
    }

    /// A verified piece is in the store.
    pub(crate) fn on_piece_verified(&mut self, piece: u32) {
        self.have.set(piece);
        let before = self.prefix;
        while self.have.get(self.prefix) {
            self.prefix += 1;
        }
        if self.prefix > before {
            // If the copying has failed, `finished` reports why.
            let _ = self.verified_ends.send(self.geometry.range_of(self.prefix).start);
        }
    }

    /// Waits until everything is copied, or copying has failed.
    ///
    /// # Errors
    /// When standard output was closed or cannot be written to, or the store cannot be read.
    pub(crate) async fn finished(&mut self) -> Result<(), Failure> {
        match (&mut self.copying).await {
            Ok(ended) => ended,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// Copies up to each received end, until everything is copied or the sender is dropped.
fn copy(store: &Store, ends: &Receiver<u64>, out: &mut impl Write) -> Result<(), Failure> {
    let total = store.geometry().total();
    let mut buffer = vec![0; COPY_SIZE as usize];
    let mut at = 0;
    while at < total {
        let Ok(end) = ends.recv() else { return Ok(()) };
        while at < end {
            let next = (at + COPY_SIZE).min(end);
            let bytes = &mut buffer[..(next - at) as usize];
            store.read(at..next, bytes)?;
            out.write_all(bytes).map_err(|error| stdout::failure(&error))?;
            at = next;
        }
    }
    out.flush().map_err(|error| stdout::failure(&error))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sow_store::MemoryStore;

    use super::*;

    fn store() -> Arc<Store> {
        let store = Store::from(MemoryStore::new(Geometry::new(25, 10).unwrap()));
        for (piece, text) in ["0123456789", "abcdefghij", "vwxyz"].into_iter().enumerate() {
            store.write_piece(piece as u32, &[Bytes::from_static(text.as_bytes())]).unwrap();
        }
        Arc::new(store)
    }

    #[test]
    fn everything_is_copied_once_and_in_order() {
        let (sender, ends) = channel();
        for end in [10, 10, 20, 25] {
            sender.send(end).unwrap();
        }
        let mut out = Vec::new();
        copy(&store(), &ends, &mut out).unwrap();
        assert_eq!(out, b"0123456789abcdefghijvwxyz");
    }

    #[test]
    fn only_verified_content_is_copied() {
        let (sender, ends) = channel();
        sender.send(10).unwrap();
        drop(sender);
        let mut out = Vec::new();
        copy(&store(), &ends, &mut out).unwrap();
        assert_eq!(out, b"0123456789");
    }
}

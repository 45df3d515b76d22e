//! Content to standard output, in order, as far as it is verified.

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

use crate::exit::{Exit, Failure, chain};

/// What is copied at once, in bytes.
const STRIDE: u64 = 256 * 1024;

/// Copies what it is told is there. Ends by itself when everything is copied.
pub(crate) struct Stream {
    geometry: Geometry,
    have: Bitfield,
    /// Pieces from the first one on that are there without a gap.
    prefix: u32,
    there: Sender<u64>,
    copying: JoinHandle<Result<(), Failure>>,
}

impl Stream {
    /// Begins to copy out of a store in which nothing is yet.
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let geometry = *store.geometry();
        let (there, told) = channel();
        let copying = spawn_blocking(move || copy(&store, &told, &mut io::stdout().lock()));
        Self { geometry, have: Bitfield::new(geometry.pieces()), prefix: 0, there, copying }
    }

    /// A piece is in the store, verified.
    pub(crate) fn verified(&mut self, piece: u32) {
        self.have.set(piece);
        let before = self.prefix;
        while self.have.get(self.prefix) {
            self.prefix += 1;
        }
        if self.prefix > before {
            // A copier that has ended says why when it is asked.
            let _ = self.there.send(self.geometry.range_of(self.prefix).start);
        }
    }

    /// Waits until everything that was verified is copied, or that has failed.
    ///
    /// # Errors
    /// When standard output was closed or cannot be written to, or the store cannot be read.
    pub(crate) async fn ended(&mut self) -> Result<(), Failure> {
        match (&mut self.copying).await {
            Ok(ended) => ended,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// Copies up to each end that it is told, until all is copied or nobody tells any more.
fn copy(store: &Store, told: &Receiver<u64>, out: &mut impl Write) -> Result<(), Failure> {
    let total = store.geometry().total();
    let mut buffer = vec![0; STRIDE as usize];
    let mut at = 0;
    while at < total {
        let Ok(end) = told.recv() else { return Ok(()) };
        while at < end {
            let next = (at + STRIDE).min(end);
            let bytes = &mut buffer[..(next - at) as usize];
            store.read(at..next, bytes)?;
            out.write_all(bytes).map_err(|error| closed(&error))?;
            at = next;
        }
    }
    out.flush().map_err(|error| closed(&error))
}

/// Why standard output cannot be written to.
pub(crate) fn closed(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(
            Exit::Failed,
            "whatever read standard output has closed it before everything was there",
        ),
        io::ErrorKind::StorageFull => {
            Failure::new(Exit::Disk, "the disk that standard output goes to is full")
        }
        _ => {
            Failure::new(Exit::Failed, format!("cannot write to standard output: {}", chain(error)))
        }
    }
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
    fn everything_is_copied_in_order_and_once() {
        let (there, told) = channel();
        for end in [10, 10, 20, 25] {
            there.send(end).unwrap();
        }
        let mut out = Vec::new();
        copy(&store(), &told, &mut out).unwrap();
        assert_eq!(out, b"0123456789abcdefghijvwxyz");
    }

    #[test]
    fn nothing_is_copied_before_it_is_there() {
        let (there, told) = channel();
        there.send(10).unwrap();
        drop(there);
        let mut out = Vec::new();
        copy(&store(), &told, &mut out).unwrap();
        assert_eq!(out, b"0123456789");
    }
}

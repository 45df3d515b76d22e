//! Content at rest: in files or in memory, with a journal from which an interrupted download
//! resumes.
//!
//! [`Store`] is the interface to content of known pieces: a [`DiskStore`] or a [`MemoryStore`].
//! [`DiskStore::receive`] opens a target and tells which pieces an earlier run left. Each verified
//! piece is then written and journaled, and [`Store::finish`] makes the whole content appear at the
//! target in one step. The order is always write, journal, sync, rename. [`SequentialTarget`] is
//! the other way to receive: a stream of bytes without pieces or hashes. To share content, [`scan`]
//! finds the files, [`hash_content`] hashes their pieces and [`DiskStore::serve`] opens them;
//! [`verify`] compares files with a metainfo.
//!
//! The crate knows files and byte ranges, and nothing of peers. All calls block, so make them on a
//! thread that may wait.
//!
//! ```
//! use bytes::Bytes;
//! use sow_content::{Bitfield, Geometry, Info, InfoHash, hash::sha1, metainfo::Files};
//! use sow_store::{DiskStore, ReceiveOptions, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let content = b"two pieces";
//! let geometry = Geometry::new(10, 8)?;
//! let hashes = content.chunks(8).map(sha1).collect();
//! let info = Info::from_parts("content", geometry, Files::Single, hashes, false)?;
//!
//! let folder = tempfile::tempdir()?;
//! let target = folder.path().join("content");
//! let options = ReceiveOptions::default();
//! let (store, have) = DiskStore::receive(&info, InfoHash([1; 20]), &target, &options)?;
//! assert_eq!(have, Bitfield::new(2), "nothing is left from an earlier run");
//! let store = Store::from(store);
//! for (piece, bytes) in [(1, &content[8..]), (0, &content[..8])] {
//!     store.write_piece(piece, &[Bytes::from_static(bytes)])?;
//!     store.journal(piece)?;
//! }
//! assert!(!target.exists());
//! store.finish()?;
//! assert_eq!(std::fs::read(&target)?, content);
//! # Ok(())
//! # }
//! ```

mod beneath;
mod content_stamp;
mod create;
mod disk_store;
mod error;
mod file_set;
mod handle_cache;
mod journal;
mod layout;
mod memory_store;
mod part_state;
mod piece_hashing;
mod receive;
mod rewrite;
mod scan;
mod segment;
mod sequential;
mod shared_store;
mod staging;
mod store;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod verify;

pub use disk_store::DiskStore;
pub use error::{Operation, StoreError, StoreErrorKind};
pub use memory_store::MemoryStore;
pub use piece_hashing::hash_content;
pub use receive::{ReceiveOptions, clear_leftovers};
pub use scan::{ContentPlan, FileStamps, scan};
pub use segment::Segment;
pub use sequential::{
    Placement, SequentialFile, SequentialMemory, SequentialPipe, SequentialTarget,
};
pub use shared_store::SharedStore;
pub use staging::check_target;
pub use store::Store;
pub use verify::{Verified, drop_page_cache, verify};

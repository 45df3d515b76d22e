//! Bytes at rest: content in files or in memory, what is left of it after an interruption, and what
//! there is to share.
//!
//! Knows files and byte ranges, nothing of peers. All calls block; run them where a thread may
//! wait.

pub mod disk;
pub mod error;
mod files;
mod handles;
pub mod hashing;
mod journal;
mod layout;
pub mod memory;
mod place;
mod receive;
pub mod scan;
pub mod segment;
pub mod sequential;
pub mod store;
pub mod verify;

pub use disk::DiskStore;
pub use error::{StoreError, StoreErrorKind};
pub use hashing::hash_content;
pub use memory::MemoryStore;
pub use receive::{ReceiveOptions, clear_leftovers};
pub use scan::{ContentPlan, scan};
pub use segment::Segment;
pub use sequential::{
    Placement, SequentialFile, SequentialMemory, SequentialPipe, SequentialTarget,
};
pub use store::Store;
pub use verify::{Verified, verify};

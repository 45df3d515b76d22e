//! Where bytes that are to be sent lie: what a sender needs to choose between `sendfile`, a write
//! and zeros.

use std::{fs::File, sync::Arc};

use bytes::Bytes;

/// A run of bytes of the content and where it is. Never empty.
#[derive(Debug, Clone)]
pub enum Segment {
    /// In a file, for `sendfile`.
    File {
        /// The file, open for reading.
        file: Arc<File>,
        /// Where the run begins in the file, in bytes.
        offset: u64,
        /// In bytes.
        length: u64,
    },
    /// In memory.
    Bytes(Bytes),
    /// So many zero bytes: padding, or what was never written to a store in memory.
    Zeros(u64),
}

impl Segment {
    /// In bytes, at least 1.
    pub fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } | Self::Zeros(length) => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

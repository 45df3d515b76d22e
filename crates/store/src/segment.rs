//! The location of bytes to send, from which a sender chooses between `sendfile`, a write and
//! zeros. Nothing is read here.

use std::{fs::File, sync::Arc};

use bytes::Bytes;

/// Consecutive bytes of the content and their location. Never empty.
#[derive(Debug, Clone)]
pub enum Segment {
    /// In a file, for `sendfile`.
    File {
        /// The file, open for reading.
        file: Arc<File>,
        /// The offset of the first byte in the file.
        offset: u64,
        /// In bytes.
        length: u64,
    },
    /// In memory.
    Bytes(Bytes),
    /// This many zeros: padding, or bytes that were never written to a store in memory.
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

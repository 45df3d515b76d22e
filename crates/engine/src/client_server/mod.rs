//! Client/server transfers in the protocols `raw` and `framed`, on both sides.
//!
//! Neither protocol says more than the bytes themselves: no request, no offset, no check. So a
//! transfer that breaks off starts over, and nothing here can tell wrong bytes from right ones.

mod admission;
mod client;

use std::fmt;

pub use self::{
    admission::{Admission, AdmissionLimits, AdmissionQueue},
    client::{Client, ClientAction, ClientConfig, GiveUp, MAX_FILE_LENGTH, MIN_STALL_BYTES},
};

/// What the server says before the bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientServerDialect {
    /// Nothing: the end of the stream is the end of the file.
    Raw,
    /// The length of the file.
    Framed,
}

impl fmt::Display for ClientServerDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Framed => "framed",
        })
    }
}

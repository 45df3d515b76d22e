//! The content that a `raw`, `framed` or `chunk` server serves: a file, or random bytes.

use std::path::PathBuf;

use clap::Args;

use crate::quantity::{self, Size};

/// The options of servers that serve random bytes when no file is named.
#[derive(Debug, Clone, Args)]
pub(super) struct ServedContentArgs {
    /// The file to serve [default: random bytes].
    #[arg(short, long, env = "SOW_FILE", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The number of random bytes to serve, without a file [default: 10MiB].
    #[arg(
        long,
        env = "SOW_SIZE",
        value_name = "SIZE",
        conflicts_with = "file",
        value_parser = quantity::size
    )]
    size: Option<Size>,
}

/// What a server serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServedContent {
    /// A file.
    File(PathBuf),
    /// This number of random bytes.
    Random(u64),
}

impl ServedContentArgs {
    /// The content that the command line names, if it names any.
    pub(super) fn content(self) -> Option<ServedContent> {
        match self.size {
            Some(size) => Some(ServedContent::Random(size.0)),
            None => self.file.map(ServedContent::File),
        }
    }
}

impl Default for ServedContent {
    /// 10 MiB of random bytes.
    fn default() -> Self {
        Self::Random(10 << 20)
    }
}

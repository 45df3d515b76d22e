//! What was ignored or replaced in a torrent that other programs load too: nothing of it changes
//! the content.

use crate::{path::SafePath, untrusted::short_name};

/// The number of warnings that one torrent gives rise to; the last one counts the others.
pub const MAX_WARNINGS: usize = 8;

/// Something that was ignored or replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoWarning {
    /// An optional field has another type than its specification says.
    #[error("`{field}` has an unexpected type and is ignored")]
    Ignored {
        /// The field, such as `info.files[3].attr`.
        field: String,
    },
    /// An optional field has another type than its specification says, but its meaning is clear.
    #[error("`{field}` has an unexpected type; it is understood as {meaning}")]
    Understood {
        /// The field.
        field: String,
        /// What it is understood as.
        meaning: &'static str,
    },
    /// Both a single file's `length` and a list of `files` are present.
    #[error("`info.length` is ignored, because `info.files` is present too")]
    FileAndFolder,
    /// Bytes after the end of the torrent.
    #[error("{count} bytes after the end of the torrent are ignored")]
    TrailingBytes {
        /// Their number.
        count: usize,
    },
    /// No file can have the name of the content.
    #[error("no file can be called {original}; it is called {name} instead")]
    NameReplaced {
        /// The start of the name in the torrent, printable.
        original: String,
        /// The name that is used.
        name: String,
    },
    /// No file can have a path, or another file or folder has it.
    #[error("the file {original} is called {path} instead: {reason}")]
    PathReplaced {
        /// The start of the path in the torrent, printable.
        original: String,
        /// The path that is used.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// More warnings than are kept.
    #[error("{count} more fields or names like these")]
    More {
        /// Their number.
        count: usize,
    },
}

impl MetainfoWarning {
    /// Whether it concerns only the name of the content, which `-o` can replace.
    pub fn concerns_name_only(&self) -> bool {
        matches!(self, Self::NameReplaced { .. })
    }
}

/// The warnings of one torrent, bounded in number.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    kept: Vec<MetainfoWarning>,
    omitted: usize,
}

impl Warnings {
    /// Adds a warning. `warning` is called only when it is kept.
    pub(crate) fn add(&mut self, warning: impl FnOnce() -> MetainfoWarning) {
        if self.kept.len() < MAX_WARNINGS - 1 {
            self.kept.push(warning());
        } else {
            self.omitted += 1;
        }
    }

    /// Adds that a field was ignored.
    pub(crate) fn ignored(&mut self, field: impl std::fmt::Display) {
        self.add(|| MetainfoWarning::Ignored { field: field.to_string() });
    }

    /// Adds that the name of the content was replaced.
    pub(crate) fn name_replaced(&mut self, original: &[u8], name: &str) {
        self.add(|| MetainfoWarning::NameReplaced {
            original: short_name(&String::from_utf8_lossy(original)),
            name: short_name(name),
        });
    }

    /// Adds that the path of a file was replaced.
    pub(crate) fn path_replaced(&mut self, original: &str, path: &SafePath, reason: &'static str) {
        self.add(|| MetainfoWarning::PathReplaced {
            original: short_name(original),
            path: short_name(path.as_str()),
            reason,
        });
    }

    /// All warnings.
    pub(crate) fn finish(mut self) -> Vec<MetainfoWarning> {
        if self.omitted > 0 {
            self.kept.push(MetainfoWarning::More { count: self.omitted });
        }
        self.kept
    }
}

//! How much a `.torrent` may hold. Larger ones are rejected, or their optional parts ignored.

/// The largest accepted `.torrent`, and the largest accepted info dictionary, in bytes.
pub const MAX_METAINFO: usize = 64 * 1024 * 1024;

/// The number of tracker URLs that are kept; later ones are ignored.
pub const MAX_TRACKERS: usize = 256;

/// The longest tracker URL that is kept, in bytes.
pub const MAX_TRACKER_URL: usize = 2048;

/// The longest comment, and name of a creating program, that is kept, in characters; the rest is
/// ignored.
pub const MAX_TEXT_CHARS: usize = 4096;

/// The largest accepted number of files.
pub const MAX_FILES: usize = 1_000_000;

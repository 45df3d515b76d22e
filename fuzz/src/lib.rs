//! The fuzz targets, for the decoders, the journal, the registries and the engine: one function for
//! each, which panics when an invariant does not hold. The libFuzzer entry points are in
//! `fuzz_targets/`.
//!
//! The targets are plain functions, so that a test can replay the corpora without a fuzzer. Each
//! asserts more than the absence of panics: round trips, agreement with an independent decoder or
//! between segmentations, and a bound on memory.

mod bencode;
mod chunk;
mod engine;
mod extensions;
mod framing;
mod handshake;
mod input;
mod journal;
mod json_files;
mod json_torrent;
mod links;
mod memory;
mod messages;
mod metainfo;
mod mutator;
mod registry;
mod tracker_http;
mod tracker_udp;

pub use bencode::bencode;
pub use chunk::chunk;
pub use engine::engine;
pub use extensions::extensions;
pub use framing::framing;
pub use handshake::handshake;
pub use journal::journal;
pub use json_files::json_files;
pub use json_torrent::json_torrent;
pub use links::links;
pub use messages::messages;
pub use metainfo::metainfo;
pub use mutator::Mutator;
pub use registry::registry;
pub use tracker_http::tracker_http;
pub use tracker_udp::tracker_udp;

/// The name of a target, which its fuzzer, its corpus and its seeds share, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("bencode", bencode),
    ("metainfo", metainfo),
    ("links", links),
    ("handshake", handshake),
    ("messages", messages),
    ("extensions", extensions),
    ("tracker_http", tracker_http),
    ("tracker_udp", tracker_udp),
    ("chunk", chunk),
    ("json_torrent", json_torrent),
    ("framing", framing),
    ("json_files", json_files),
    ("journal", journal),
    ("registry", registry),
    ("engine", engine),
];

//! Content of which nothing is missing: when an engine says that it is complete.

use sow_content::{Bitfield, Geometry, InfoHash};
use sow_engine::{Config, Content, Engine, Event, Input, Integrity, Output, Time};
use sow_wire::bittorrent::PeerId;

use crate::{bittorrent, chunk};

const COMPLETE: Output = Output::Event(Event::Complete);

/// What an engine does at its start with content that is known then, and what it does when it
/// learns of that content later.
fn outputs_at_start_and_later(content: &Content) -> [Vec<Output>; 2] {
    let start =
        |known| Engine::new(Config::new(PeerId([0; 20]), 1, 5), info_hash(), known, Time(0));
    let mut engines = [start(Some(content.clone())), start(None)];
    while engines[1].poll().is_some() {}
    engines[1].handle(Time(1), Input::ContentReady(Box::new(content.clone())));
    engines.map(|mut engine| std::iter::from_fn(|| engine.poll()).collect())
}

fn info_hash() -> InfoHash {
    InfoHash(sow_content::hash::sha1(crate::scene::METADATA))
}

fn empty(integrity: Integrity) -> Content {
    let geometry = Geometry::new(0, u64::from(chunk::PIECE)).unwrap();
    Content { geometry, have: Bitfield::new(0), ..chunk::content(Bitfield::new(0), integrity) }
}

#[test]
fn content_of_which_nothing_is_missing_is_complete_whenever_it_becomes_known() {
    let full = bittorrent::content(Bitfield::full(bittorrent::PIECES), false);
    for content in [full, empty(Integrity::PieceHashes)] {
        for outputs in outputs_at_start_and_later(&content) {
            let complete = outputs.iter().filter(|output| **output == COMPLETE);
            assert_eq!(complete.count(), 1, "{outputs:?}");
        }
    }
    let lacking = bittorrent::content(Bitfield::new(bittorrent::PIECES), false);
    for outputs in outputs_at_start_and_later(&lacking) {
        assert!(!outputs.contains(&COMPLETE), "{outputs:?}");
    }
}

#[test]
fn a_whole_file_without_hashes_is_verified_whenever_it_becomes_known() {
    let full = chunk::content(Bitfield::full(chunk::PIECES), Integrity::FileDigest);
    for content in [full, empty(Integrity::FileDigest)] {
        for outputs in outputs_at_start_and_later(&content) {
            assert!(outputs.contains(&Output::DigestFile), "{outputs:?}");
            assert!(!outputs.contains(&COMPLETE), "no server has confirmed it: {outputs:?}");
        }
    }
    let lacking = chunk::content(Bitfield::new(chunk::PIECES), Integrity::FileDigest);
    for outputs in outputs_at_start_and_later(&lacking) {
        assert!(!outputs.contains(&Output::DigestFile), "{outputs:?}");
    }
}

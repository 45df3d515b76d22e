//! Torrents: rejected, or safe and consistent, with memory in proportion to the input.

use std::collections::BTreeSet;

use sow_content::{
    Info, Metainfo,
    hash::sha1,
    metainfo::{Files, MAX_WARNINGS},
};

use crate::memory;

/// Memory that does not depend on the input: the components of a path, unsorted keys, trackers.
const FIXED_MEMORY: usize = 512 * 1024;

/// Memory for each byte of the input: the copied info dictionary, the hashes, and the file entries,
/// which take more memory than they have bytes in the torrent.
const MEMORY_PER_BYTE: usize = 12;

/// Decodes arbitrary bytes as a torrent, and as an info dictionary alone.
pub fn metainfo(data: &[u8]) {
    let limit = FIXED_MEMORY + MEMORY_PER_BYTE * data.len();
    if let Ok(mut metainfo) = memory::within(limit, || Metainfo::decode(data)) {
        check_info(&metainfo.info);
        assert_eq!(metainfo.info_hash.0, sha1(&metainfo.info_bytes));
        assert!(metainfo.trackers.iter().all(|tier| !tier.is_empty()));
        assert!(metainfo.warnings.len() <= MAX_WARNINGS);
        // What was ignored is not written again; only the info dictionary stays as it is.
        let mut again = Metainfo::decode(&metainfo.encode()).unwrap();
        (metainfo.warnings, again.warnings) = (Vec::new(), Vec::new());
        assert_eq!(again, metainfo);
        assert_eq!(Info::decode(&metainfo.info_bytes).as_ref(), Ok(&metainfo.info));
    }
    if let Ok(info) = memory::within(limit, || Info::decode(data)) {
        check_info(&info);
        assert_eq!(Info::decode(&info.encode()).as_ref(), Ok(&info));
        let Info { name, geometry, piece_hashes, files, private } = info.clone();
        assert_eq!(Info::from_parts(&name, geometry, files, piece_hashes, private), Ok(info));
    }
}

/// Checks the invariants of a decoded [`Info`].
fn check_info(info: &Info) {
    assert!(is_clean(&info.name));
    assert_eq!(info.piece_hashes.len(), info.geometry.pieces() as usize);
    let mut end = 0;
    let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for span in info.file_spans() {
        assert_eq!(span.offset, end);
        end += span.length;
        let Some(path) = span.path else {
            assert_eq!(info.files, Files::Single);
            continue;
        };
        assert!(path.components().all(is_clean));
        assert!(path.as_path().is_relative());
        if !span.padding {
            assert!(files.insert(path.as_str()), "a duplicate path");
            folders.extend(path.as_str().match_indices('/').map(|(at, _)| &path.as_str()[..at]));
        }
    }
    assert_eq!(end, info.geometry.total());
    assert!(files.is_disjoint(&folders), "a path is a file and a folder");
}

/// Whether a name cannot lead out of its folder.
fn is_clean(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !["", ".", ".."].contains(&name)
        && !name.contains(['/', '\0'])
}

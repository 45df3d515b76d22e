//! The files to distribute: generated from a seed, so that every machine sends the same bytes, or
//! copied from an existing file; and the comparison of copies.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write as _},
    path::Path,
};

use crate::scenario::Content;

/// The words of generated text.
const TEXT_WORDS: [&str; 32] = [
    "the",
    "of",
    "network",
    "and",
    "a",
    "server",
    "to",
    "in",
    "file",
    "is",
    "peer",
    "that",
    "for",
    "client",
    "it",
    "with",
    "chunk",
    "as",
    "bandwidth",
    "on",
    "each",
    "are",
    "upload",
    "this",
    "by",
    "tracker",
    "from",
    "delay",
    "or",
    "link",
    "be",
    "swarm",
];
/// The length at which a generated line of text ends with its current word.
const LINE_CHARS: usize = 72;
const BLOCK_BYTES: usize = 64 << 10;

/// The length of a file.
///
/// # Errors
/// When it is an existing file that cannot be read or is empty.
pub(super) fn length(content: &Content) -> io::Result<u64> {
    match content {
        Content::Random { bytes } | Content::Text { bytes } => Ok(*bytes),
        Content::Path(path) => {
            let metadata = fs::metadata(path)?;
            let empty =
                || io::Error::new(io::ErrorKind::InvalidInput, "it is no file, or it is empty");
            Some(metadata.len()).filter(|&bytes| metadata.is_file() && bytes > 0).ok_or_else(empty)
        }
    }
}

/// Writes a file of `bytes` to `path`, where none exists.
///
/// # Errors
/// When it cannot be written, or the file to copy has changed its length.
pub(super) fn write(content: &Content, bytes: u64, seed: u64, path: &Path) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BLOCK_BYTES, File::create_new(path)?);
    let mut random = fastrand::Rng::with_seed(seed);
    match content {
        Content::Random { .. } => {
            let mut block = vec![0; BLOCK_BYTES];
            let mut left = bytes;
            while left > 0 {
                let now = left.min(BLOCK_BYTES as u64) as usize;
                random.fill(&mut block);
                out.write_all(&block[..now])?;
                left -= now as u64;
            }
        }
        Content::Text { .. } => {
            let mut left = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
            while left > 0 {
                let line = text_line(&mut random);
                let now = left.min(line.len());
                out.write_all(&line.as_bytes()[..now])?;
                left -= now;
            }
        }
        Content::Path(from) => {
            let copied = io::copy(&mut File::open(from)?.take(bytes + 1), &mut out)?;
            if copied != bytes {
                return Err(io::Error::other(format!(
                    "{} changes while it is read",
                    from.display()
                )));
            }
        }
    }
    out.into_inner().map(drop).map_err(io::IntoInnerError::into_error)
}

/// Whether two files have the same bytes.
///
/// # Errors
/// When one of them cannot be read.
pub(super) fn have_same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let mut blocks = [vec![0; 4 * BLOCK_BYTES], vec![0; 4 * BLOCK_BYTES]];
    loop {
        let [left, right] = &mut blocks;
        let length = one.read(left)?;
        if length == 0 {
            return Ok(other.read(right)? == 0);
        }
        match other.read_exact(&mut right[..length]) {
            Ok(()) if left[..length] == right[..length] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn text_line(random: &mut fastrand::Rng) -> String {
    let mut line = String::with_capacity(LINE_CHARS + 12);
    while line.len() < LINE_CHARS {
        line.push_str(TEXT_WORDS[random.usize(..TEXT_WORDS.len())]);
        line.push(' ');
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, content) in [
            ("random", Content::Random { bytes: 200_000 }),
            ("text", Content::Text { bytes: 200_000 }),
            ("path", Content::Path(dir.path().join("random-1"))),
        ] {
            let [one, again, other] =
                ["1", "2", "3"].map(|n| dir.path().join(format!("{kind}-{n}")));
            assert_eq!(length(&content).unwrap(), 200_000);
            for (path, seed) in [(&one, 7), (&again, 7), (&other, 8)] {
                write(&content, 200_000, seed, path).unwrap();
                assert_eq!(fs::metadata(path).unwrap().len(), 200_000);
            }
            assert!(have_same_bytes(&one, &again).unwrap(), "{kind}");
            assert_eq!(have_same_bytes(&one, &other).unwrap(), kind == "path");
            assert!(write(&content, 1, 7, &one).is_err(), "an existing file is overwritten");
        }
        let text = fs::read_to_string(dir.path().join("text-1")).unwrap();
        assert!(text.lines().count() > 2000 && text.contains(" bandwidth "), "{}", &text[..200]);
        assert!(
            write(&Content::Path("/proc/self/stat".into()), 3, 0, &dir.path().join("x")).is_err()
        );
        for bad in ["/proc/self/stat", "/", "/no/such/file"] {
            assert!(length(&Content::Path(bad.into())).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_that_differ_in_one_bit_are_not_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        let mut bytes = vec![5; 1_000_000];
        fs::write(&one, &bytes).unwrap();
        for place in [0, 262_143, 262_144, 999_999] {
            bytes[place] ^= 1;
            fs::write(&other, &bytes).unwrap();
            assert!(!have_same_bytes(&one, &other).unwrap(), "{place}");
            bytes[place] ^= 1;
        }
        fs::write(&other, &bytes[1..]).unwrap();
        assert!(!have_same_bytes(&one, &other).unwrap());
        fs::write(&other, &bytes).unwrap();
        assert!(have_same_bytes(&one, &other).unwrap());
        assert!(have_same_bytes(&one, &dir.path().join("none")).is_err());
    }
}

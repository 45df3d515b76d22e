//! The heads of `chunk` messages: an op and its arguments. Lists are `json`; finding a head in the
//! stream is `decoder`.

use sow_content::untrusted::replacement;

use super::{ChunkError, ErrorId, Message};

/// The largest accepted offset and file size, in bytes: the limit of the operating system.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// The length of the excerpt that is kept of a rejected head, in bytes.
const MAX_HEAD_EXCERPT: usize = 64;

/// Every op, in either spelling.
const OPS: [&[u8]; 10] =
    [b"CHEL", b"SHEL", b"PHEL", b"CLREQ", b"CLRSP", b"CLRES", b"DREQ", b"DATA", b"CHECK", b"ERROR"];

/// The error ids, in either spelling. None is a prefix of another.
const ERRORS: [(&[u8], ErrorId); 5] = [
    (b"UNKNOWN_COMMAND", ErrorId::UnknownCommand),
    (b"UNKONWN_COMMAND", ErrorId::UnknownCommand),
    (b"OFFSET_OVERFLOW", ErrorId::OffsetOverflow),
    (b"CHUNK_UNDOWNLOADED", ErrorId::ChunkUndownloaded),
    (b"CHECKSUM_NOT_FIT", ErrorId::ChecksumNotFit),
];

/// A parsed head, by the body that follows it.
#[derive(Debug, PartialEq)]
pub(super) enum Head {
    /// A message without a body.
    Message(Message),
    /// A list follows.
    List(List),
    /// Payload follows; its size is not bounded yet.
    Data { offset: u64, size: u64 },
    /// An optional text follows.
    Error(ErrorId),
}

/// The two kinds of lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum List {
    /// The peers of a `SHEL`.
    Peers { file_size: u64, chunk_size: u64 },
    /// The chunk ids of a `CLRSP`.
    ChunkIds,
}

impl List {
    /// The maximum nesting of arrays in the list.
    pub(super) fn depth(self) -> u8 {
        match self {
            Self::Peers { .. } => 2,
            Self::ChunkIds => 1,
        }
    }
}

impl Head {
    /// Parses a head without its CR LF. Several spaces between arguments count as one.
    pub(super) fn read(head: &[u8]) -> Result<Self, ChunkError> {
        let mut words = head.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let op = words.next().unwrap_or_default();
        let arguments: Vec<_> = words.collect();
        let message = match (op, &arguments[..]) {
            (b"CHEL", [port]) => number(port)
                .and_then(|port| port.try_into().ok())
                .map(|port| Message::Hello { port }),
            (b"PHEL", []) => Some(Message::PeerHello),
            (b"CLREQ", []) => Some(Message::ListRequest),
            (b"DREQ", [chunk]) => request(chunk).map(Message::Request),
            (b"CHECK", [sum]) => md5(sum).map(Message::Check),
            // The optional count is redundant: the list has an end of its own.
            (b"CLRSP" | b"CLRES", [] | [_]) => return Ok(Self::List(List::ChunkIds)),
            (b"SHEL", [file_size, chunk_size]) => return server_hello(head, file_size, chunk_size),
            (b"SHEL", _) => return Err(ChunkError::BadServerHello { head: head_excerpt(head) }),
            (b"DATA", [offset, size]) => return data(head, offset, size),
            (b"DATA", _) => return Err(ChunkError::BadData { head: head_excerpt(head) }),
            // An error is never an unknown message, whatever its arguments: otherwise two programs
            // could answer each other's errors endlessly.
            (b"ERROR", ids) => return Ok(Self::Error(error_id(ids))),
            _ => None,
        };
        let unknown = || Message::Unknown { head: head_excerpt(head) };
        Ok(Self::Message(message.unwrap_or_else(unknown)))
    }
}

/// The error at the start of `stream` and the length of its head. A known error id need not be
/// followed by CR LF, because only text follows it. `None` for another head, or an unknown error.
pub(super) fn known_error(stream: &[u8]) -> Option<(ErrorId, usize)> {
    let word = stream.strip_prefix(b"ERROR ")?;
    let (known, id) = ERRORS.into_iter().find(|(known, _)| word.starts_with(known))?;
    Some((id, "ERROR ".len() + known.len()))
}

/// The position of the first known op in a stream, or of an incomplete one at its end.
#[derive(Debug, PartialEq)]
pub(super) struct NextOp {
    /// The number of bytes before the op; the length of the stream when there is no op.
    pub(super) at: usize,
    /// Whether the op and its terminator are complete.
    pub(super) complete: bool,
}

impl NextOp {
    /// Finds the first op in `stream`.
    pub(super) fn find(stream: &[u8]) -> Self {
        for (at, letter) in stream.iter().enumerate() {
            if !letter.is_ascii_uppercase() {
                continue;
            }
            match begins_with_op(&stream[at..]) {
                Some(false) => {}
                complete => return Self { at, complete: complete.is_some() },
            }
        }
        Self { at: stream.len(), complete: false }
    }
}

/// Whether `bytes` begin with an op and its terminator. `None` when that depends on more bytes.
fn begins_with_op(bytes: &[u8]) -> Option<bool> {
    let mut incomplete = false;
    for op in OPS {
        for terminator in [&b" "[..], b"\r\n"] {
            let expected = op.iter().chain(terminator);
            let length = op.len() + terminator.len();
            if bytes.iter().zip(expected).all(|(a, b)| a == b) {
                if bytes.len() >= length {
                    return Some(true);
                }
                incomplete = true;
            }
        }
    }
    if incomplete { None } else { Some(false) }
}

/// Text of at most `limit` bytes, with unprintable characters and invalid UTF-8 replaced; and
/// whether it is the whole of `bytes`.
pub(super) fn printable(bytes: &[u8], limit: usize) -> (String, bool) {
    // A character has at most four bytes, and replacing one never makes it shorter.
    let mut text = String::new();
    for character in String::from_utf8_lossy(&bytes[..bytes.len().min(limit + 4)]).chars() {
        let character = replacement(character);
        if text.len() + character.len_utf8() > limit {
            return (text, false);
        }
        text.push(character);
    }
    (text, true)
}

fn head_excerpt(head: &[u8]) -> String {
    match printable(head, MAX_HEAD_EXCERPT) {
        (head, true) => head,
        (head, false) => head + "…",
    }
}

/// A number of decimal digits only.
fn number(word: &[u8]) -> Option<u64> {
    if !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(word).ok()?.parse().ok()
}

/// A requested chunk id. A number that does not fit in 64 bits is clamped: no chunk has it either
/// way.
fn request(word: &[u8]) -> Option<i64> {
    let (negative, digits) = match word.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nearest = if negative { i64::MIN } else { i64::MAX };
    Some(str::from_utf8(word).ok()?.parse().unwrap_or(nearest))
}

fn md5(word: &[u8]) -> Option<[u8; 16]> {
    let (pairs, []) = word.as_chunks::<2>() else { return None };
    let mut sum = [0; 16];
    if pairs.len() != sum.len() {
        return None;
    }
    for (byte, pair) in sum.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = (high? * 16 + low?) as u8;
    }
    Some(sum)
}

fn server_hello(head: &[u8], file_size: &[u8], chunk_size: &[u8]) -> Result<Head, ChunkError> {
    match (number(file_size), number(chunk_size)) {
        (Some(file_size @ ..=MAX_OFFSET), Some(chunk_size))
            if (1..=u32::MAX.into()).contains(&chunk_size) =>
        {
            Ok(Head::List(List::Peers { file_size, chunk_size }))
        }
        _ => Err(ChunkError::BadServerHello { head: head_excerpt(head) }),
    }
}

fn data(head: &[u8], offset: &[u8], size: &[u8]) -> Result<Head, ChunkError> {
    match (number(offset), number(size)) {
        (Some(offset @ ..=MAX_OFFSET), Some(size)) => Ok(Head::Data { offset, size }),
        _ => Err(ChunkError::BadData { head: head_excerpt(head) }),
    }
}

fn error_id(ids: &[&[u8]]) -> ErrorId {
    let known = ERRORS.into_iter().find(|(word, _)| ids.first() == Some(word));
    known.map_or(ErrorId::Other, |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(head: &str) -> Message {
        match Head::read(head.as_bytes()) {
            Ok(Head::Message(message)) => message,
            other => panic!("{head:?}: {other:?}"),
        }
    }

    #[test]
    fn heads_without_a_body_are_messages() {
        assert_eq!(message("CHEL 0"), Message::Hello { port: 0 });
        assert_eq!(message("CHEL 65535"), Message::Hello { port: 65535 });
        assert_eq!(message(" CLREQ "), Message::ListRequest);
        let sum = [
            0x9e, 0x10, 0x7d, 0x9d, 0x37, 0x2b, 0xb6, 0x82, 0x6b, 0xd8, 0x1d, 0x35, 0x42, 0xa4,
            0x19, 0xd6,
        ];
        assert_eq!(message("CHECK 9e107d9d372bb6826bd81d3542a419d6"), Message::Check(sum));
        assert_eq!(message("CHECK 9E107D9D372BB6826BD81D3542A419D6"), Message::Check(sum));
    }

    #[test]
    fn requests_of_any_number_are_kept_or_clamped() {
        for (word, want) in [
            ("7", 7),
            ("-1", -1),
            ("9223372036854775808", i64::MAX),
            ("-9223372036854775809", i64::MIN),
            ("99999999999999999999999999999999", i64::MAX),
            ("-99999999999999999999999999999999", i64::MIN),
        ] {
            assert_eq!(message(&format!("DREQ {word}")), Message::Request(want));
        }
    }

    #[test]
    fn malformed_heads_are_unknown_messages() {
        for head in [
            "",
            " ",
            "HELO 1",
            "chel 1",
            "CHEL",
            "CHEL 1 2",
            "CHEL -1",
            "CHEL 65536",
            "CHEL 70000",
            "CHEL +1",
            "CHEL x",
            "CHEL 1\r",
            "PHEL 1",
            "CLREQ 1",
            "CLRSP 1 2",
            "DREQ",
            "DREQ one",
            "DREQ -",
            "DREQ +1",
            "DREQ 1 2",
            "DREQ 1.0",
            "CHECK",
            "CHECK 9e10",
            "CHECK 9e107d9d372bb6826bd81d3542a419d6ff",
            "CHECK 9e107d9d372bb6826bd81d3542a419dg",
            "CHECK 9e107d9d372bb6826bd81d3542a419d",
            "CHELx 1",
            "CHE 1",
        ] {
            let excerpt = head.replace('\r', "\u{fffd}");
            assert_eq!(message(head), Message::Unknown { head: excerpt });
        }
    }

    #[test]
    fn the_excerpt_of_a_head_is_short_and_printable() {
        let excerpt = |head: &[u8]| match Head::read(head) {
            Ok(Head::Message(Message::Unknown { head })) => head,
            other => panic!("{other:?}"),
        };
        assert_eq!(excerpt(b"GET\x1b[2J\xff/\x7f"), "GET\u{fffd}[2J\u{fffd}/\u{fffd}");
        let long = excerpt(&[b'x'; 200]);
        assert_eq!(long, "x".repeat(64) + "…");
        assert_eq!(excerpt(long.as_bytes()), long);
        assert_eq!(excerpt("é".repeat(50).as_bytes()), "é".repeat(32) + "…");
    }

    #[test]
    fn an_error_is_an_error_whatever_its_arguments() {
        for (head, want) in [
            ("ERROR UNKNOWN_COMMAND", ErrorId::UnknownCommand),
            ("ERROR UNKONWN_COMMAND", ErrorId::UnknownCommand),
            ("ERROR OFFSET_OVERFLOW", ErrorId::OffsetOverflow),
            ("ERROR CHUNK_UNDOWNLOADED 7", ErrorId::ChunkUndownloaded),
            ("ERROR CHECKSUM_NOT_FIT", ErrorId::ChecksumNotFit),
            ("ERROR checksum_not_fit", ErrorId::Other),
            ("ERROR", ErrorId::Other),
        ] {
            assert_eq!(Head::read(head.as_bytes()), Ok(Head::Error(want)));
        }
    }

    #[test]
    fn a_known_error_is_recognized_at_its_last_letter() {
        assert_eq!(known_error(b"ERROR OFFSET_OVERFLO"), None);
        assert_eq!(known_error(b"ERROR OFFSET_OVERFLOW"), Some((ErrorId::OffsetOverflow, 21)));
        assert_eq!(
            known_error(b"ERROR UNKONWN_COMMAND\r\nCLREQ"),
            Some((ErrorId::UnknownCommand, 21))
        );
        assert_eq!(known_error(b"ERROR OTHER\r\n"), None);
        assert_eq!(known_error(b"ERRORS OFFSET_OVERFLOW"), None);
    }

    #[test]
    fn an_op_is_found_with_its_terminator_only() {
        for (stream, at, complete) in [
            ("", 0, false),
            ("text", 4, false),
            ("textPHEL\r\n", 4, true),
            ("PHELPHEL ", 4, true),
            ("CHECKERx", 8, false),
            ("CHECHECK", 3, false),
            ("CHEL\r", 0, false),
            ("CHEL\rx", 6, false),
            ("xE", 1, false),
        ] {
            assert_eq!(NextOp::find(stream.as_bytes()), NextOp { at, complete }, "{stream:?}");
        }
    }
}

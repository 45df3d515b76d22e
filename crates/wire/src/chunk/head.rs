//! The heads of document 1's messages: an OP and its arguments. Lists, and where in a stream a head
//! is, are not known here.

use super::{ChunkError, ErrorId, Message};

/// The largest offset and the largest size of a file: no system has larger ones.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// How much is kept of a head that is refused, in characters.
const MAX_SHOWN: usize = 64;

/// Every OP, in either spelling.
const OPS: [&[u8]; 10] =
    [b"CHEL", b"SHEL", b"PHEL", b"CLREQ", b"CLRSP", b"CLRES", b"DREQ", b"DATA", b"CHECK", b"ERROR"];

/// The errors, in either spelling. None begins another.
const ERRORS: [(&[u8], ErrorId); 5] = [
    (b"UNKNOWN_COMMAND", ErrorId::UnknownCommand),
    (b"UNKONWN_COMMAND", ErrorId::UnknownCommand),
    (b"OFFSET_OVERFLOW", ErrorId::OffsetOverflow),
    (b"CHUNK_UNDOWNLOADED", ErrorId::ChunkUndownloaded),
    (b"CHECKSUM_NOT_FIT", ErrorId::ChecksumNotFit),
];

/// What a head says, and what has to follow it.
#[derive(Debug, PartialEq)]
pub(super) enum Head {
    /// A message without a body.
    Whole(Message),
    /// A list follows.
    List(List),
    /// Data follow. Their size is not bounded yet.
    Data { offset: u64, size: u64 },
    /// Perhaps text follows.
    Error(ErrorId),
}

/// The two messages with lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum List {
    /// A `SHEL`: of peers.
    Peers { file_size: u64, chunk_size: u64 },
    /// A `CLRSP`: of chunk ids.
    Ids,
}

impl Head {
    /// Reads a head, without its CR LF. More than one space between arguments is taken for one.
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
            // The count, if there is one, says nothing that the list does not.
            (b"CLRSP" | b"CLRES", [] | [_]) => return Ok(Self::List(List::Ids)),
            (b"SHEL", [file_size, chunk_size]) => return server_hello(head, file_size, chunk_size),
            (b"SHEL", _) => return Err(ChunkError::BadServerHello { head: shown(head) }),
            (b"DATA", [offset, size]) => return data(head, offset, size),
            (b"DATA", _) => return Err(ChunkError::BadData { head: shown(head) }),
            // Never unknown, whatever its arguments: two programs would answer each other's errors
            // for ever.
            (b"ERROR", ids) => return Ok(Self::Error(error(ids))),
            _ => None,
        };
        Ok(Self::Whole(message.unwrap_or_else(|| Message::Unknown { head: shown(head) })))
    }
}

/// The error that `stream` begins with, and the length of its head, which need not end with CR LF:
/// nothing but text comes after it. `None`: another head, or an error that is not known.
pub(super) fn known_error(stream: &[u8]) -> Option<(ErrorId, usize)> {
    let word = stream.strip_prefix(b"ERROR ")?;
    let (known, id) = ERRORS.into_iter().find(|(known, _)| word.starts_with(known))?;
    Some((id, "ERROR ".len() + known.len()))
}

/// Where a known OP begins in a stream, or may begin at its end.
#[derive(Debug, PartialEq)]
pub(super) struct OpAhead {
    /// How many bytes are before it: all there are, if there is none.
    pub(super) at: usize,
    /// It is there to its last letter, and ends like an OP.
    pub(super) whole: bool,
}

impl OpAhead {
    /// The first one.
    pub(super) fn find(stream: &[u8]) -> Self {
        for (at, letter) in stream.iter().enumerate() {
            if !letter.is_ascii_uppercase() {
                continue;
            }
            match is_op(&stream[at..]) {
                Some(false) => {}
                whole => return Self { at, whole: whole.is_some() },
            }
        }
        Self { at: stream.len(), whole: false }
    }
}

/// Whether `bytes` begin with an OP and what ends it. `None`: they may, with more of them.
fn is_op(bytes: &[u8]) -> Option<bool> {
    let mut open = false;
    for op in OPS {
        for end in [&b" "[..], b"\r\n"] {
            let whole = op.iter().chain(end);
            let length = op.len() + end.len();
            if bytes.iter().zip(whole).all(|(a, b)| a == b) {
                if bytes.len() >= length {
                    return Some(true);
                }
                open = true;
            }
        }
    }
    if open { None } else { Some(false) }
}

/// Text for people: characters that could steer a terminal are replaced, and so are bytes that are
/// none. At most `limit` bytes; whether that is all.
pub(super) fn printable(bytes: &[u8], limit: usize) -> (String, bool) {
    // No character has more than four bytes, and none that is replaced becomes shorter than it was.
    let mut text = String::new();
    for character in String::from_utf8_lossy(&bytes[..bytes.len().min(limit + 4)]).chars() {
        let character =
            if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        if text.len() + character.len_utf8() > limit {
            return (text, false);
        }
        text.push(character);
    }
    (text, true)
}

fn shown(head: &[u8]) -> String {
    match printable(head, MAX_SHOWN) {
        (head, true) => head,
        (head, false) => head + "…",
    }
}

/// Digits alone.
fn number(word: &[u8]) -> Option<u64> {
    if !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(word).ok()?.parse().ok()
}

/// What is too large or too small for the type is the nearest that is not: no chunk has that number
/// either.
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
        _ => Err(ChunkError::BadServerHello { head: shown(head) }),
    }
}

fn data(head: &[u8], offset: &[u8], size: &[u8]) -> Result<Head, ChunkError> {
    match (number(offset), number(size)) {
        (Some(offset @ ..=MAX_OFFSET), Some(size)) => Ok(Head::Data { offset, size }),
        _ => Err(ChunkError::BadData { head: shown(head) }),
    }
}

fn error(ids: &[&[u8]]) -> ErrorId {
    let known = ERRORS.into_iter().find(|(word, _)| ids.first() == Some(word));
    known.map_or(ErrorId::Other, |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(head: &str) -> Message {
        match Head::read(head.as_bytes()) {
            Ok(Head::Whole(message)) => message,
            other => panic!("{head:?}: {other:?}"),
        }
    }

    #[test]
    fn heads_without_a_body() {
        assert_eq!(whole("CHEL 0"), Message::Hello { port: 0 });
        assert_eq!(whole("CHEL 65535"), Message::Hello { port: 65535 });
        assert_eq!(whole(" CLREQ "), Message::ListRequest);
        let sum = [
            0x9e, 0x10, 0x7d, 0x9d, 0x37, 0x2b, 0xb6, 0x82, 0x6b, 0xd8, 0x1d, 0x35, 0x42, 0xa4,
            0x19, 0xd6,
        ];
        assert_eq!(whole("CHECK 9e107d9d372bb6826bd81d3542a419d6"), Message::Check(sum));
        assert_eq!(whole("CHECK 9E107D9D372BB6826BD81D3542A419D6"), Message::Check(sum));
    }

    #[test]
    fn absurd_requests_are_kept() {
        for (word, want) in [
            ("7", 7),
            ("-1", -1),
            ("9223372036854775808", i64::MAX),
            ("-9223372036854775809", i64::MIN),
            ("99999999999999999999999999999999", i64::MAX),
            ("-99999999999999999999999999999999", i64::MIN),
        ] {
            assert_eq!(whole(&format!("DREQ {word}")), Message::Request(want));
        }
    }

    #[test]
    fn what_does_not_fit_is_unknown() {
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
            let shown = head.replace('\r', "\u{fffd}");
            assert_eq!(whole(head), Message::Unknown { head: shown });
        }
    }

    #[test]
    fn what_is_shown_of_a_head_is_short_and_printable() {
        let shown = |head: &[u8]| match Head::read(head) {
            Ok(Head::Whole(Message::Unknown { head })) => head,
            other => panic!("{other:?}"),
        };
        assert_eq!(shown(b"GET\x1b[2J\xff/\x7f"), "GET\u{fffd}[2J\u{fffd}/\u{fffd}");
        let long = shown(&[b'x'; 200]);
        assert_eq!(long, "x".repeat(64) + "…");
        assert_eq!(shown(long.as_bytes()), long);
        assert_eq!(shown("é".repeat(50).as_bytes()), "é".repeat(32) + "…");
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
    fn a_known_error_is_known_by_its_last_letter() {
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
    fn an_op_is_found_when_it_ends_like_one() {
        for (stream, at, whole) in [
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
            assert_eq!(OpAhead::find(stream.as_bytes()), OpAhead { at, whole }, "{stream:?}");
        }
    }
}

//! Document 1's messages off a stream, whatever its segmentation. What a message means, and whether
//! its numbers fit the file, is not known here.

use bytes::{Buf, BytesMut};

use super::{
    Decoded, ErrorId, Message,
    head::{Head, List, OpAhead, known_error, printable},
    json::{self, Broken, Scan},
};

/// The longest head that is accepted, in bytes without its CR LF: several times the longest that
/// means something.
pub const MAX_HEAD: usize = 256;

/// The longest list of chunk ids that is accepted, in bytes.
pub const MAX_LIST: usize = 4 * 1024 * 1024;

/// The longest list of peers that is accepted, in bytes.
pub const MAX_PEER_LIST: usize = 256 * 1024;

/// The most that is kept of the text of an error, in bytes.
pub const MAX_ERROR_TEXT: usize = 1024;

/// How a stream of messages can be wrong. Nothing after such an error can be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No CR LF where a head should have ended.
    #[error("a head of more than {MAX_HEAD} bytes")]
    HeadTooLong,
    /// The arguments of `DATA` are not an offset and a size.
    #[error("{head:?}: that is no offset and no size of data")]
    BadData {
        /// The head, cut short and printable.
        head: String,
    },
    /// More data than were asked for at once, or none.
    #[error("{size} bytes of data at once; 1 to {limit} are accepted")]
    DataLength {
        /// The size in the head.
        size: u64,
        /// The bound.
        limit: u32,
    },
    /// Data from somebody who was not asked for any.
    #[error("{size} bytes of data that nobody asked for")]
    Unasked {
        /// The size in the head.
        size: u64,
    },
    /// The arguments of `SHEL` are not the size of a file and a size of chunks from 1 to 2^32 - 1.
    #[error("{head:?}: that is no size of a file and no size of its chunks")]
    BadServerHello {
        /// The head, cut short and printable.
        head: String,
    },
    /// A list over the bound.
    #[error("a list of more than {limit} bytes")]
    ListTooLong {
        /// The bound for that kind of list.
        limit: usize,
    },
    /// A body that is not the list that it should be.
    #[error("what follows {op} is no such list")]
    BadList {
        /// The OP of the message.
        op: &'static str,
    },
}

/// Turns a stream into messages, one at a time, whatever its segmentation.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_data: u32,
    pending: Pending,
}

/// What comes next in the stream.
#[derive(Debug, Clone)]
enum Pending {
    Head,
    /// The list of a message whose head was taken.
    List(List, Scan),
    /// What may be more of the text of an error that was given.
    LateText,
}

impl Decoder {
    /// A decoder that accepts at most `max_data` bytes of data at once; 0: none, from who asks and
    /// is not asked.
    pub fn new(max_data: u32) -> Self {
        Self { max_data, pending: Pending::Head }
    }

    /// Takes the next message, or the next head of data, off the front of `stream`. `None`: more
    /// bytes are needed; what is left in `stream` then is the beginning of a head or of a list,
    /// [`MAX_LIST`] bytes at the most, and only this decoder may go on with it.
    ///
    /// An error may come without CR LF. Its text ends where `stream` does, or where a known OP
    /// begins in it. What comes in later segments is passed over up to there, and never gathers in
    /// `stream`.
    ///
    /// # Errors
    /// When the stream is not of this protocol, or a bound is exceeded. The connection is of no
    /// more use then.
    pub fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Decoded>, ChunkError> {
        loop {
            match &mut self.pending {
                Pending::Head => {
                    if let Some((id, length)) = known_error(stream) {
                        stream.advance(length);
                        return Ok(Some(self.error(id, stream)));
                    }
                    let Some(head) = take_head(stream)? else { return Ok(None) };
                    match Head::read(&head)? {
                        Head::Whole(message) => return Ok(Some(Decoded::Message(message))),
                        Head::Data { offset, size } => return self.data(offset, size).map(Some),
                        Head::Error(id) => return Ok(Some(self.error(id, stream))),
                        Head::List(list) => {
                            self.pending = Pending::List(list, Scan::new(depth(list)))
                        }
                    }
                }
                Pending::List(list, scan) => {
                    let Some(message) = take_list(stream, *list, scan)? else { return Ok(None) };
                    self.pending = Pending::Head;
                    return Ok(Some(Decoded::Message(message)));
                }
                Pending::LateText => {
                    if !self.pass_over_text(stream) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn data(&self, offset: u64, size: u64) -> Result<Decoded, ChunkError> {
        match u32::try_from(size) {
            Ok(size) if (1..=self.max_data).contains(&size) => Ok(Decoded::Data { offset, size }),
            _ if self.max_data == 0 => Err(ChunkError::Unasked { size }),
            _ => Err(ChunkError::DataLength { size, limit: self.max_data }),
        }
    }

    /// An error with as much of its text as is there.
    fn error(&mut self, id: ErrorId, stream: &mut BytesMut) -> Decoded {
        let text = match OpAhead::find(stream) {
            OpAhead { at, whole: true } => &stream[..at],
            _ => &stream[..],
        };
        let text = printable(text.strip_prefix(b"\r\n").unwrap_or(text), MAX_ERROR_TEXT).0;
        self.pass_over_text(stream);
        Decoded::Message(Message::Error { id, text })
    }

    /// Whether an OP follows the text.
    fn pass_over_text(&mut self, stream: &mut BytesMut) -> bool {
        let next = OpAhead::find(stream);
        stream.advance(next.at);
        self.pending = if next.whole { Pending::Head } else { Pending::LateText };
        next.whole
    }
}

/// Takes a head off the stream, and its CR LF. `None`: it has not ended.
fn take_head(stream: &mut BytesMut) -> Result<Option<BytesMut>, ChunkError> {
    let longest = &stream[..stream.len().min(MAX_HEAD + 2)];
    let Some(end) = longest.windows(2).position(|pair| pair == b"\r\n") else {
        return if longest.len() == MAX_HEAD + 2 { Err(ChunkError::HeadTooLong) } else { Ok(None) };
    };
    let head = stream.split_to(end);
    stream.advance(2);
    Ok(Some(head))
}

/// Takes a list off the stream, and gives the message that it belongs to. `None`: it has not ended.
fn take_list(
    stream: &mut BytesMut,
    list: List,
    scan: &mut Scan,
) -> Result<Option<Message>, ChunkError> {
    let (op, limit) = match list {
        List::Peers { .. } => ("SHEL", MAX_PEER_LIST),
        List::Ids => ("CLRSP", MAX_LIST),
    };
    let bad = |Broken| ChunkError::BadList { op };
    let Some(end) = scan.end(&stream[..stream.len().min(limit)]).map_err(bad)? else {
        return if stream.len() < limit {
            Ok(None)
        } else {
            Err(ChunkError::ListTooLong { limit })
        };
    };
    let text = stream.split_to(end);
    Ok(Some(match list {
        List::Peers { file_size, chunk_size } => {
            Message::ServerHello { file_size, chunk_size, peers: json::peers(&text).map_err(bad)? }
        }
        List::Ids => Message::List(json::ids(&text).map_err(bad)?),
    }))
}

/// How deep arrays are nested in a list.
fn depth(list: List) -> u8 {
    match list {
        List::Peers { .. } => 2,
        List::Ids => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_DATA: u32 = 131_072;

    /// All that a decoder finds in `stream`, and what it leaves.
    fn decode(stream: &str) -> (Vec<Decoded>, Option<ChunkError>, String) {
        let mut stream = BytesMut::from(stream);
        let mut decoder = Decoder::new(MAX_DATA);
        let mut found = Vec::new();
        let error = loop {
            match decoder.decode(&mut stream) {
                Ok(Some(next)) => found.push(next),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        (found, error, String::from_utf8(stream.into()).unwrap())
    }

    fn messages(stream: &str) -> Vec<Message> {
        let (found, error, rest) = decode(stream);
        assert_eq!((error, &rest[..]), (None, ""));
        let message = |decoded| match decoded {
            Decoded::Message(message) => message,
            Decoded::Data { .. } => panic!("{decoded:?}"),
        };
        found.into_iter().map(message).collect()
    }

    fn refused(stream: &str) -> ChunkError {
        let (found, error, _) = decode(stream);
        assert_eq!(found, []);
        error.unwrap_or_else(|| panic!("{stream:?} was accepted"))
    }

    #[test]
    fn who_is_not_asked_sends_no_data() {
        let mut stream = BytesMut::from("CHEL 51000\r\nDATA 0 5\r\nhello");
        let mut decoder = Decoder::new(0);
        let hello = Decoded::Message(Message::Hello { port: 51000 });
        assert_eq!(decoder.decode(&mut stream), Ok(Some(hello)));
        assert_eq!(decoder.decode(&mut stream), Err(ChunkError::Unasked { size: 5 }));
    }

    #[test]
    fn a_segment_may_hold_anything() {
        let peers = vec!["10.0.0.2:51000".parse().unwrap()];
        let hello = Message::ServerHello { file_size: 10_485_760, chunk_size: 131_072, peers };
        let stream = "SHEL 10485760 131072\r\n[[\"10.0.0.2\", 51000]]CLREQ\r\nCLRSP\r\n[0, 5]CLRES 1\r\n[7]PHEL\r\n";
        let want = [
            hello,
            Message::ListRequest,
            Message::List(vec![0, 5]),
            Message::List(vec![7]),
            Message::PeerHello,
        ];
        assert_eq!(messages(stream), want);
        assert_eq!(
            messages("CLRSP 9\r\n[]CLRES\r\n[]"),
            [Message::List(vec![]), Message::List(vec![])]
        );
    }

    #[test]
    fn data_are_announced_and_left() {
        let (found, error, rest) = decode("DATA 131072 131072\r\n");
        let want = Decoded::Data { offset: 131_072, size: 131_072 };
        assert_eq!((&found[..], error, &rest[..]), (&[want][..], None, ""));
        let mut stream = BytesMut::from("DATA 0 9\r\nCLREQ\r\n..PHEL\r\n");
        let mut decoder = Decoder::new(9);
        assert_eq!(decoder.decode(&mut stream), Ok(Some(Decoded::Data { offset: 0, size: 9 })));
        assert_eq!(&stream.split_to(9)[..], b"CLREQ\r\n..");
        assert_eq!(decoder.decode(&mut stream), Ok(Some(Decoded::Message(Message::PeerHello))));
    }

    #[test]
    fn data_that_nobody_asked_for_are_refused() {
        for size in [0, 131_073, u32::MAX.into(), 1 << 32, u64::MAX] {
            let error = ChunkError::DataLength { size, limit: MAX_DATA };
            assert_eq!(refused(&format!("DATA 0 {size}\r\n")), error);
        }
        for head in [
            "DATA",
            "DATA 1",
            "DATA 1 1 1",
            "DATA -1 1",
            "DATA 0 -131072",
            "DATA 0 99999999999999999999",
        ] {
            assert_eq!(refused(&format!("{head}\r\n")), ChunkError::BadData { head: head.into() });
        }
        for head in
            ["DATA 9223372036854775808 1", "DATA 0x10 1", "DATA +1 1", "DATA 1.0 1", "DATA  1 ten"]
        {
            assert_eq!(refused(&format!("{head}\r\n")), ChunkError::BadData { head: head.into() });
        }
    }

    #[test]
    fn a_server_hello_must_say_how_large_chunks_are() {
        for head in [
            "SHEL",
            "SHEL 1",
            "SHEL 1 0",
            "SHEL 1 -1",
            "SHEL -1 1",
            "SHEL 1 4294967296",
            "SHEL 1 x",
            "SHEL 1 1 1",
        ] {
            assert_eq!(
                refused(&format!("{head}\r\n[]")),
                ChunkError::BadServerHello { head: head.into() }
            );
        }
        assert_eq!(messages("SHEL 0 4294967295\r\n[]").len(), 1);
    }

    #[test]
    fn heads_are_bounded() {
        let longest = format!("{:256}", "PHEL");
        assert_eq!(messages(&format!("{longest}\r\n")), [Message::PeerHello]);
        assert_eq!(refused(&format!("{longest} \r\n")), ChunkError::HeadTooLong);
        assert_eq!(decode(&format!("{longest}\r")).1, None);
        assert_eq!(refused(&format!("{longest}  ")), ChunkError::HeadTooLong);
        assert_eq!(decode("PHEL\nCLREQ\n").2, "PHEL\nCLREQ\n");
    }

    #[test]
    fn lists_are_bounded() {
        for (head, limit) in [("SHEL 1 1\r\n", MAX_PEER_LIST), ("CLRSP\r\n", MAX_LIST)] {
            let stream = |spaces| format!("{head}[{}]", " ".repeat(spaces));
            assert_eq!(messages(&stream(limit - 2)).len(), 1);
            assert_eq!(refused(&stream(limit - 1)), ChunkError::ListTooLong { limit });
            assert_eq!(
                refused(&stream(limit - 1)[..head.len() + limit]),
                ChunkError::ListTooLong { limit }
            );
        }
        for list in [
            "",
            " []",
            "null",
            "[[0]]",
            "[[",
            "{}",
            "[0,[",
            "[-1]",
            "[4294967296]",
            "[1.5]",
            "[\"0\"]",
            "[0,]",
        ] {
            let (found, error, _) = decode(&format!("CLRSP\r\n{list}PHEL\r\n"));
            assert_eq!(
                (&found[..], error),
                (&[][..], Some(ChunkError::BadList { op: "CLRSP" })),
                "{list}"
            );
        }
        assert_eq!(refused("SHEL 1 1\r\n[[[]]]"), ChunkError::BadList { op: "SHEL" });
    }

    #[test]
    fn a_long_list_that_trickles_in_is_looked_at_once() {
        // Quadratic, this would take hours.
        let list = format!("CLRES 1\r\n[{}0]", "7, ".repeat(700_000));
        let (mut decoder, mut stream) = (Decoder::new(1), BytesMut::new());
        for (at, byte) in list.bytes().enumerate() {
            assert_eq!(decoder.decode(&mut stream), Ok(None), "after {at} bytes");
            stream.extend_from_slice(&[byte]);
        }
        let Ok(Some(Decoded::Message(Message::List(ids)))) = decoder.decode(&mut stream) else {
            panic!()
        };
        assert_eq!((ids.len(), stream.len()), (700_001, 0));
    }

    #[test]
    fn the_text_of_an_error_ends_where_an_op_begins() {
        let error = |id, text: &str| Message::Error { id, text: text.into() };
        let stream = "ERROR CHECKSUM_NOT_FIT\r\n0cc175b9PHEL\r\nERROR UNKONWN_COMMAND\r\nCLREQ\r\n";
        let want = [
            error(ErrorId::ChecksumNotFit, "0cc175b9"),
            Message::PeerHello,
            error(ErrorId::UnknownCommand, ""),
            Message::ListRequest,
        ];
        assert_eq!(messages(stream), want);
        let (found, _, rest) = decode("ERROR OFFSET_OVERFLOW\r\nABCDEF, a CHECKER, BAD");
        let want = error(ErrorId::OffsetOverflow, "ABCDEF, a CHECKER, BAD");
        assert_eq!((&found[..], &rest[..]), (&[Decoded::Message(want)][..], "D"));
    }

    #[test]
    fn an_error_may_come_without_an_end() {
        let error = |id| Decoded::Message(Message::Error { id, text: String::new() });
        let (mut decoder, mut stream) =
            (Decoder::new(1), BytesMut::from("ERROR CHUNK_UNDOWNLOADE"));
        assert_eq!(decoder.decode(&mut stream), Ok(None));
        for (more, want) in [
            ("D", Some(error(ErrorId::ChunkUndownloaded))),
            ("\r", None),
            ("\nPHEL\r\n", Some(Decoded::Message(Message::PeerHello))),
            ("ERROR OFFSET_OVERFLOW", Some(error(ErrorId::OffsetOverflow))),
            ("CLREQ\r\n", Some(Decoded::Message(Message::ListRequest))),
        ] {
            stream.extend_from_slice(more.as_bytes());
            assert_eq!(decoder.decode(&mut stream), Ok(want), "after {more:?}");
        }
    }

    #[test]
    fn text_that_comes_late_is_passed_over() {
        let (mut decoder, mut stream) =
            (Decoder::new(1), BytesMut::from("ERROR X\r\none\r\ntwo\x1b C"));
        let error =
            Message::Error { id: ErrorId::Other, text: "one\u{fffd}\u{fffd}two\u{fffd} C".into() };
        assert_eq!(decoder.decode(&mut stream), Ok(Some(Decoded::Message(error))));
        for late in ["H", "ANCE", "three\r\nDRE", "AM", "CH"] {
            stream.extend_from_slice(late.as_bytes());
            assert_eq!(decoder.decode(&mut stream), Ok(None));
            assert!(stream.len() < 6);
        }
        stream.extend_from_slice(b"EL 51000\r\n");
        assert_eq!(
            decoder.decode(&mut stream),
            Ok(Some(Decoded::Message(Message::Hello { port: 51000 })))
        );
        assert_eq!(messages(&format!("ERROR X\r\n{}", "x".repeat(5000)))[0], {
            Message::Error { id: ErrorId::Other, text: "x".repeat(MAX_ERROR_TEXT) }
        });
    }
}

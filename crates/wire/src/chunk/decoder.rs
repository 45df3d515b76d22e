//! Decoder for the messages of the `chunk` protocol, for any segmentation of the stream. The size
//! of the file is not known here; the engine checks chunk ids and offsets against it.

use bytes::{Buf, BytesMut};

use super::{
    Decoded, ErrorId, Message,
    head::{Head, List, NextOp, known_error, printable},
    json::{self, ArrayScanner, InvalidList},
};

/// The longest accepted head, in bytes without its CR LF: several times the longest valid one.
pub const MAX_HEAD: usize = 256;

/// The longest accepted list of chunk ids, in bytes.
pub const MAX_CHUNK_LIST: usize = 4 * 1024 * 1024;

/// The longest accepted list of peers, in bytes.
pub const MAX_PEER_LIST: usize = 256 * 1024;

/// The longest error text that is kept, in bytes.
pub const MAX_ERROR_TEXT: usize = 1024;

/// Why a stream is rejected. Nothing after such an error can be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A head without CR LF within the limit.
    #[error("a head of more than {MAX_HEAD} bytes")]
    HeadTooLong,
    /// The arguments of `DATA` are not an offset and a size.
    #[error("{head:?}: invalid offset or size of data")]
    BadData {
        /// The head, truncated and printable.
        head: String,
    },
    /// The size of `DATA` is zero or exceeds the limit.
    #[error("{size} bytes of data at once; 1 to {limit} are accepted")]
    DataLength {
        /// The size in the head, in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u32,
    },
    /// `DATA` on a connection where this side sends no requests.
    #[error("{size} bytes of unsolicited data")]
    UnsolicitedData {
        /// The size in the head, in bytes.
        size: u64,
    },
    /// The arguments of `SHEL` are not a file size and a chunk size from 1 to 2^32 - 1.
    #[error("{head:?}: invalid file size or chunk size")]
    BadServerHello {
        /// The head, truncated and printable.
        head: String,
    },
    /// A list exceeds the limit.
    #[error("a list of more than {limit} bytes")]
    ListTooLong {
        /// The limit for that kind of list, in bytes.
        limit: usize,
    },
    /// The body of a message is not the list that its op announces.
    #[error("the body of {op} is not a valid list")]
    BadList {
        /// The op of the message.
        op: &'static str,
    },
}

/// Decodes a stream into messages, one at a time, for any segmentation.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_data: u32,
    pending: Pending,
}

/// What the decoder expects next.
#[derive(Debug, Clone)]
enum Pending {
    Head,
    /// The list of a message whose head is already taken.
    List(List, ArrayScanner),
    /// More text of an error that was already returned, up to the next op.
    ErrorText,
}

impl Decoder {
    /// A decoder with a limit of `max_data` bytes for the payload of `DATA`. With 0, every `DATA`
    /// is an error: for a connection where this side sends no requests.
    pub fn new(max_data: u32) -> Self {
        Self { max_data, pending: Pending::Head }
    }

    /// Takes the next message, or the head of the next `DATA`, off the front of `stream`.
    ///
    /// `None` means that more bytes are needed; `stream` then holds the start of a head or of a
    /// list, at most [`MAX_CHUNK_LIST`] bytes. Only the same decoder can continue with it.
    ///
    /// An error need not end with CR LF. Its text ends at the end of `stream` or at the next known
    /// op. Text in later segments is skipped up to there and does not accumulate in `stream`.
    ///
    /// # Errors
    /// When the stream is not of this protocol, or a limit is exceeded. The connection cannot be
    /// used further.
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
                        Head::Message(message) => return Ok(Some(Decoded::Message(message))),
                        Head::Data { offset, size } => return self.data(offset, size).map(Some),
                        Head::Error(id) => return Ok(Some(self.error(id, stream))),
                        Head::List(list) => {
                            self.pending = Pending::List(list, ArrayScanner::new(list.depth()))
                        }
                    }
                }
                Pending::List(list, scanner) => {
                    let Some(message) = take_list(stream, *list, scanner)? else {
                        return Ok(None);
                    };
                    self.pending = Pending::Head;
                    return Ok(Some(Decoded::Message(message)));
                }
                Pending::ErrorText => {
                    if !self.skip_error_text(stream) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn data(&self, offset: u64, size: u64) -> Result<Decoded, ChunkError> {
        match u32::try_from(size) {
            Ok(size) if (1..=self.max_data).contains(&size) => Ok(Decoded::Data { offset, size }),
            _ if self.max_data == 0 => Err(ChunkError::UnsolicitedData { size }),
            _ => Err(ChunkError::DataLength { size, limit: self.max_data }),
        }
    }

    /// An error with the part of its text that has arrived.
    fn error(&mut self, id: ErrorId, stream: &mut BytesMut) -> Decoded {
        let text = match NextOp::find(stream) {
            NextOp { at, complete: true } => &stream[..at],
            _ => &stream[..],
        };
        let text = printable(text.strip_prefix(b"\r\n").unwrap_or(text), MAX_ERROR_TEXT).0;
        self.skip_error_text(stream);
        Decoded::Message(Message::Error { id, text })
    }

    /// Skips the text of an error. Returns whether an op follows it.
    fn skip_error_text(&mut self, stream: &mut BytesMut) -> bool {
        let next = NextOp::find(stream);
        stream.advance(next.at);
        self.pending = if next.complete { Pending::Head } else { Pending::ErrorText };
        next.complete
    }
}

/// Takes a head and its CR LF off the stream. `None` when its end has not arrived.
fn take_head(stream: &mut BytesMut) -> Result<Option<BytesMut>, ChunkError> {
    let searched = &stream[..stream.len().min(MAX_HEAD + 2)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        return if searched.len() == MAX_HEAD + 2 {
            Err(ChunkError::HeadTooLong)
        } else {
            Ok(None)
        };
    };
    let head = stream.split_to(end);
    stream.advance(2);
    Ok(Some(head))
}

/// Takes a list off the stream and returns its message. `None` when its end has not arrived.
fn take_list(
    stream: &mut BytesMut,
    list: List,
    scanner: &mut ArrayScanner,
) -> Result<Option<Message>, ChunkError> {
    let (op, limit) = match list {
        List::Peers { .. } => ("SHEL", MAX_PEER_LIST),
        List::ChunkIds => ("CLRSP", MAX_CHUNK_LIST),
    };
    let bad_list = |InvalidList| ChunkError::BadList { op };
    let Some(end) = scanner.end(&stream[..stream.len().min(limit)]).map_err(bad_list)? else {
        return if stream.len() < limit {
            Ok(None)
        } else {
            Err(ChunkError::ListTooLong { limit })
        };
    };
    let text = stream.split_to(end);
    Ok(Some(match list {
        List::Peers { file_size, chunk_size } => {
            let peers = json::peers(&text).map_err(bad_list)?;
            Message::ServerHello { file_size, chunk_size, peers }
        }
        List::ChunkIds => Message::List(json::chunk_ids(&text).map_err(bad_list)?),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_DATA: u32 = 131_072;

    /// Everything that a decoder returns for `stream`, and the bytes that remain.
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

    fn error_of(stream: &str) -> ChunkError {
        let (found, error, _) = decode(stream);
        assert_eq!(found, []);
        error.unwrap_or_else(|| panic!("{stream:?} was accepted"))
    }

    #[test]
    fn unsolicited_data_are_rejected() {
        let mut stream = BytesMut::from("CHEL 51000\r\nDATA 0 5\r\nhello");
        let mut decoder = Decoder::new(0);
        let hello = Decoded::Message(Message::Hello { port: 51000 });
        assert_eq!(decoder.decode(&mut stream), Ok(Some(hello)));
        assert_eq!(decoder.decode(&mut stream), Err(ChunkError::UnsolicitedData { size: 5 }));
    }

    #[test]
    fn a_segment_may_hold_several_messages() {
        let peers = vec!["10.0.0.2:51000".parse().unwrap()];
        let hello = Message::ServerHello { file_size: 10_485_760, chunk_size: 131_072, peers };
        let stream = "SHEL 10485760 131072\r\n[[\"10.0.0.2\", 51000]]CLREQ\r\nCLRSP\r\n[0, 5]\
                      CLRES 1\r\n[7]PHEL\r\n";
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
    fn data_yield_their_head_and_leave_their_payload() {
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
    fn invalid_sizes_and_offsets_of_data_are_rejected() {
        for size in [0, 131_073, u32::MAX.into(), 1 << 32, u64::MAX] {
            let error = ChunkError::DataLength { size, limit: MAX_DATA };
            assert_eq!(error_of(&format!("DATA 0 {size}\r\n")), error);
        }
        for head in [
            "DATA",
            "DATA 1",
            "DATA 1 1 1",
            "DATA -1 1",
            "DATA 0 -131072",
            "DATA 0 99999999999999999999",
        ] {
            assert_eq!(error_of(&format!("{head}\r\n")), ChunkError::BadData { head: head.into() });
        }
        for head in
            ["DATA 9223372036854775808 1", "DATA 0x10 1", "DATA +1 1", "DATA 1.0 1", "DATA  1 ten"]
        {
            assert_eq!(error_of(&format!("{head}\r\n")), ChunkError::BadData { head: head.into() });
        }
    }

    #[test]
    fn a_server_hello_needs_a_valid_chunk_size() {
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
                error_of(&format!("{head}\r\n[]")),
                ChunkError::BadServerHello { head: head.into() }
            );
        }
        assert_eq!(messages("SHEL 0 4294967295\r\n[]").len(), 1);
    }

    #[test]
    fn heads_are_bounded() {
        let longest = format!("{:256}", "PHEL");
        assert_eq!(messages(&format!("{longest}\r\n")), [Message::PeerHello]);
        assert_eq!(error_of(&format!("{longest} \r\n")), ChunkError::HeadTooLong);
        assert_eq!(decode(&format!("{longest}\r")).1, None);
        assert_eq!(error_of(&format!("{longest}  ")), ChunkError::HeadTooLong);
        assert_eq!(decode("PHEL\nCLREQ\n").2, "PHEL\nCLREQ\n");
    }

    #[test]
    fn lists_are_bounded() {
        for (head, limit) in [("SHEL 1 1\r\n", MAX_PEER_LIST), ("CLRSP\r\n", MAX_CHUNK_LIST)] {
            let stream = |spaces| format!("{head}[{}]", " ".repeat(spaces));
            assert_eq!(messages(&stream(limit - 2)).len(), 1);
            assert_eq!(error_of(&stream(limit - 1)), ChunkError::ListTooLong { limit });
            assert_eq!(
                error_of(&stream(limit - 1)[..head.len() + limit]),
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
        assert_eq!(error_of("SHEL 1 1\r\n[[[]]]"), ChunkError::BadList { op: "SHEL" });
    }

    #[test]
    fn each_byte_of_a_slow_list_is_scanned_once() {
        // With quadratic time, this takes hours.
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
    fn the_text_of_an_error_ends_at_the_next_op() {
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
    fn an_error_may_lack_cr_lf() {
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
    fn error_text_in_later_segments_is_skipped() {
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

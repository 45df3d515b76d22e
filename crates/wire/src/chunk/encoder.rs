//! Encoder for the messages of the `chunk` protocol in either spelling, and the selection of list
//! entries that fit into a message for the original programs. The JSON itself is `json`.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::{
    ErrorId, Message, Spelling,
    json::{chunk_id_length, decimal_length, peer_length, put, put_chunk_ids, put_peers},
};

/// The longest control message that the original programs can read, in bytes, head and body
/// together.
pub const ORIGINAL_MESSAGE_LIMIT: usize = 1024;

/// Appends an encoded message.
///
/// With [`Spelling::Original`], the caller shortens lists with [`fitting_ids`] and
/// [`fitting_peers`]; error texts are truncated here. An error text must not contain an op. An
/// unknown message is written as its truncated head, the only part that is kept.
pub fn encode(message: &Message, spelling: Spelling, out: &mut BytesMut) {
    match message {
        Message::Hello { port } => put(out, format_args!("CHEL {port}\r\n")),
        Message::ServerHello { file_size, chunk_size, peers } => {
            put(out, format_args!("SHEL {file_size} {chunk_size}\r\n"));
            put_peers(peers, out);
        }
        Message::PeerHello => put(out, format_args!("PHEL\r\n")),
        Message::ListRequest => put(out, format_args!("CLREQ\r\n")),
        Message::List(ids) => {
            match spelling {
                Spelling::Documented => put(out, format_args!("CLRSP\r\n")),
                Spelling::Original => put(out, format_args!("CLRES {}\r\n", ids.len())),
            }
            put_chunk_ids(ids, out);
        }
        Message::Request(chunk) => put(out, format_args!("DREQ {chunk}\r\n")),
        Message::Check(sum) => {
            put(out, format_args!("CHECK {:032x}\r\n", u128::from_be_bytes(*sum)))
        }
        Message::Error { id, text } => {
            let before = out.len();
            put(out, format_args!("ERROR {}\r\n", error_word(*id)));
            let room = match spelling {
                Spelling::Documented => text.len(),
                Spelling::Original => ORIGINAL_MESSAGE_LIMIT - (out.len() - before),
            };
            let fits = |end: &usize| *end <= room;
            let end = text
                .char_indices()
                .map(|(at, c)| at + c.len_utf8())
                .take_while(fits)
                .last()
                .unwrap_or(0);
            out.extend_from_slice(&text.as_bytes()[..end]);
        }
        Message::Unknown { head } => put(out, format_args!("{head}\r\n")),
    }
}

/// The head of a `DATA` message with `size` bytes of payload.
pub fn data_head(offset: u64, size: u32) -> Vec<u8> {
    format!("DATA {offset} {size}\r\n").into_bytes()
}

/// The leading ids that fit into a list message of at most `limit` bytes in
/// [`Spelling::Original`].
pub fn fitting_ids(ids: impl IntoIterator<Item = u32>, limit: usize) -> Vec<u32> {
    let mut list = 0;
    take_fitting(ids, |id, count| {
        list += chunk_id_length(*id);
        "CLRES \r\n".len() + decimal_length(count) + list + list_overhead(count) <= limit
    })
}

/// The leading peers that fit into a `SHEL` message of at most `limit` bytes.
pub fn fitting_peers(
    file_size: u64,
    chunk_size: u64,
    peers: impl IntoIterator<Item = SocketAddr>,
    limit: usize,
) -> Vec<SocketAddr> {
    let head = "SHEL  \r\n".len() + decimal_length(file_size) + decimal_length(chunk_size);
    let mut list = 0;
    take_fitting(peers, |peer, count| {
        list += peer_length(*peer);
        head + list + list_overhead(count) <= limit
    })
}

/// Takes items while `fits` accepts the item and the number of items including it.
fn take_fitting<T>(
    items: impl IntoIterator<Item = T>,
    mut fits: impl FnMut(&T, u64) -> bool,
) -> Vec<T> {
    let mut taken = Vec::new();
    for item in items {
        if !fits(&item, taken.len() as u64 + 1) {
            break;
        }
        taken.push(item);
    }
    taken
}

/// The length of the brackets and separators of a list, in bytes.
fn list_overhead(count: u64) -> usize {
    "[]".len() + ", ".len() * (count as usize - 1)
}

/// The error id on the wire, in the documented spelling.
fn error_word(id: ErrorId) -> &'static str {
    match id {
        ErrorId::UnknownCommand => "UNKNOWN_COMMAND",
        ErrorId::OffsetOverflow => "OFFSET_OVERFLOW",
        ErrorId::ChunkUndownloaded => "CHUNK_UNDOWNLOADED",
        ErrorId::ChecksumNotFit => "CHECKSUM_NOT_FIT",
        ErrorId::Other => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(message: &Message, spelling: Spelling) -> String {
        let mut out = BytesMut::new();
        encode(message, spelling, &mut out);
        String::from_utf8(out.into()).unwrap()
    }

    fn server_hello(peers: &[&str]) -> Message {
        let peers = peers.iter().map(|peer| peer.parse().unwrap()).collect();
        Message::ServerHello { file_size: 10_485_760, chunk_size: 131_072, peers }
    }

    #[test]
    fn every_message_has_the_expected_bytes() {
        let error = |id, text: &str| Message::Error { id, text: text.into() };
        for (message, want) in [
            (Message::Hello { port: 51000 }, "CHEL 51000\r\n"),
            (server_hello(&[]), "SHEL 10485760 131072\r\n[]"),
            (
                server_hello(&[
                    "10.0.0.2:51000",
                    "10.0.0.3:51001",
                    "[2001:db8::1]:1",
                    "[::ffff:10.0.0.4]:2",
                ]),
                "SHEL 10485760 131072\r\n[[\"10.0.0.2\", 51000], [\"10.0.0.3\", 51001], \
                 [\"2001:db8::1\", 1], [\"10.0.0.4\", 2]]",
            ),
            (Message::PeerHello, "PHEL\r\n"),
            (Message::ListRequest, "CLREQ\r\n"),
            (Message::Request(7), "DREQ 7\r\n"),
            (Message::Request(-1), "DREQ -1\r\n"),
            (Message::Check([0x0f; 16]), "CHECK 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\r\n"),
            (error(ErrorId::UnknownCommand, ""), "ERROR UNKNOWN_COMMAND\r\n"),
            (error(ErrorId::OffsetOverflow, "80 chunks"), "ERROR OFFSET_OVERFLOW\r\n80 chunks"),
            (error(ErrorId::ChunkUndownloaded, ""), "ERROR CHUNK_UNDOWNLOADED\r\n"),
            (error(ErrorId::ChecksumNotFit, "0cc1"), "ERROR CHECKSUM_NOT_FIT\r\n0cc1"),
            (error(ErrorId::Other, ""), "ERROR OTHER\r\n"),
            (Message::Unknown { head: "HELO".into() }, "HELO\r\n"),
        ] {
            assert_eq!(encoded(&message, Spelling::Documented), want);
            assert_eq!(encoded(&message, Spelling::Original), want);
        }
        assert_eq!(data_head(131_072, 65_536), b"DATA 131072 65536\r\n");
    }

    #[test]
    fn a_list_has_two_spellings() {
        let list = Message::List(vec![0, 5, 7]);
        assert_eq!(encoded(&list, Spelling::Documented), "CLRSP\r\n[0, 5, 7]");
        assert_eq!(encoded(&list, Spelling::Original), "CLRES 3\r\n[0, 5, 7]");
        assert_eq!(encoded(&Message::List(vec![]), Spelling::Documented), "CLRSP\r\n[]");
        assert_eq!(encoded(&Message::List(vec![]), Spelling::Original), "CLRES 0\r\n[]");
    }

    #[test]
    fn lists_for_the_original_programs_use_the_limit_fully() {
        let ids = fitting_ids(0.., ORIGINAL_MESSAGE_LIMIT);
        let length =
            |count: u32| encoded(&Message::List((0..count).collect()), Spelling::Original).len();
        assert_eq!(ids, (0..ids.len() as u32).collect::<Vec<_>>());
        assert!(
            length(ids.len() as u32) <= ORIGINAL_MESSAGE_LIMIT
                && length(ids.len() as u32 + 1) > ORIGINAL_MESSAGE_LIMIT
        );
        assert_eq!(fitting_ids([1, 1_000_000, 2], "CLRES 2\r\n[1, 1000000]".len()), [1, 1_000_000]);
        assert_eq!(fitting_ids([1, 1_000_000, 2], "CLRES 2\r\n[1, 100000]".len()), [1]);
        assert!(fitting_ids([1], 10).is_empty());

        let peer: SocketAddr = "10.0.0.2:51000".parse().unwrap();
        let length = "SHEL 10 3\r\n[[\"10.0.0.2\", 51000], [\"10.0.0.2\", 51000]]".len();
        assert_eq!(fitting_peers(10, 3, [peer; 9], length), [peer; 2]);
        assert_eq!(fitting_peers(10, 3, [peer; 9], length - 1), [peer]);
    }

    #[test]
    fn error_texts_are_truncated_for_the_original_programs() {
        let error = Message::Error { id: ErrorId::ChunkUndownloaded, text: "é".repeat(600) };
        assert_eq!(encoded(&error, Spelling::Documented).len(), 1226);
        // 998 bytes are left for the text.
        assert_eq!(encoded(&error, Spelling::Original).len(), ORIGINAL_MESSAGE_LIMIT);
        let error = Message::Error { id: ErrorId::ChecksumNotFit, text: "é".repeat(600) };
        assert!(encoded(&error, Spelling::Original).len() <= ORIGINAL_MESSAGE_LIMIT);
    }
}

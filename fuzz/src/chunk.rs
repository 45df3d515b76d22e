//! The stream of document 1's messages: the same in any segmentation and when encoded again in
//! either spelling; lists in agreement with a general JSON parser; memory bounded.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BytesMut};
use serde_json::Value;
use sow_wire::{
    chunk::{ChunkError, Decoded, Decoder, MAX_ERROR_TEXT, Message, Spelling, data_head, encode},
    compact::is_dialable,
};

use crate::memory;

/// Small, so that inputs of a few KiB come to the bound.
const MAX_DATA: u32 = 1024;

/// What a head and the text of an error may take.
const MEMORY: usize = 16 << 10;

/// What a byte of a list may take: an address of ten letters has 32 bytes, and a list of them is
/// copied when it grows.
const MEMORY_PER_BYTE: usize = 12;

/// What came over a stream.
#[derive(Debug, Clone, PartialEq)]
enum Came {
    Message(Message),
    Data(u64, Vec<u8>),
}

/// All that came over a stream, where in it each message ends, and why it could not go on.
#[derive(Debug, PartialEq)]
struct Received {
    came: Vec<Came>,
    ends: Vec<usize>,
    error: Option<ChunkError>,
}

/// Decodes a stream whole and in segments. The first byte is their number, a byte for each one's
/// length follows, then the stream.
pub fn chunk(data: &[u8]) {
    let Some((&number, data)) = data.split_first() else { return };
    let (segments, stream) = data.split_at(usize::from(number).min(data.len()));
    let whole = receive(stream, &[]);
    lists_agree(stream, &whole);
    for spelling in [Spelling::Documented, Spelling::Original] {
        encoded_again(&whole.came, spelling);
    }
    let (came, error) = (without_texts(whole.came), whole.error);
    for segments in [segments, &vec![1; stream.len()]] {
        let parts = receive(stream, segments);
        assert_eq!((without_texts(parts.came), parts.error), (came.clone(), error.clone()));
    }
}

/// What a socket's owner does: reads, decodes whatever is there, and takes payload off the stream
/// itself.
fn receive(stream: &[u8], segments: &[u8]) -> Received {
    let mut decoder = Decoder::new(MAX_DATA);
    let mut received = Received { came: Vec::new(), ends: Vec::new(), error: None };
    let (mut buffer, mut due) = (BytesMut::with_capacity(stream.len()), 0);
    let mut rest = stream;
    for length in segments.iter().map(|&length| length.into()).chain([stream.len()]) {
        let (segment, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(segment);
        loop {
            if let (Some(Came::Data(_, payload)), 1..) = (received.came.last_mut(), due) {
                let taken = buffer.len().min(due);
                payload.extend_from_slice(&buffer[..taken]);
                buffer.advance(taken);
                due -= taken;
            }
            if due > 0 {
                break;
            }
            let limit = MEMORY + MEMORY_PER_BYTE * buffer.len();
            match memory::within(limit, || decoder.decode(&mut buffer)) {
                Ok(None) => break,
                Ok(Some(Decoded::Message(message))) => received.came.push(Came::Message(message)),
                Ok(Some(Decoded::Data { offset, size })) => {
                    assert!((1..=MAX_DATA).contains(&size) && offset <= i64::MAX as u64);
                    due = size as usize;
                    received.came.push(Came::Data(offset, Vec::new()));
                }
                Err(error) => return Received { error: Some(error), ..received },
            }
            received.ends.push(stream.len() - rest.len() - buffer.len() + due);
        }
    }
    received
}

/// Without the texts of errors, which say less when they come in several segments.
fn without_texts(mut came: Vec<Came>) -> Vec<Came> {
    for came in &mut came {
        if let Came::Message(Message::Error { text, .. }) = came {
            assert!(text.len() <= MAX_ERROR_TEXT && !text.chars().any(char::is_control));
            text.clear();
        }
    }
    came
}

/// What came is what comes when it is sent on.
fn encoded_again(came: &[Came], spelling: Spelling) {
    let (mut want, mut again) = (Vec::new(), BytesMut::new());
    for came in came {
        match came {
            // What is shown of a head may be another head.
            Came::Message(Message::Unknown { .. }) => continue,
            Came::Message(message) => encode(message, spelling, &mut again),
            // The stream ended after the head: the size is not known here.
            Came::Data(_, payload) if payload.is_empty() => continue,
            Came::Data(offset, payload) => {
                again.extend_from_slice(&data_head(*offset, payload.len() as u32));
                again.extend_from_slice(payload);
            }
        }
        want.push(came.clone());
    }
    let Received { came: mut got, error, .. } = receive(&again, &[]);
    if spelling == Spelling::Original {
        (want, got) = (without_texts(want), without_texts(got));
    }
    assert_eq!((got, error), (want, None));
}

/// Each list that was read is the whole JSON value that follows its head; none that was refused is
/// one.
fn lists_agree(stream: &[u8], received: &Received) {
    let mut start = 0;
    for (came, &end) in received.came.iter().zip(&received.ends) {
        let value =
            || serde_json::from_slice::<Value>(body(&stream[start..end])).expect("a JSON value");
        match came {
            Came::Message(Message::List(ids)) => assert_eq!(Some(ids), ids_of(&value()).as_ref()),
            Came::Message(Message::ServerHello { peers, .. }) => {
                assert_eq!(Some(peers), peers_of(&value()).as_ref());
            }
            _ => {}
        }
        start = end;
    }
    let Some(ChunkError::BadList { op }) = received.error else { return };
    let body = body(&stream[start..]);
    if let Some(Ok(value)) = serde_json::Deserializer::from_slice(body).into_iter::<Value>().next()
        && body.starts_with(b"[")
    {
        let acceptable = if op == "SHEL" { is_flat(&value) } else { ids_of(&value).is_some() };
        assert!(!acceptable, "{value} was refused");
    }
}

/// What follows the first CR LF.
fn body(message: &[u8]) -> &[u8] {
    let head = message.windows(2).position(|pair| pair == b"\r\n").expect("a head");
    &message[head + 2..]
}

fn ids_of(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| id.try_into().ok());
    value.as_array()?.iter().map(id).collect()
}

fn peers_of(value: &Value) -> Option<Vec<SocketAddr>> {
    let peer = |entry: &Value| {
        let [ip, port] = &entry.as_array()?[..] else { return None };
        let ip: IpAddr = ip.as_str()?.parse().ok()?;
        let peer = SocketAddr::new(ip.to_canonical(), port.as_u64()?.try_into().ok()?);
        is_dialable(peer).then_some(peer)
    };
    Some(value.as_array()?.iter().filter_map(peer).collect())
}

/// Whether nothing in an entry of the list has entries of its own.
fn is_flat(value: &Value) -> bool {
    let plain = |value: &Value| !value.is_array() && !value.is_object();
    let flat = |entry: &Value| match entry {
        Value::Array(parts) => parts.iter().all(plain),
        Value::Object(parts) => parts.values().all(plain),
        _ => true,
    };
    value.as_array().is_some_and(|entries| entries.iter().all(flat))
}

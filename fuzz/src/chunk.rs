//! The stream of `chunk` messages: the same outcome in any segmentation and when encoded again in
//! either spelling, lists in agreement with a general JSON parser, and bounded memory.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use serde_json::Value;
use sow_wire::{
    chunk::{ChunkError, Decoded, Decoder, MAX_ERROR_TEXT, Message, Spelling, data_head, encode},
    compact::is_dialable,
    testing::{self, Item, same_in_any_segmentation},
};

use crate::{input::segments_and_stream, memory};

/// A message, or the offset and payload of a `DATA`.
type Received = testing::Received<Message, u64>;

type Reception = testing::Reception<Message, u64, ChunkError>;

/// Small, so that inputs of a few KiB reach the limit.
const MAX_DATA: u32 = 1024;

/// Memory for a head and the text of an error.
const MAX_HEAD_MEMORY: usize = 16 << 10;

/// Memory for a byte of a list: the text of an address has ten bytes or more, the address 32 bytes,
/// and the list of addresses is copied when it grows.
const MAX_MEMORY_PER_BYTE: usize = 12;

/// Decodes a stream whole and in segments.
pub fn chunk(data: &[u8]) {
    let Some((segments, stream)) = segments_and_stream(data) else { return };
    let whole = receive(stream, &[]);
    check_lists(stream, &whole);
    for spelling in [Spelling::Documented, Spelling::Original] {
        check_round_trip(&whole.received, spelling);
    }
    same_in_any_segmentation(stream, &segments, |stream, segments| {
        let reception = receive(stream, segments);
        (without_texts(reception.received), reception.error)
    });
}

fn receive(stream: &[u8], segments: &[usize]) -> Reception {
    let mut decoder = Decoder::new(MAX_DATA);
    let decode = |buffer: &mut BytesMut| {
        let limit = MAX_HEAD_MEMORY + MAX_MEMORY_PER_BYTE * buffer.len();
        let decoded = memory::within(limit, || decoder.decode(buffer))?;
        Ok(decoded.map(|decoded| match decoded {
            Decoded::Message(message) => Item::Message(message),
            Decoded::Data { offset, size } => {
                assert!((1..=MAX_DATA).contains(&size) && offset <= i64::MAX as u64);
                Item::Payload { head: offset, length: size }
            }
        }))
    };
    testing::receive(stream, segments, decode, |_| {})
}

/// The items without error texts, which are shorter when they arrive in several segments.
fn without_texts(mut received: Vec<Received>) -> Vec<Received> {
    for received in &mut received {
        if let Received::Message(Message::Error { text, .. }) = received {
            assert!(text.len() <= MAX_ERROR_TEXT && !text.chars().any(char::is_control));
            text.clear();
        }
    }
    received
}

/// Decoded items decode to the same when they are encoded again.
fn check_round_trip(received: &[Received], spelling: Spelling) {
    let (mut want, mut stream) = (Vec::new(), BytesMut::new());
    for received in received {
        match received {
            // The excerpt of an unknown head may be a known head.
            Received::Message(Message::Unknown { .. }) => continue,
            Received::Message(message) => encode(message, spelling, &mut stream),
            // The stream ended after the head, whose size is not kept.
            Received::Payload(_, payload) if payload.is_empty() => continue,
            Received::Payload(offset, payload) => {
                stream.extend_from_slice(&data_head(*offset, payload.len() as u32));
                stream.extend_from_slice(payload);
            }
        }
        want.push(received.clone());
    }
    let (mut got, error) = receive(&stream, &[]).outcome();
    if spelling == Spelling::Original {
        (want, got) = (without_texts(want), without_texts(got));
    }
    assert_eq!((got, error), (want, None));
}

/// Each decoded list is the JSON value after its head, and no rejected list is an acceptable value.
fn check_lists(stream: &[u8], reception: &Reception) {
    let mut start = 0;
    for (received, &end) in reception.received.iter().zip(&reception.ends) {
        let value =
            || serde_json::from_slice::<Value>(body(&stream[start..end])).expect("a JSON value");
        match received {
            Received::Message(Message::List(ids)) => {
                assert_eq!(Some(ids), ids_of(&value()).as_ref());
            }
            Received::Message(Message::ServerHello { peers, .. }) => {
                assert_eq!(Some(peers), peers_of(&value()).as_ref());
            }
            _ => {}
        }
        start = end;
    }
    let Some(ChunkError::BadList { op }) = reception.error else { return };
    let body = body(&stream[start..]);
    if let Some(Ok(value)) = serde_json::Deserializer::from_slice(body).into_iter::<Value>().next()
        && body.starts_with(b"[")
    {
        let acceptable = if op == "SHEL" { is_flat(&value) } else { ids_of(&value).is_some() };
        assert!(!acceptable, "{value} was rejected");
    }
}

/// The bytes after the first CR LF.
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

/// Whether the entries of a list contain no arrays or objects themselves.
fn is_flat(value: &Value) -> bool {
    let is_scalar = |value: &Value| !value.is_array() && !value.is_object();
    let is_flat_entry = |entry: &Value| match entry {
        Value::Array(parts) => parts.iter().all(is_scalar),
        Value::Object(parts) => parts.values().all(is_scalar),
        _ => true,
    };
    value.as_array().is_some_and(|entries| entries.iter().all(is_flat_entry))
}

//! The tracker protocol of `json-torrent`: what is encoded decodes to the same, and damaged
//! messages are rejected or consistent.

use std::net::{IpAddr, SocketAddr};

use proptest::{collection::vec, prelude::*};
use sow_content::untrusted::is_unprintable;
use sow_wire::{
    compact::is_dialable,
    json_torrent::tracker::{Event, MAX_REPLY_PEERS, Reply, Request},
};

fn addresses() -> impl Strategy<Value = SocketAddr> {
    let ips = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ];
    (ips, any::<u16>())
        .prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
        .prop_filter("not dialable", |addr| is_dialable(*addr))
}

fn requests() -> impl Strategy<Value = Request> {
    let events = prop::sample::select(vec![Event::Started, Event::Stopped, Event::Completed]);
    (proptest::option::of(addresses()), 1..=u16::MAX, ".{0,30}", events).prop_map(
        |(ip, port, peer_id, event)| Request { ip: ip.map(|addr| addr.ip()), port, peer_id, event },
    )
}

/// Reasons as they are kept: nothing in them is replaced for a terminal. Line and paragraph
/// separators are no control characters, and are replaced even so.
fn reasons() -> impl Strategy<Value = String> {
    let kept = |c: char| if is_unprintable(c) { 'x' } else { c };
    vec(any::<char>().prop_map(kept), 0..50).prop_map(String::from_iter)
}

fn replies() -> impl Strategy<Value = Reply> {
    prop_oneof![
        vec(addresses(), 0..20).prop_map(Reply::Joined),
        Just(Reply::Left),
        reasons().prop_map(Reply::Error),
    ]
}

proptest! {
    #[test]
    fn every_request_round_trips(request in requests()) {
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn every_reply_round_trips(reply in replies()) {
        prop_assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }

    #[test]
    fn a_line_separator_in_a_reason_is_replaced(before in reasons(), after in reasons()) {
        let reason = |c| Reply::Error(format!("{}{c}{}", cut(&before), cut(&after)));
        for separator in ['\u{2028}', '\u{2029}', '\n', '\x1b'] {
            let read = Reply::decode(&reason(separator).encode());
            prop_assert_eq!(read, Ok(reason('\u{fffd}')));
        }
    }

    #[test]
    fn a_damaged_message_is_rejected_or_consistent(
        request in requests(), reply in replies(), at: prop::sample::Index, byte: u8,
    ) {
        let mut bytes = request.encode();
        let damaged = at.index(bytes.len());
        bytes[damaged] = byte;
        if let Ok(read) = Request::decode(&bytes) {
            prop_assert!(read.port != 0);
            prop_assert_eq!(Request::decode(&read.encode()), Ok(read));
        }
        let mut bytes = reply.encode();
        let damaged = at.index(bytes.len());
        bytes[damaged] = byte;
        if let Ok(read) = Reply::decode(&bytes) {
            if let Reply::Joined(peers) = &read {
                prop_assert!(peers.len() <= MAX_REPLY_PEERS);
                prop_assert!(peers.iter().all(|addr| is_dialable(*addr)));
            }
            prop_assert_eq!(Reply::decode(&read.encode()), Ok(read));
        }
    }
}

/// At most ten characters, so that two and a separator are not shortened.
fn cut(text: &str) -> String {
    text.chars().take(10).collect()
}

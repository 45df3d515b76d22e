//! Magnet links and tickets: what is written parses back the same, and no text makes a parser
//! panic.

use std::net::Ipv6Addr;

use proptest::{array::uniform20, collection::vec, option, prelude::*};
use sow_content::{InfoHash, Magnet, Ticket, ticket::Address};

fn hosts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9][a-z0-9._-]{0,20}",
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<[u8; 16]>().prop_map(|ip| Ipv6Addr::from(ip).to_string()),
        Just("fe80::1%eth0".to_owned()),
    ]
}

fn addresses() -> impl Strategy<Value = Address> {
    (hosts(), 1u16..).prop_map(|(host, port)| Address { host, port })
}

fn magnets() -> impl Strategy<Value = Magnet> {
    let peers = vec(addresses().prop_map(|address| address.to_string()), 0..3);
    (
        uniform20(any::<u8>()),
        option::of(".{0,20}"),
        vec(".{1,30}", 0..3),
        peers,
        any::<Option<u64>>(),
    )
        .prop_map(|(hash, name, trackers, peers, length)| Magnet {
            name,
            trackers,
            peers,
            length,
            ..Magnet::new(InfoHash(hash))
        })
}

proptest! {
    #[test]
    fn every_magnet_round_trips(magnet in magnets()) {
        let text = magnet.to_string();
        prop_assert!(text.is_ascii() && !text.contains(' '));
        prop_assert_eq!(text.parse(), Ok(magnet));
    }

    #[test]
    fn a_damaged_magnet_is_rejected_or_consistent(
        magnet in magnets(), at in any::<prop::sample::Index>(),
        replacement in "[%&=.:a-z0-9\u{fc}]{0,3}",
    ) {
        let mut text = magnet.to_string();
        let at = at.index(text.len());
        text.replace_range(at..at + 1, &replacement);
        if let Ok(read) = text.parse::<Magnet>() {
            let kept = Magnet { ignored: vec![], ..read };
            prop_assert_eq!(kept.to_string().parse(), Ok(kept));
        }
    }

    #[test]
    fn every_ticket_round_trips(address in addresses(), hash in uniform20(any::<u8>())) {
        let Address { host, port } = address.clone();
        let ticket = Ticket { host, port, info_hash: InfoHash(hash) };
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        let hexadecimal = format!("{}/{}", ticket.address(), ticket.info_hash);
        prop_assert_eq!(hexadecimal.parse(), Ok(ticket.clone()));
        prop_assert_eq!(ticket.to_string().parse(), Ok(ticket));
    }

    #[test]
    fn any_text_is_rejected_or_consistent(text in r"[\[\]a-f0-9:%./-]{0,30}") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert!(address.port != 0 && !address.host.is_empty());
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}

//! Who broke its protocol and was hung up on, as people are told without `-v`: once for each
//! address, and not without end. Whom to drop, and why, is the engine's affair.

use std::{collections::BTreeSet, net::IpAddr};

use sow_engine::Event;

/// So many addresses are told of.
const MOST: usize = 20;

/// Who was told of.
#[derive(Debug, Default)]
pub(crate) struct Offenders {
    told: BTreeSet<IpAddr>,
    /// It was said that no more will be told of.
    is_full: bool,
}

impl Offenders {
    /// What people are to be warned of now that this has happened.
    pub(crate) fn warning(&mut self, event: &Event) -> Option<String> {
        let Event::PeerDisconnected { addr, reason: Some(reason), .. } = event else { return None };
        let host = addr.ip();
        if reason.misbehavior().is_none() || self.told.contains(&host) {
            return None;
        }
        if self.told.len() < MOST {
            self.told.insert(host);
            return Some(format!(
                "{addr} does not keep to its protocol and was hung up on: {reason}"
            ));
        }
        let is_news = !std::mem::replace(&mut self.is_full, true);
        is_news.then(|| {
            format!(
                "more than {MOST} addresses do not keep to their protocol; the others are named with -v alone"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use sow_engine::{ConnId, DisconnectReason, Misbehavior};
    use sow_wire::bittorrent::PeerId;

    use super::*;

    fn gone(host: u8, port: u16, reason: Option<DisconnectReason>) -> Event {
        Event::PeerDisconnected {
            conn: ConnId(1),
            addr: ([10, 0, 0, host], port).into(),
            listen_addr: None,
            peer_id: PeerId([0; 20]),
            downloaded: 0,
            reason,
        }
    }

    #[test]
    fn each_address_is_told_of_once_and_only_so_many() {
        let mut offenders = Offenders::default();
        let fault = || {
            Some(DisconnectReason::Misbehaved(Misbehavior::MalformedMessage(
                "a head of more than 256 bytes".into(),
            )))
        };
        let first = offenders.warning(&gone(1, 4, fault())).unwrap();
        assert!(
            first.starts_with("10.0.0.1:4 ") && first.ends_with("a head of more than 256 bytes"),
            "{first}"
        );
        assert_eq!(
            offenders.warning(&gone(
                1,
                5,
                Some(DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange))
            )),
            None
        );
        let told = (0..=255)
            .filter_map(|host| offenders.warning(&gone(host, 4, fault())))
            .collect::<Vec<_>>();
        assert_eq!(told.len(), MOST, "nineteen more, and that there are others");
        assert!(told[MOST - 1].contains("-v"), "{}", told[MOST - 1]);
    }

    #[test]
    fn who_leaves_or_is_not_needed_is_not_told_of() {
        let mut offenders = Offenders::default();
        let harmless = [
            DisconnectReason::PeerStopped,
            DisconnectReason::PeerTimeout,
            DisconnectReason::MessageTimeout,
            DisconnectReason::NothingToTrade,
            DisconnectReason::PieceNotAvailable,
            DisconnectReason::TooManyConnections,
            DisconnectReason::DuplicateConnection,
            DisconnectReason::ShuttingDown,
        ];
        for reason in harmless.map(Some).into_iter().chain([None]) {
            assert_eq!(offenders.warning(&gone(1, 4, reason)), None);
        }
        assert!(
            offenders
                .warning(&gone(
                    1,
                    4,
                    Some(DisconnectReason::Misbehaved(Misbehavior::SecondBitfield))
                ))
                .is_some()
        );
    }
}

//! Warnings about peers that were disconnected for a protocol error: one for each address, up to a
//! limit. The engine decides which peers to disconnect.

use std::{collections::BTreeSet, net::IpAddr};

use sow_content::untrusted::printable;
use sow_engine::Event;

use crate::reachability::printable_excerpt;

/// The number of addresses that get a warning of their own.
const MAX_WARNED_ADDRESSES: usize = 20;

/// The number of warnings about trackers.
const MAX_TRACKER_WARNINGS: usize = 5;

/// The addresses that have got a warning.
#[derive(Debug, Default)]
pub(crate) struct ProtocolWarnings {
    warned: BTreeSet<IpAddr>,
    tracker_warnings: usize,
    /// The warning that there are more addresses was given.
    has_warned_of_more: bool,
}

impl ProtocolWarnings {
    /// The warning that an event gives rise to, if any.
    pub(crate) fn on_event(&mut self, event: &Event) -> Option<String> {
        if let Some(warning) = tracker_warning(event) {
            self.tracker_warnings += 1;
            return (self.tracker_warnings <= MAX_TRACKER_WARNINGS).then_some(warning);
        }
        let Event::PeerDisconnected { addr, reason: Some(reason), .. } = event else { return None };
        let host = addr.ip();
        if reason.misbehavior().is_none() || self.warned.contains(&host) {
            return None;
        }
        if self.warned.len() < MAX_WARNED_ADDRESSES {
            self.warned.insert(host);
            return Some(format!("{addr} was disconnected for a protocol error: {reason}"));
        }
        let is_first = !std::mem::replace(&mut self.has_warned_of_more, true);
        is_first.then(|| {
            format!(
                "more than {MAX_WARNED_ADDRESSES} addresses were disconnected for protocol \
                 errors; only the log (-v) names the others"
            )
        })
    }
}

/// What a tracker warns of, and a tracker that can never be asked: others may be there.
fn tracker_warning(event: &Event) -> Option<String> {
    match event {
        Event::TrackerAnswered { url, warning: Some(warning), .. } => {
            Some(format!("the tracker {} says: {}", printable_excerpt(url), printable(warning)))
        }
        Event::TrackerFailed { url, error } if error.is_permanent() => {
            let url = printable_excerpt(url);
            Some(format!("the tracker {url} is not asked: {}", printable(&error.to_string())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use sow_engine::{ConnId, DisconnectReason, Misbehavior};
    use sow_wire::bittorrent::PeerId;

    use super::*;

    fn disconnected(host: u8, port: u16, reason: Option<DisconnectReason>) -> Event {
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
    fn each_address_gets_one_warning_up_to_a_limit() {
        let mut warnings = ProtocolWarnings::default();
        let misbehavior = || {
            Some(DisconnectReason::Misbehaved(Misbehavior::MalformedMessage(
                "a head of more than 256 bytes".into(),
            )))
        };
        let first = warnings.on_event(&disconnected(1, 4, misbehavior())).unwrap();
        assert!(
            first.starts_with("10.0.0.1:4 ") && first.ends_with("a head of more than 256 bytes"),
            "{first}"
        );
        assert_eq!(
            warnings.on_event(&disconnected(
                1,
                5,
                Some(DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange))
            )),
            None
        );
        let texts = (0..=255)
            .filter_map(|host| warnings.on_event(&disconnected(host, 4, misbehavior())))
            .collect::<Vec<_>>();
        assert_eq!(texts.len(), MAX_WARNED_ADDRESSES, "nineteen addresses and a last warning");
        let last = &texts[MAX_WARNED_ADDRESSES - 1];
        assert!(last.contains("-v"), "{last}");
    }

    #[test]
    fn a_disconnect_without_misbehavior_gets_no_warning() {
        let mut warnings = ProtocolWarnings::default();
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
            assert_eq!(warnings.on_event(&disconnected(1, 4, reason)), None);
        }
        assert!(
            warnings
                .on_event(&disconnected(
                    1,
                    4,
                    Some(DisconnectReason::Misbehaved(Misbehavior::SecondBitfield))
                ))
                .is_some()
        );
    }
}

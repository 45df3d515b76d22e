//! When nobody is to be reached: from what a swarm reports in its first seconds to the reason that
//! people are told.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use sow_content::ticket::Address;
use sow_engine::{AnnounceError, Dialect, Event};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    exit::{Exit, Failure},
    resolve::{self, Offer, PATIENCE, Source},
};

/// How long to wait before anybody is asked what is wrong.
const QUIET: Duration = Duration::from_secs(2);

/// How long somebody who answers may be without what is wanted.
const STRANGER: Duration = Duration::from_secs(15);

/// What is known of the way into a swarm.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contact {
    /// A peer or a tracker has answered, or a server of document 1 has said what it has.
    pub(crate) is_made: bool,
    /// Somebody took the call.
    is_met: bool,
    /// Why he was hung up on, or that he did it.
    parted: Option<String>,
    /// Trackers that did not, and why.
    failed: BTreeMap<String, String>,
}

impl Contact {
    /// Why none of the trackers answers, if none does.
    pub(crate) fn no_tracker_answers(&self, source: &Source) -> Option<String> {
        let mut trackers = source.trackers.iter().flatten().peekable();
        trackers.peek()?;
        if !trackers.all(|url| self.failed.contains_key(url)) {
            return None;
        }
        let reasons: Vec<_> =
            self.failed.iter().map(|(url, reason)| format!("{url}: {reason}")).collect();
        Some(reasons.join("; "))
    }

    /// Takes in what a swarm reports.
    pub(crate) fn note(contact: &watch::Sender<Contact>, dialect: Dialect, event: &Event) {
        match event {
            // Whoever takes a call need not be a server.
            Event::PeerConnected { .. } if dialect == Dialect::Chunk => {
                contact.send_modify(|contact| contact.is_met = true);
            }
            Event::PeerDisconnected { reason, .. } if dialect == Dialect::Chunk => {
                contact.send_modify(|contact| match reason {
                    Some(reason) => contact.parted = Some(reason.to_string()),
                    // What it did wrong before says more.
                    None => _ = contact.parted.get_or_insert_with(|| "it hung up".to_owned()),
                });
            }
            Event::GeometryLearned { .. } => contact.send_modify(|contact| contact.is_made = true),
            Event::PeerConnected { .. } => {
                contact.send_if_modified(|contact| !std::mem::replace(&mut contact.is_made, true));
            }
            Event::TrackerAnswered { url, .. } => contact.send_modify(|contact| {
                contact.is_made = true;
                contact.failed.remove(url);
            }),
            Event::TrackerFailed { url, error } => {
                contact.send_modify(|contact| {
                    _ = contact.failed.insert(url.clone(), error.to_string())
                });
            }
            _ => {}
        }
    }
}

/// Returns when nobody who could have the content is to be reached, with the reason. Never, once
/// contact is made.
pub(crate) async fn out_of_reach(
    source: &Source,
    bind: Option<IpAddr>,
    mut contact: watch::Receiver<Contact>,
) -> Failure {
    let state = contact.clone();
    tokio::select! {
        biased;
        // When the swarm has ended instead, whoever ended it knows why.
        _ = contact.wait_for(|contact| contact.is_made) => {}
        failure = diagnose(source, bind, &state) => return failure,
    }
    std::future::pending().await
}

async fn diagnose(
    source: &Source,
    bind: Option<IpAddr>,
    contact: &watch::Receiver<Contact>,
) -> Failure {
    if source.peers.is_empty() && source.trackers.is_empty() {
        return Failure::new(
            Exit::Unfinished,
            format!("there is nobody to fetch {} from", source.label),
        )
        .tip("it names no tracker and no peer; get a ticket or a magnet link that does");
    }
    let since = Instant::now();
    sleep(QUIET).await;
    loop {
        let waited = since.elapsed();
        let found = if source.dialect == Dialect::Chunk {
            servers_are_silent(source, &contact.borrow(), waited)
        } else if source.peers.is_empty() {
            trackers_are_silent(source, &contact.borrow(), waited)
        } else {
            ask_peers(source, bind, waited).await
        };
        if let Some(failure) = found {
            return failure;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn trackers_are_silent(source: &Source, contact: &Contact, waited: Duration) -> Option<Failure> {
    let reasons = contact.no_tracker_answers(source).filter(|_| waited >= PATIENCE)?;
    let failure =
        Failure::new(Exit::Unreachable, format!("no tracker can be asked for peers: {reasons}"));
    Some(failure.tip("check that it runs and that this machine can reach it"))
}

fn servers_are_silent(source: &Source, contact: &Contact, waited: Duration) -> Option<Failure> {
    let servers: Vec<String> = source.peers.iter().map(ToString::to_string).collect();
    let servers = servers.join(", ");
    let patience = if contact.is_met { STRANGER } else { PATIENCE };
    let said = match &contact.parted {
        Some(why) if contact.is_met => {
            format!(
                "{servers}: somebody answers, but serves no file in document 1's protocol ({why})"
            )
        }
        _ if contact.is_met => {
            format!("{servers}: somebody answers, but says nothing of document 1's protocol")
        }
        _ => format!("cannot reach {servers}"),
    };
    (waited >= patience).then(|| {
        Failure::new(Exit::Unreachable, said)
            .tip("check that `sow chunk server` runs there, the address, and the firewall between")
    })
}

/// Asks every named machine what it has. `Some`: none of them can be hoped for.
async fn ask_peers(source: &Source, bind: Option<IpAddr>, waited: Duration) -> Option<Failure> {
    let mut last = None;
    for address in &source.peers {
        let offers = resolve::offers(address, bind).await;
        last = Some(judge(source, address, offers, waited)?);
    }
    last
}

/// Why a machine is no hope; `None` when it still is.
fn judge(
    source: &Source,
    address: &Address,
    answer: Result<Vec<Offer>, Failure>,
    waited: Duration,
) -> Option<Failure> {
    match answer {
        // It is there, but perhaps still hashing; or it has it, and will take us in.
        Ok(offers) if offers.is_empty() || offers.iter().any(|offer| is(source, offer)) => None,
        Ok(offers) => {
            let lines: String =
                offers.iter().map(|offer| resolve::in_line(address, offer)).collect();
            let hash = source.info_hash.to_base32();
            Some(
                Failure::new(Exit::Unfinished, format!("{address} does not share {hash}"))
                    .tip(format!("it shares:{lines}")),
            )
        }
        Err(failure) if failure.exit() == Exit::Unreachable => (waited >= PATIENCE).then(|| {
            Failure::new(Exit::Unreachable, format!("cannot reach {address}: {}", reason(&failure)))
                .tip("check that `sow send` runs there, the address, and the firewall between")
        }),
        Err(_) => (waited >= STRANGER).then(|| {
            Failure::new(
                Exit::Unreachable,
                format!("{address} answers, but does not share {}", source.label),
            )
            .tip("check the ticket or the link")
        }),
    }
}

fn is(source: &Source, offer: &Offer) -> bool {
    offer.info_hash.parse() == Ok(source.info_hash)
}

/// What follows the URL in the message of a failed request.
fn reason(failure: &Failure) -> &str {
    failure.message().split_once("/: ").map_or(failure.message(), |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use sow_content::InfoHash;

    use super::*;

    fn source(trackers: &[&str]) -> Source {
        Source {
            dialect: Dialect::BitTorrent,
            info_hash: InfoHash([0; 20]),
            metainfo: None,
            label: "a.iso".into(),
            trackers: trackers.iter().map(|url| vec![(*url).to_owned()]).collect(),
            peers: Vec::new(),
        }
    }

    fn address() -> Address {
        Address { host: "10.0.0.1".into(), port: 52000 }
    }

    fn offer(byte: &str) -> Offer {
        Offer { name: "b.iso".into(), info_hash: byte.repeat(20), length: 5 }
    }

    fn judged(answer: Result<Vec<Offer>, Failure>, seconds: u64) -> Option<Exit> {
        judge(&source(&[]), &address(), answer, Duration::from_secs(seconds))
            .map(|failure| failure.exit())
    }

    #[test]
    fn an_origin_without_it_is_no_hope_and_one_that_hashes_is() {
        assert_eq!(judged(Ok(vec![offer("11")]), 2), Some(Exit::Unfinished));
        assert_eq!(judged(Ok(vec![offer("11"), offer("00")]), 60), None);
        assert_eq!(judged(Ok(vec![]), 60), None);
    }

    #[test]
    fn silence_is_given_a_few_seconds() {
        let refused =
            || Err(Failure::new(Exit::Unreachable, "cannot fetch http://10.0.0.1:52000/: refused"));
        assert_eq!(judged(refused(), 3), None);
        let failure = judge(&source(&[]), &address(), refused(), PATIENCE).unwrap();
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert_eq!(failure.message(), "cannot reach 10.0.0.1:52000: refused");
        let stranger = || Err(Failure::new(Exit::Failed, "no index"));
        assert_eq!(
            (judged(stranger(), 6), judged(stranger(), 20)),
            (None, Some(Exit::Unreachable))
        );
    }

    #[test]
    fn trackers_are_given_up_when_all_have_failed() {
        let source = source(&["http://a/announce", "udp://b:1"]);
        let (contact, state) = watch::channel(Contact::default());
        let failed = |url: &str| Event::TrackerFailed {
            url: url.into(),
            error: AnnounceError::Refused("refused".into()),
        };
        let silent = || trackers_are_silent(&source, &state.borrow(), PATIENCE).is_some();
        Contact::note(&contact, Dialect::BitTorrent, &failed("http://a/announce"));
        assert!(!silent());
        Contact::note(&contact, Dialect::BitTorrent, &failed("udp://b:1"));
        assert!(silent());
        assert!(trackers_are_silent(&source, &state.borrow(), QUIET).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_contact_is_not_out_of_reach() {
        let source = source(&["http://a/announce"]);
        let (contact, state) = watch::channel(Contact::default());
        Contact::note(
            &contact,
            Dialect::BitTorrent,
            &Event::TrackerFailed {
                url: "http://a/announce".into(),
                error: AnnounceError::Timeout,
            },
        );
        let failure = out_of_reach(&source, None, state.clone()).await;
        assert_eq!(failure.exit(), Exit::Unreachable);
        Contact::note(
            &contact,
            Dialect::BitTorrent,
            &Event::TrackerAnswered { url: "http://a/announce".into(), peers: 0 },
        );
        let outcome =
            tokio::time::timeout(Duration::from_secs(3600), out_of_reach(&source, None, state))
                .await;
        assert!(outcome.is_err());
    }
}

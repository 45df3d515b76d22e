//! Whether a swarm can be reached: turns what happens in the first seconds of a download into the
//! failure that the user sees. Connections and retries are the node's and the engine's.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use sow_content::{ticket::Address, untrusted::printable};
use sow_engine::{AnnounceError, Dialect, Event};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    exit::{Exit, Failure},
    origin_index::{Offer, UNREACHABLE_AFTER, list_offers, request_offers},
    swarm_source::SwarmSource,
};

/// The delay before the first diagnosis.
const FIRST_DIAGNOSIS_DELAY: Duration = Duration::from_secs(2);

/// The interval between two diagnoses.
const DIAGNOSIS_INTERVAL: Duration = Duration::from_secs(1);

/// How long the diagnosis after a timeout may take.
const LAST_DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a machine that answers may lack the content before the download fails.
const UNSUITABLE_AFTER: Duration = Duration::from_secs(15);

/// The trackers whose errors are shown.
const MAX_TRACKER_ERRORS: usize = 4;

const REFUSED_TIP: &str = "the tracker answers, and does not take this torrent or this machine: \
    get it again from where it is offered, or ask those who run the tracker";

const UNREACHABLE_TIP: &str = "check that the tracker runs and that this machine can reach it";

/// What is known about the ways into a swarm.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reachability {
    /// A peer or a tracker has answered, or a `chunk` server has announced its file.
    pub(crate) is_reached: bool,
    /// A machine has accepted a `chunk` connection.
    has_accepted: bool,
    /// Why a `chunk` connection ended.
    disconnect: Option<String>,
    /// The trackers whose last announce failed, and why.
    failed_trackers: BTreeMap<String, AnnounceError>,
}

impl Reachability {
    /// The errors of the trackers, if all of them have failed.
    pub(crate) fn tracker_errors(&self, source: &SwarmSource) -> Option<String> {
        let mut trackers = source.trackers.iter().flatten().peekable();
        trackers.peek()?;
        if !trackers.all(|url| self.failed_trackers.contains_key(url)) {
            return None;
        }
        Some(self.errors_text())
    }

    /// The errors of a few trackers; what refused comes first.
    fn errors_text(&self) -> String {
        let is_refusal = |error: &AnnounceError| matches!(error, AnnounceError::Refused(_));
        let mut failed: Vec<_> = self.failed_trackers.iter().collect();
        failed.sort_by_key(|(_, error)| !is_refusal(error));
        let texts = failed.iter().take(MAX_TRACKER_ERRORS).map(|(url, error)| {
            let refuses = if is_refusal(error) { " refuses" } else { "" };
            let (url, error) = (printable_excerpt(url), error.to_string());
            format!("{url}{refuses}: {}", printable(&error))
        });
        let mut texts: Vec<String> = texts.collect();
        match failed.len().saturating_sub(MAX_TRACKER_ERRORS) {
            0 => {}
            more => texts.push(format!("{more} more")),
        }
        texts.join("; ")
    }

    /// Whether a tracker gave a reason of its own.
    fn is_refused(&self) -> bool {
        self.failed_trackers.values().any(|error| matches!(error, AnnounceError::Refused(_)))
    }

    /// Adds the errors of the trackers to the failure of a download that ended before it found
    /// anything, or that a tracker refused.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let is_timeout = failure.exit() == Exit::Unfinished;
        if !is_timeout || self.failed_trackers.is_empty() || self.is_reached && !self.is_refused() {
            return failure;
        }
        let text = format!("{}; {}", failure.message(), self.errors_text());
        let explained = Failure::new(failure.exit(), text);
        explained.tip(if self.is_refused() { REFUSED_TIP } else { UNREACHABLE_TIP })
    }

    /// Why nothing was reached when the time of `--timeout` was over; `None` if something was, or
    /// no machine is named.
    pub(crate) async fn failure_at_timeout(
        &self,
        source: &SwarmSource,
        bind: Option<IpAddr>,
    ) -> Option<Failure> {
        if self.is_reached || source.peers.is_empty() {
            return None;
        }
        if source.dialect == Dialect::Chunk {
            return diagnose_chunk_servers(source, self, Duration::MAX, Duration::ZERO);
        }
        let diagnosis = diagnose_peers(source, bind, Duration::MAX, Duration::ZERO);
        match timeout(LAST_DIAGNOSIS_TIMEOUT, diagnosis).await {
            Ok(failure) => failure,
            Err(_) => Some(unreachable(&source.origin_name(), "no answer")),
        }
    }

    /// Updates the state after an event of the swarm.
    pub(crate) fn on_event(state: &watch::Sender<Self>, dialect: Dialect, event: &Event) {
        match event {
            // A machine that accepts a connection is not necessarily a `chunk` server.
            Event::PeerConnected { .. } if dialect == Dialect::Chunk => {
                state.send_modify(|state| state.has_accepted = true);
            }
            Event::PeerDisconnected { reason, .. } if dialect == Dialect::Chunk => {
                state.send_modify(|state| match reason {
                    Some(reason) => state.disconnect = Some(reason.to_string()),
                    // An earlier misbehavior is the better explanation.
                    None => {
                        let closed = || "it closed the connection".to_owned();
                        _ = state.disconnect.get_or_insert_with(closed);
                    }
                });
            }
            Event::GeometryLearned { .. } => state.send_modify(|state| state.is_reached = true),
            Event::PeerConnected { .. } => {
                state.send_if_modified(|state| !std::mem::replace(&mut state.is_reached, true));
            }
            Event::TrackerAnswered { url, .. } => state.send_modify(|state| {
                state.is_reached = true;
                state.failed_trackers.remove(url);
            }),
            Event::TrackerFailed { url, error } => {
                state.send_modify(|state| {
                    _ = state.failed_trackers.insert(url.clone(), error.clone())
                });
            }
            _ => {}
        }
    }
}

/// Returns the failure when no machine that could have the content can be reached. Never returns
/// once the swarm is reached.
pub(crate) async fn wait_until_unreachable(
    source: &SwarmSource,
    bind: Option<IpAddr>,
    origin_timeout: Duration,
    mut state: watch::Receiver<Reachability>,
) -> Failure {
    let current = state.clone();
    tokio::select! {
        biased;
        // This is also ready when the swarm has ended; the download then reports why.
        _ = state.wait_for(|state| state.is_reached) => {}
        failure = diagnose_until_failure(source, bind, origin_timeout, &current) => return failure,
    }
    std::future::pending().await
}

async fn diagnose_until_failure(
    source: &SwarmSource,
    bind: Option<IpAddr>,
    origin_timeout: Duration,
    state: &watch::Receiver<Reachability>,
) -> Failure {
    if source.peers.is_empty() && source.trackers.is_empty() {
        return Failure::new(
            Exit::Unfinished,
            format!("{} cannot be downloaded: it names no tracker and no peer", source.label),
        )
        .tip("get a ticket, or a magnet link or torrent that names a tracker or a peer");
    }
    let since = Instant::now();
    sleep(FIRST_DIAGNOSIS_DELAY).await;
    loop {
        let elapsed = since.elapsed();
        let failure = if source.dialect == Dialect::Chunk {
            diagnose_chunk_servers(source, &state.borrow(), elapsed, origin_timeout)
        } else if source.peers.is_empty() {
            diagnose_trackers(source, &state.borrow(), elapsed)
        } else {
            diagnose_peers(source, bind, elapsed, origin_timeout).await
        };
        if let Some(failure) = failure {
            return failure;
        }
        sleep(DIAGNOSIS_INTERVAL).await;
    }
}

fn diagnose_trackers(
    source: &SwarmSource,
    state: &Reachability,
    elapsed: Duration,
) -> Option<Failure> {
    let errors = state.tracker_errors(source).filter(|_| elapsed >= UNREACHABLE_AFTER)?;
    if state.is_refused() {
        let failure = Failure::new(Exit::Unreachable, format!("no tracker helps: {errors}"));
        return Some(failure.tip(REFUSED_TIP));
    }
    let failure = Failure::new(Exit::Unreachable, format!("no tracker can be reached: {errors}"));
    Some(failure.tip(UNREACHABLE_TIP))
}

fn diagnose_chunk_servers(
    source: &SwarmSource,
    state: &Reachability,
    elapsed: Duration,
    origin_timeout: Duration,
) -> Option<Failure> {
    let servers: Vec<String> = source.peers.iter().map(ToString::to_string).collect();
    let servers = servers.join(", ");
    let limit = if state.has_accepted { UNSUITABLE_AFTER } else { origin_timeout };
    let message = match &state.disconnect {
        Some(reason) if state.has_accepted => {
            format!("{servers} accepts connections, but serves no file in chunk ({reason})")
        }
        _ if state.has_accepted => {
            format!("{servers} accepts connections, but does not answer in chunk")
        }
        _ => format!("cannot reach {servers}"),
    };
    (elapsed >= limit).then(|| {
        Failure::new(Exit::Unreachable, message)
            .tip("check that `sow chunk server` runs there, the address, and the firewall between")
    })
}

/// Asks every named machine what it shares. `Some` if none of them can provide the content.
async fn diagnose_peers(
    source: &SwarmSource,
    bind: Option<IpAddr>,
    elapsed: Duration,
    origin_timeout: Duration,
) -> Option<Failure> {
    let mut last = None;
    for address in &source.peers {
        let offers = request_offers(address, bind).await;
        last = Some(diagnose_peer(source, address, offers, elapsed, origin_timeout)?);
    }
    last
}

/// Why a machine cannot provide the content; `None` while it still may.
fn diagnose_peer(
    source: &SwarmSource,
    address: &Address,
    answer: Result<Vec<Offer>, Failure>,
    elapsed: Duration,
    origin_timeout: Duration,
) -> Option<Failure> {
    match answer {
        // It may still be hashing; or it shares the content and will accept a connection.
        Ok(offers) if offers.is_empty() || offers.iter().any(|offer| matches(source, offer)) => {
            None
        }
        Ok(offers) => {
            let hash = source.info_hash.to_base32();
            let message = format!("{address} does not share {hash}");
            let failure = Failure::new(Exit::Unfinished, message).line("it shares:");
            Some(list_offers(failure, address, &offers))
        }
        Err(failure) if failure.exit() == Exit::Unreachable => (elapsed >= origin_timeout)
            .then(|| unreachable(&address.to_string(), reason_of(&failure))),
        Err(_) => (elapsed >= UNSUITABLE_AFTER).then(|| {
            Failure::new(
                Exit::Unreachable,
                format!("{address} answers, but does not share {}", source.label),
            )
            .tip("check the ticket or the link")
        }),
    }
}

/// The failure because an origin did not answer in time, with what it says when it is asked once
/// more.
pub(crate) async fn unreachable_now(origin: &Address, bind: Option<IpAddr>) -> Failure {
    let answer = timeout(LAST_DIAGNOSIS_TIMEOUT, request_offers(origin, bind)).await;
    match answer {
        Ok(Err(failure)) => unreachable(&origin.to_string(), reason_of(&failure)),
        Ok(Ok(_)) => unreachable(&origin.to_string(), "it shared nothing in time"),
        Err(_) => unreachable(&origin.to_string(), "no answer"),
    }
}

/// The failure because an origin cannot be reached.
fn unreachable(origin: &str, reason: &str) -> Failure {
    Failure::new(Exit::Unreachable, format!("cannot reach {origin}: {reason}"))
        .tip("check that `sow send` runs there, the address, and the firewall between")
}

/// The beginning of a tracker's URL. A torrent can hold any text.
pub(crate) fn printable_excerpt(url: &str) -> String {
    const MAX_URL: usize = 100;
    let text = printable(url);
    match text.char_indices().nth(MAX_URL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

fn matches(source: &SwarmSource, offer: &Offer) -> bool {
    offer.info_hash.parse() == Ok(source.info_hash)
}

/// The text after the URL in the message of a failed request.
fn reason_of(failure: &Failure) -> &str {
    failure.message().split_once("/: ").map_or(failure.message(), |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sow_content::InfoHash;

    fn source(trackers: &[&str]) -> SwarmSource {
        SwarmSource {
            dialect: Dialect::BitTorrent,
            info_hash: InfoHash([0; 20]),
            metainfo: None,
            label: "a.iso".into(),
            trackers: trackers.iter().map(|url| vec![(*url).to_owned()]).collect(),
            peers: Vec::new(),
            link_peers: Vec::new(),
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn address() -> Address {
        Address { host: "10.0.0.1".into(), port: 52000 }
    }

    fn offer(byte: &str) -> Offer {
        Offer { name: "b.iso".into(), info_hash: byte.repeat(20), length: 5 }
    }

    fn exit_for(answer: Result<Vec<Offer>, Failure>, seconds: u64) -> Option<Exit> {
        diagnose_peer(&source(&[]), &address(), answer, Duration::from_secs(seconds), MINUTE)
            .map(|failure| failure.exit())
    }

    #[test]
    fn an_origin_without_the_content_fails_and_one_that_hashes_does_not() {
        assert_eq!(exit_for(Ok(vec![offer("11")]), 2), Some(Exit::Unfinished));
        assert_eq!(exit_for(Ok(vec![offer("11"), offer("00")]), 60), None);
        assert_eq!(exit_for(Ok(vec![]), 60), None);
    }

    #[test]
    fn an_unreachable_origin_fails_after_its_timeout() {
        let refused = || {
            Err(Failure::new(Exit::Unreachable, "cannot download http://10.0.0.1:52000/: refused"))
        };
        assert_eq!(exit_for(refused(), 59), None);
        let failure = diagnose_peer(&source(&[]), &address(), refused(), MINUTE, MINUTE).unwrap();
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert_eq!(failure.message(), "cannot reach 10.0.0.1:52000: refused");
        let unsuitable = || Err(Failure::new(Exit::Failed, "no index"));
        assert_eq!(
            (exit_for(unsuitable(), 6), exit_for(unsuitable(), 20)),
            (None, Some(Exit::Unreachable))
        );
    }

    #[test]
    fn trackers_count_as_unreachable_when_all_have_failed() {
        let source = source(&["http://a/announce", "udp://b:1"]);
        let (sender, state) = watch::channel(Reachability::default());
        let failed = |url: &str| Event::TrackerFailed {
            url: url.into(),
            error: AnnounceError::Refused("refused".into()),
        };
        let is_unreachable =
            || diagnose_trackers(&source, &state.borrow(), UNREACHABLE_AFTER).is_some();
        Reachability::on_event(&sender, Dialect::BitTorrent, &failed("http://a/announce"));
        assert!(!is_unreachable());
        Reachability::on_event(&sender, Dialect::BitTorrent, &failed("udp://b:1"));
        assert!(is_unreachable());
        assert!(diagnose_trackers(&source, &state.borrow(), FIRST_DIAGNOSIS_DELAY).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_swarm_that_was_reached_is_not_unreachable() {
        let source = source(&["http://a/announce"]);
        let (sender, state) = watch::channel(Reachability::default());
        Reachability::on_event(
            &sender,
            Dialect::BitTorrent,
            &Event::TrackerFailed {
                url: "http://a/announce".into(),
                error: AnnounceError::Timeout,
            },
        );
        let failure = wait_until_unreachable(&source, None, MINUTE, state.clone()).await;
        assert_eq!(failure.exit(), Exit::Unreachable);
        Reachability::on_event(
            &sender,
            Dialect::BitTorrent,
            &Event::TrackerAnswered { url: "http://a/announce".into(), warning: None, peers: 0 },
        );
        let outcome = tokio::time::timeout(
            Duration::from_secs(3600),
            wait_until_unreachable(&source, None, MINUTE, state),
        )
        .await;
        assert!(outcome.is_err());
    }
}

//! What is shown of one share: its names, its totals, its receivers. It is published in bounded
//! intervals, and a page that watches gets only what changed since.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use sow_content::{InfoHash, untrusted::printable};
use sow_node::{ContentCondition, DownloadSource};
use tokio::sync::broadcast;

use super::{
    cached::Cached,
    history::{History, Sample},
    row::{Change, ReceiverRow, ShownReceiver, rounded},
};
use crate::report::ReceiverState;

/// The minimum interval between two updates, of few receivers and for every further 250.
const UPDATE_INTERVAL: Duration = Duration::from_millis(900);
const RECEIVERS_PER_INTERVAL: usize = 250;

/// The maximum interval between two updates.
const MAX_UPDATE_INTERVAL: Duration = Duration::from_secs(5);

/// Updates that wait for a slow page. One that lacks more gets everything again.
const MAX_WAITING: usize = 8;

/// What a share is, and where its content is served.
#[derive(Debug)]
pub(crate) struct ShareInfo {
    /// Its name.
    pub(crate) name: String,
    /// Its swarm.
    pub(crate) info_hash: InfoHash,
    /// Its size in bytes.
    pub(crate) length: u64,
    /// The number of its pieces.
    pub(crate) pieces: u32,
    /// The number of its files.
    pub(crate) files: usize,
    /// It is a folder.
    pub(crate) is_folder: bool,
    /// The argument of `sow get`.
    pub(crate) ticket: String,
    /// The magnet link.
    pub(crate) magnet: String,
    /// How many receivers are expected.
    pub(crate) expected: Option<usize>,
    /// Whether it is still what was hashed.
    pub(crate) condition: ContentCondition,
    /// The content over HTTP.
    pub(crate) download: DownloadSource,
}

/// The numbers of a whole share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// Bytes sent to peers.
    pub(crate) sent: u64,
    /// Bytes per second that are sent to peers.
    pub(crate) rate_up: u64,
    /// Connected peers.
    pub(crate) peers: usize,
}

/// What is shown of one share.
#[derive(Debug)]
pub(crate) struct Board {
    info: ShareInfo,
    started: Instant,
    state: Mutex<State>,
    updates: broadcast::Sender<Bytes>,
}

#[derive(Debug, Default)]
struct State {
    totals: Totals,
    receivers: BTreeMap<String, ShownReceiver>,
    last_id: u32,
    published: Option<Instant>,
    history: History,
    /// The event with everything.
    whole: Cached,
}

/// The receivers in each state, and their bytes and rates together.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    by_state: BTreeMap<&'static str, usize>,
    pub(super) bytes: u64,
    pub(super) rate: u64,
}

impl Counts {
    /// The receivers in the state of this name.
    pub(super) fn in_state(&self, name: &str) -> usize {
        self.by_state.get(name).copied().unwrap_or(0)
    }
}

impl Board {
    pub(super) fn new(info: ShareInfo) -> Self {
        let updates = broadcast::Sender::new(MAX_WAITING);
        Self { info, started: Instant::now(), state: Mutex::default(), updates }
    }

    pub(super) fn info(&self) -> &ShareInfo {
        &self.info
    }

    pub(super) fn info_hash(&self) -> String {
        self.info.info_hash.to_string()
    }

    /// Why the share is not served at the moment.
    pub(super) fn reason(&self) -> Option<String> {
        self.info.condition.reason()
    }

    /// Whether the last update is old enough for another one.
    pub(crate) fn is_due(&self) -> bool {
        let state = self.state();
        let factor = 1 + state.receivers.len() / RECEIVERS_PER_INTERVAL;
        let interval = UPDATE_INTERVAL.saturating_mul(factor as u32).min(MAX_UPDATE_INTERVAL);
        state.published.is_none_or(|published| published.elapsed() >= interval)
    }

    /// Publishes the present state: all receivers, in any order.
    pub(crate) fn publish(&self, totals: Totals, rows: &[ReceiverRow]) {
        let now = self.started.elapsed().as_secs_f64();
        let mut state = self.state();
        let state = &mut *state;
        state.published = Some(Instant::now());
        state.whole.clear();
        state.totals = totals;
        let mut changed = Vec::new();
        let mut absent = std::mem::take(&mut state.receivers);
        for row in rows {
            let (shown, change) = match absent.remove(&row.key) {
                Some(mut shown) => {
                    let change = shown.update(row);
                    (shown, change)
                }
                None => {
                    state.last_id += 1;
                    (ShownReceiver::new(state.last_id, row, now), Change::All)
                }
            };
            match change {
                Change::Nothing => {}
                Change::Progress => changed.push(shown.progress()),
                Change::All => changed.push(shown.whole()),
            }
            state.receivers.insert(row.key.clone(), shown);
        }
        let sample = state.sample(now, &self.info);
        let is_new = state.history.add(sample);
        if self.updates.receiver_count() == 0 {
            return;
        }
        let removed: Vec<u32> = absent.values().map(ShownReceiver::id).collect();
        let update = json!({
            "t": rounded(now),
            "totals": totals,
            "reason": self.reason(),
            "rows": changed,
            "removed": removed,
            "sample": is_new.then(|| sample.value()),
        });
        // It fails only when the last page has just gone.
        let _ = self.updates.send(event("update", &update));
    }

    /// Everything at this moment as an event, and what follows.
    pub(super) fn watch(&self) -> (Bytes, broadcast::Receiver<Bytes>) {
        let state = self.state();
        let updates = self.updates.subscribe();
        let make = || {
            let mut all = self.describe();
            all["totals"] = json!(state.totals);
            all["rows"] = state.receivers.values().map(ShownReceiver::whole).collect();
            all["history"] = state.history.value();
            event("state", &all)
        };
        (state.whole.get(make), updates)
    }

    /// The share as `/status` has it.
    pub(super) fn status(&self) -> Value {
        let counts = self.counts();
        let state = self.state();
        let mut all = self.describe();
        let mut receivers: Vec<&ShownReceiver> = state.receivers.values().collect();
        receivers.sort_by_key(|one| one.id());
        all["sent"] = json!(state.totals.sent);
        all["rate_up"] = json!(state.totals.rate_up);
        all["peers"] = json!(state.totals.peers);
        all["complete"] = json!(counts.in_state(ReceiverState::Complete.name()));
        all["verified"] = json!(counts.bytes);
        all["receivers"] = json!(receivers);
        let (downloads, sent) = self.info.download.usage();
        all["http"] = json!({ "downloads": downloads, "sent": sent });
        all
    }

    /// The share in a few words, for the index.
    pub(super) fn brief(&self) -> Value {
        let (info, counts) = (&self.info, self.counts());
        json!({
            "name": printable(&info.name),
            "info_hash": info.info_hash.to_string(),
            "length": info.length,
            "files": info.files,
            "folder": info.is_folder,
            "ticket": info.ticket,
            "state": self.state_name(),
            "complete": counts.in_state(ReceiverState::Complete.name()),
            "connected": counts.in_state(ReceiverState::Connected.name()),
        })
    }

    fn state_name(&self) -> &'static str {
        match (self.reason(), self.info.condition.is_lost()) {
            (None, _) => "sharing",
            (Some(_), false) => "checking",
            (Some(_), true) => "lost",
        }
    }

    /// What stays the same, and the time.
    fn describe(&self) -> Value {
        let info = &self.info;
        let reason = self.reason();
        json!({
            "t": rounded(self.started.elapsed().as_secs_f64()),
            "name": printable(&info.name),
            "info_hash": info.info_hash.to_string(),
            "length": info.length,
            "pieces": info.pieces,
            "files": info.files,
            "folder": info.is_folder,
            "ticket": info.ticket,
            "magnet": info.magnet,
            "torrent": format!("/{}.torrent", info.info_hash),
            "content": info.download.path(),
            "expected": info.expected,
            "state": self.state_name(),
            "reason": reason.as_deref().map(printable),
        })
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts()
    }

    pub(super) fn totals(&self) -> Totals {
        self.state().totals
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for receiver in self.receivers.values() {
            counts.bytes += receiver.bytes();
            counts.rate += receiver.rate();
            *counts.by_state.entry(receiver.state().name()).or_default() += 1;
        }
        counts
    }

    fn sample(&self, at: f64, info: &ShareInfo) -> Sample {
        let counts = self.counts();
        let known = self.receivers.len().max(info.expected.unwrap_or(0)) as f64;
        let all = known * info.length as f64;
        let done = if all > 0.0 { counts.bytes as f64 / all } else { 0.0 };
        Sample { at, done, rate: counts.rate }
    }
}

/// An event of a stream of server-sent events. JSON has no line breaks.
fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sow_content::{Geometry, Info, metainfo::Files};
    use sow_node::RateLimit;
    use sow_store::{MemoryStore, Store};
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    fn board() -> Board {
        let files = Files::Single;
        let geometry = Geometry::new(1 << 20, 1 << 14).unwrap();
        let hashes = vec![[0; 20]; 64];
        let info = Info::from_parts("a.iso", geometry, files, hashes, false).unwrap();
        let condition = ContentCondition::default();
        let info_hash = InfoHash([7; 20]);
        let store = Arc::new(Store::from(MemoryStore::new(geometry)));
        let limit = RateLimit::new(None);
        let download =
            DownloadSource::new(Arc::new(info), info_hash, store, condition.clone(), limit);
        Board::new(ShareInfo {
            name: "a.iso".into(),
            info_hash,
            length: 1 << 20,
            pieces: 64,
            files: 1,
            is_folder: false,
            ticket: "10.0.0.1:52000/x".into(),
            magnet: "magnet:?".into(),
            expected: Some(1000),
            condition,
            download,
        })
    }

    fn rows(bytes: u64) -> Vec<ReceiverRow> {
        let row = |number| ReceiverRow {
            key: format!("{number}"),
            name: format!("web{number:04}.example.org"),
            peer: format!("10.0.{}.{}:52001", number >> 8, number & 255),
            program: "sow 1.0.0".into(),
            state: ReceiverState::Connected,
            bytes: bytes + number,
            rate: 0,
            since: None,
            seconds: 0.0,
            error: None,
        };
        (0..1000).map(row).collect()
    }

    #[test]
    fn a_page_with_a_thousand_receivers_costs_little() {
        let board = board();
        assert!(board.is_due());
        board.publish(Totals::default(), &rows(0));
        assert!(!board.is_due());
        let (first, mut updates) = board.watch();
        assert!(first.len() < 192 << 10, "{}", first.len());
        assert!(board.watch().0.as_ptr() == first.as_ptr(), "pages share it");
        board.publish(Totals::default(), &rows(500));
        let update = updates.try_recv().unwrap();
        assert!(update.len() < 64 << 10, "{}", update.len());
        board.publish(Totals::default(), &rows(500));
        let still = updates.try_recv().unwrap();
        assert!(still.len() < update.len(), "only what changed: {}", still.len());
    }

    #[test]
    fn a_page_that_is_late_gets_everything_again() {
        let board = board();
        board.publish(Totals::default(), &rows(0));
        let (_, mut updates) = board.watch();
        for bytes in 0..20 {
            board.publish(Totals::default(), &rows(bytes));
        }
        assert!(matches!(updates.try_recv(), Err(TryRecvError::Lagged(_))));
        let (_, mut updates) = board.watch();
        board.publish(Totals::default(), &[]);
        let update = updates.try_recv().unwrap();
        let text = String::from_utf8_lossy(&update);
        let data: Value = serde_json::from_str(text.lines().nth(1).unwrap()[6..].trim()).unwrap();
        assert_eq!(data["removed"].as_array().unwrap().len(), 1000);
    }
}

//! The progress of one download, for the user and for scripts. Nothing is decided here.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use sow_content::hash::hexadecimal;
use sow_engine::{ConnId, Status};
use tokio::time::Instant;

use super::bytes_by_peer::BytesByPeer;
use crate::{
    origin_index::waiting_text,
    quantity::{Rate, Size, Span},
    report::{Event, Meter, Report, percent},
    target::Target,
};

/// The interval between two progress events.
const PROGRESS_EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// How long no bytes may arrive before a download is shown as stalled.
const SHOWN_STALL: Duration = Duration::from_secs(4);

/// What a download waits for, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Its origin, which has not answered yet.
    ForOrigin(String, Duration),
    /// The next bytes.
    ForBytes(Duration),
}

/// The display of one download.
pub(super) struct DownloadView {
    report: Report,
    label: String,
    meter: Meter,
    bytes_by_peer: BytesByPeer,
    last_event: Option<Instant>,
}

impl DownloadView {
    pub(super) fn new(report: &Report, label: &str) -> Self {
        Self {
            report: report.clone(),
            label: label.to_owned(),
            meter: report.meter(label),
            bytes_by_peer: BytesByPeer::default(),
            last_event: None,
        }
    }

    /// Sets the name when it becomes known.
    pub(super) fn rename(&mut self, label: &str) {
        self.label = label.to_owned();
        self.meter = self.report.meter(label);
    }

    /// Shows the progress of the download, and what it waits for.
    pub(super) fn show_progress(&mut self, status: &Status, waiting: &Waiting) {
        self.update(status);
        self.meter
            .set(status.bytes_verified, status.bytes_total.max(1), || status_text(status, waiting));
    }

    /// Shows that the complete download is served, for at most `left`.
    pub(super) fn show_serving(&mut self, status: &Status, left: Duration) {
        self.update(status);
        let left = Span(Duration::from_secs(left.as_secs()));
        let incomplete = status.peers.iter().filter(|peer| !peer.complete).count();
        self.meter.set(1, 1, || {
            format!(
                "complete; serving {}  up {}  (at most {left} more)",
                peer_count(incomplete),
                Rate(status.rate_up)
            )
        });
    }

    /// Serving has ended: emits an event with the total of sent bytes.
    pub(super) fn on_served(&self, status: &Status) {
        self.emit_progress(status);
    }

    /// Updates the addresses of connected peers.
    pub(super) fn update_peers(&mut self, status: &Status) {
        self.bytes_by_peer.update_addresses(&status.peers);
    }

    /// Adds verified bytes that were received on a connection.
    pub(super) fn add_bytes(&mut self, conn: ConnId, bytes: u64) {
        self.bytes_by_peer.add(conn, bytes);
    }

    /// Sets the address of the peer of a connection.
    pub(super) fn set_peer_address(&mut self, conn: ConnId, addr: SocketAddr) {
        self.bytes_by_peer.set_address(conn, addr);
    }

    /// Reports that the target is complete.
    pub(super) fn on_complete(
        &mut self,
        status: &Status,
        target: &Target,
        bytes: u64,
        resumed: u64,
        took: Duration,
    ) {
        let path = match target {
            Target::Path(path) => path.clone(),
            Target::Stdout => "-".into(),
            Target::Memory => return self.on_complete_in_memory(status, bytes, took),
        };
        let seconds = took.as_secs_f64();
        self.report.event(&Event::Progress {
            bytes,
            total: Some(bytes),
            rate_down: status.rate_down,
            rate_up: status.rate_up,
            peers: status.peers.len(),
            sent: Some(status.uploaded),
        });
        self.report.event(&Event::Complete {
            path: &path.to_string_lossy(),
            bytes,
            seconds: (seconds * 1000.0).round() / 1000.0,
            resumed_bytes: resumed,
            from: self.bytes_by_peer.by_address(),
        });
        let rate = Rate(((bytes - resumed) as f64 / seconds.max(0.001)) as u64);
        let name =
            if path == Path::new("-") { self.label.clone() } else { path.display().to_string() };
        self.note_bytes_by_peer();
        self.report.note(format_args!(
            "{name}: {} verified in {} ({rate})",
            Size(bytes),
            Span(took)
        ));
    }

    /// Reports content in memory, with its MD5.
    fn on_complete_in_memory(&mut self, status: &Status, bytes: u64, took: Duration) {
        let seconds = took.as_secs_f64();
        let md5 = status.md5.map(|md5| hexadecimal(&md5));
        self.report.event(&Event::StreamComplete {
            path: None,
            bytes,
            seconds: (seconds * 1000.0).round() / 1000.0,
            resumed_bytes: 0,
            from: self.bytes_by_peer.by_address(),
            length_known: true,
            md5: md5.as_deref(),
        });
        if !self.report.is_json() {
            self.report.out(format_args!("size: {bytes} bytes ({})", Size(bytes)));
            self.report.out(format_args!("time used: {seconds:.2} sec"));
            self.report
                .out(format_args!("rate: {}", Rate((bytes as f64 / seconds.max(0.001)) as u64)));
            self.report.out(format_args!("MD5: {}", md5.as_deref().unwrap_or("unknown")));
        }
        self.note_bytes_by_peer();
    }

    /// Notes the bytes of each peer, if there were several.
    fn note_bytes_by_peer(&self) {
        let from = self.bytes_by_peer.by_address();
        let all: u64 = from.values().sum();
        if from.len() > 1 {
            for (addr, bytes) in &from {
                self.report.note(format_args!(
                    "  {} from {addr} ({})",
                    Size(*bytes),
                    percent(*bytes, all)
                ));
            }
        }
    }

    /// Shows that a target is served that was complete at the start.
    pub(super) fn show_seeding(&mut self, status: &Status) {
        self.update(status);
        let incomplete = status.peers.iter().filter(|peer| !peer.complete).count();
        self.meter.set(1, 1, || {
            format!("serving {}  up {}", peer_count(incomplete), Rate(status.rate_up))
        });
    }

    /// The progress of a download that is interrupted.
    pub(super) fn progress_text(&self, status: &Status) -> String {
        let label = &self.label;
        if status.bytes_total == 0 {
            return format!("the content of {label} is not known yet");
        }
        let done = percent(status.bytes_verified, status.bytes_total);
        let verified = if status.unverified {
            "; it is verified when it is complete"
        } else {
            " and verified"
        };
        format!("{done} of {label} ({}) is stored{verified}", Size(status.bytes_total))
    }

    fn update(&mut self, status: &Status) {
        self.bytes_by_peer.update_addresses(&status.peers);
        if self.last_event.is_none_or(|last| last.elapsed() >= PROGRESS_EVENT_INTERVAL) {
            self.last_event = Some(Instant::now());
            self.emit_progress(status);
        }
    }

    fn emit_progress(&self, status: &Status) {
        self.report.event(&Event::Progress {
            bytes: status.bytes_verified,
            total: (status.pieces > 0).then_some(status.bytes_total),
            rate_down: status.rate_down,
            rate_up: status.rate_up,
            peers: status.peers.len(),
            sent: Some(status.uploaded),
        });
    }
}

/// Reports a target that was complete at the start, like a download that took no time.
pub(super) fn report_already_complete(report: &Report, path: &Path, bytes: u64) {
    report.note(format_args!("{} exists already and is verified: {}", path.display(), Size(bytes)));
    report.event(&Event::Complete {
        path: &path.to_string_lossy(),
        bytes,
        seconds: 0.0,
        resumed_bytes: bytes,
        from: BTreeMap::new(),
    });
}

fn status_text(status: &Status, waiting: &Waiting) -> String {
    let count = status.peers.len();
    if let Waiting::ForOrigin(origin, since) = waiting
        && count == 0
    {
        return waiting_text(origin, *since);
    }
    if status.bytes_total == 0 {
        return if count == 0 {
            "looking for peers".to_owned()
        } else {
            format!("requesting the description from {}", peer_count(count))
        };
    }
    let missing = status.bytes_total - status.bytes_verified;
    let left =
        missing.checked_div(status.rate_down).map(|seconds| Span(Duration::from_secs(seconds)));
    let left = left.map_or_else(String::new, |left| format!("  {left} left"));
    let peers = if count == 0 { "waiting for peers".to_owned() } else { peer_count(count) };
    let down = match waiting {
        Waiting::ForBytes(since) if missing > 0 && *since >= SHOWN_STALL => {
            format!("stalled since {}", Span(Duration::from_secs(since.as_secs())))
        }
        _ => format!("down {}", Rate(status.rate_down)),
    };
    format!(
        "{} of {}  {down}  up {}  {peers}{left}",
        Size(status.bytes_verified),
        Size(status.bytes_total),
        Rate(status.rate_up)
    )
}

fn peer_count(count: usize) -> String {
    if count == 1 { "1 peer".to_owned() } else { format!("{count} peers") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_text_contains_sizes_rates_and_peers() {
        let mut status = Status::default();
        let text = |status: &Status, seconds| {
            status_text(status, &Waiting::ForBytes(Duration::from_secs(seconds)))
        };
        assert_eq!(text(&status, 0), "looking for peers");
        let origin = Waiting::ForOrigin("web01:52000".to_owned(), Duration::from_millis(12_300));
        assert_eq!(status_text(&status, &origin), "waiting for web01:52000 since 12 s");
        status.pieces = 10;
        status.bytes_total = 10 << 20;
        status.bytes_verified = 4 << 20;
        assert_eq!(
            text(&status, 0),
            "4.0 MiB of 10.0 MiB  down 0 B/s  up 0 B/s  waiting for peers"
        );
        let stalled = text(&status, 12);
        assert!(stalled.contains(" MiB  stalled since 12 s  up "), "{stalled}");
        status.rate_down = 1 << 20;
        assert!(text(&status, 0).ends_with("  6 s left"), "{}", text(&status, 0));
    }
}

//! What is shown of one download, to people and to scripts. It decides nothing.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use sow_content::hash::hexadecimal;
use sow_engine::{ConnId, Status};
use tokio::time::Instant;

use super::fetched::Fetched;
use crate::{
    quantity::{Rate, Size, Span},
    report::{Event, Meter, Report, percent},
    target::Target,
};

/// How often scripts are told of progress.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// One download as it is shown.
pub(super) struct View {
    report: Report,
    label: String,
    meter: Meter,
    fetched: Fetched,
    last_json: Option<Instant>,
}

impl View {
    pub(super) fn new(report: &Report, label: &str) -> Self {
        Self {
            report: report.clone(),
            label: label.to_owned(),
            meter: report.meter(label),
            fetched: Fetched::default(),
            last_json: None,
        }
    }

    /// Its name is known now.
    pub(super) fn rename(&mut self, label: &str) {
        self.label = label.to_owned();
        self.meter = self.report.meter(label);
    }

    /// How far it is.
    pub(super) fn progress(&mut self, status: &Status) {
        self.take_in(status);
        self.meter.set(status.bytes_verified, status.bytes_total.max(1), || in_words(status));
    }

    /// It is complete and serves others, for at most `left`.
    pub(super) fn serving(&mut self, status: &Status, left: Duration) {
        self.take_in(status);
        let left = Span(Duration::from_secs(left.as_secs()));
        let needy = status.peers.iter().filter(|peer| !peer.complete).count();
        self.meter.set(1, 1, || {
            format!(
                "complete; serving {}  up {}  (at most {left} more)",
                peers(needy),
                Rate(status.rate_up)
            )
        });
    }

    /// It serves nobody any more; scripts are told what was sent in all.
    pub(super) fn served(&self, status: &Status) {
        self.tell(status);
    }

    /// Takes in who sent how much.
    pub(super) fn observe(&mut self, status: &Status) {
        self.fetched.observe(&status.peers);
    }

    /// So much that is verified came on a connection.
    pub(super) fn came(&mut self, conn: ConnId, bytes: u64) {
        self.fetched.came(conn, bytes);
    }

    /// Whose connection it is, or was.
    pub(super) fn name(&mut self, conn: ConnId, addr: SocketAddr) {
        self.fetched.name(conn, addr);
    }

    /// It is complete and in place.
    pub(super) fn complete(
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
            Target::Memory => return self.complete_in_memory(status, bytes, took),
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
            from: self.fetched.by_address(),
        });
        let rate = Rate(((bytes - resumed) as f64 / seconds.max(0.001)) as u64);
        let name =
            if path == Path::new("-") { self.label.clone() } else { path.display().to_string() };
        self.shares();
        self.report.note(format_args!(
            "{name}: {} verified in {} ({rate})",
            Size(bytes),
            Span(took)
        ));
    }

    /// What came is kept in memory, so its sum is what there is to show.
    fn complete_in_memory(&mut self, status: &Status, bytes: u64, took: Duration) {
        let seconds = took.as_secs_f64();
        let md5 = status.md5.map(|md5| hexadecimal(&md5));
        self.report.event(&Event::StreamComplete {
            path: None,
            bytes,
            seconds: (seconds * 1000.0).round() / 1000.0,
            resumed_bytes: 0,
            from: self.fetched.by_address(),
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
        self.shares();
    }

    /// Tells who sent how much, when several did.
    fn shares(&self) {
        let from = self.fetched.by_address();
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

    /// It is there, and is served.
    pub(super) fn seeding(&mut self, status: &Status) {
        self.take_in(status);
        let needy = status.peers.iter().filter(|peer| !peer.complete).count();
        self.meter.set(1, 1, || format!("serving {}  up {}", peers(needy), Rate(status.rate_up)));
    }

    /// For the last line of one that does not end.
    pub(super) fn how_far(&self, status: &Status) -> String {
        let label = &self.label;
        if status.bytes_total == 0 {
            return format!("nobody has told yet what {label} is");
        }
        let done = percent(status.bytes_verified, status.bytes_total);
        let verified = if status.unverified {
            ", and cannot be verified before all of it is"
        } else {
            " and verified"
        };
        format!("{done} of {label} ({}) is there{verified}", Size(status.bytes_total))
    }

    fn take_in(&mut self, status: &Status) {
        self.fetched.observe(&status.peers);
        if self.last_json.is_none_or(|last| last.elapsed() >= JSON_EVERY) {
            self.last_json = Some(Instant::now());
            self.tell(status);
        }
    }

    fn tell(&self, status: &Status) {
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

/// The target was there before: said in the same words as of a download that took no time.
pub(super) fn there_already(report: &Report, path: &Path, bytes: u64) {
    report.note(format_args!("{} is there already and verified: {}", path.display(), Size(bytes)));
    report.event(&Event::Complete {
        path: &path.to_string_lossy(),
        bytes,
        seconds: 0.0,
        resumed_bytes: bytes,
        from: BTreeMap::new(),
    });
}

fn in_words(status: &Status) -> String {
    let count = status.peers.len();
    if status.bytes_total == 0 {
        return if count == 0 {
            "looking for peers".to_owned()
        } else {
            format!("asking {} what it is", peers(count))
        };
    }
    let missing = status.bytes_total - status.bytes_verified;
    let left =
        missing.checked_div(status.rate_down).map(|seconds| Span(Duration::from_secs(seconds)));
    let left = left.map_or_else(String::new, |left| format!("  {left} left"));
    let who = if count == 0 { "no peers: waiting for one".to_owned() } else { peers(count) };
    format!(
        "{} of {}  down {}  up {}  {who}{left}",
        Size(status.bytes_verified),
        Size(status.bytes_total),
        Rate(status.rate_down),
        Rate(status.rate_up)
    )
}

fn peers(count: usize) -> String {
    if count == 1 { "1 peer".to_owned() } else { format!("{count} peers") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_words() {
        let mut status = Status::default();
        assert_eq!(in_words(&status), "looking for peers");
        status.pieces = 10;
        status.bytes_total = 10 << 20;
        status.bytes_verified = 4 << 20;
        assert_eq!(
            in_words(&status),
            "4.0 MiB of 10.0 MiB  down 0 B/s  up 0 B/s  no peers: waiting for one"
        );
        status.rate_down = 1 << 20;
        assert!(in_words(&status).ends_with("  6 s left"), "{}", in_words(&status));
    }
}

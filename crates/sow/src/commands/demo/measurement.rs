//! One measurement of the demonstration: an origin and its receivers, each a `sow` process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    process::{Process, sow_command},
    workspace::{Workspace, copy_differs, is_same},
};
use crate::{
    exit::{Exit, Failure},
    file_errors,
    quantity::{Rate, Size},
    report::{Event, Meter, Report},
    runtime::blocking,
};

/// How long an origin may take to hash the file and become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Which processes upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Only the origin.
    ClientServer,
    /// The origin and all receivers.
    PeerToPeer,
}

/// The result of a measurement.
#[derive(Debug, Clone)]
pub(super) struct Measurement {
    pub(super) mode: Mode,
    pub(super) receivers: u32,
    /// The time from the start of the receivers until the last was complete.
    pub(super) last: Duration,
    /// The lower bound of that time.
    pub(super) bound: Duration,
    /// The bytes that the origin sent, divided by the size of the file.
    pub(super) origin_sent: f64,
}

impl Measurement {
    /// The result as a sentence.
    pub(super) fn sentence(&self) -> String {
        format!(
            "{} of {} receivers have a verified copy after {:.2} s; the lower bound is {:.2} s. \
             The origin sent {:.2} files.",
            self.receivers,
            self.receivers,
            self.last.as_secs_f64(),
            self.bound.as_secs_f64(),
            self.origin_sent
        )
    }
}

/// Transfers the file to all receivers and measures the time.
///
/// # Errors
/// When a process fails or takes too long, or a copy differs from the original.
pub(super) async fn measure(
    workspace: &Workspace,
    mode: Mode,
    receivers: u32,
    report: &Report,
) -> Result<Measurement, Failure> {
    let bound = match mode {
        Mode::ClientServer => workspace.client_server_bound(receivers),
        Mode::PeerToPeer => workspace.peer_to_peer_bound(receivers),
    };
    let time_limit = workspace.client_server_bound(receivers) * 4 + Duration::from_secs(30);
    let transfer = async {
        let (mut origin, ticket) = start_origin(workspace, receivers).await?;
        let copies = Copies::new(workspace, receivers)?;
        let ended = watch_receivers(workspace, mode, &ticket, &copies, report).await?;
        origin.wait_for_success().await?;
        copies.check(&workspace.file()).await?;
        let from_origin: u64 = ended.iter().map(|end| end.from_origin).sum();
        Ok(Measurement {
            mode,
            receivers,
            last: ended.iter().map(|end| end.after).max().unwrap_or_default(),
            bound,
            origin_sent: from_origin as f64 / workspace.size as f64,
        })
    };
    match timeout(time_limit, transfer).await {
        Ok(ended) => ended,
        Err(_) => Err(Failure::new(
            Exit::Unfinished,
            format!("a transfer was not complete after {time_limit:.0?}"),
        )
        .tip("the machine may be too busy; try a smaller --size or a lower --rate")),
    }
}

async fn start_origin(workspace: &Workspace, receivers: u32) -> Result<(Process, String), Failure> {
    let mut command = sow_command(workspace)?;
    command.arg("send").arg(workspace.file()).args([
        "--port",
        "0",
        "--expect",
        &receivers.to_string(),
    ]);
    let mut origin = Process::start("the origin", command)?;
    let ready = async {
        while let Some(event) = origin.next_event().await? {
            if event["event"] == "ready" {
                return Ok::<_, Failure>(event["ticket"].as_str().map(str::to_owned));
            }
        }
        Ok(None)
    };
    let ticket = timeout(READY_TIMEOUT, ready).await.unwrap_or(Ok(None))?;
    match ticket {
        Some(ticket) => Ok((origin, ticket)),
        None => Err(origin.failure().await),
    }
}

/// The result of one receiver.
struct ReceiverResult {
    after: Duration,
    from_origin: u64,
}

async fn watch_receivers(
    workspace: &Workspace,
    mode: Mode,
    ticket: &str,
    copies: &Copies,
    report: &Report,
) -> Result<Vec<ReceiverResult>, Failure> {
    let count = copies.paths.len();
    let heading = match mode {
        Mode::ClientServer => format!("client/server to {count}"),
        Mode::PeerToPeer => format!("peer-to-peer to {count}"),
    };
    let overall = report.meter(heading);
    let origin = ticket.split('/').next().unwrap_or_default();
    let (sender, mut progress) = watch::channel(vec![0; count]);
    let started = Instant::now();
    let mut receivers = JoinSet::new();
    for (index, path) in copies.paths.iter().enumerate() {
        let mut command = sow_command(workspace)?;
        command.args(["get", ticket, "--timeout", "10m", "--out"]).arg(path);
        if mode == Mode::ClientServer {
            command.arg("--only-origin");
        }
        let process = Process::start(&format!("receiver {}", index + 1), command)?;
        let receiver = Receiver {
            process,
            index,
            origin: origin.to_owned(),
            row: report.row(format!("  receiver {}", index + 1)),
            size: workspace.size,
            progress: sender.clone(),
        };
        receivers.spawn(receiver.watch(started));
    }
    drop(sender);
    let total = workspace.size * count as u64;
    let mut results = Vec::new();
    loop {
        tokio::select! {
            ended = receivers.join_next() => match ended {
                Some(Ok(end)) => results.push(end?),
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
                None => break,
            },
            Ok(()) = progress.changed() => {
                let bytes = progress.borrow_and_update().iter().sum();
                let elapsed = started.elapsed().as_secs_f64();
                report.event(&Event::Progress {
                    bytes,
                    total: Some(total),
                    rate_down: (bytes as f64 / elapsed) as u64,
                    rate_up: 0,
                    peers: count,
                    sent: None,
                });
                overall.set(bytes, total, || {
                    format!("{} of {}, {elapsed:.1} s", Size(bytes), Size(total))
                });
            }
        }
    }
    Ok(results)
}

struct Receiver {
    process: Process,
    index: usize,
    origin: String,
    row: Meter,
    size: u64,
    progress: watch::Sender<Vec<u64>>,
}

impl Receiver {
    /// Follows the events of a receiver until it ends.
    async fn watch(mut self, started: Instant) -> Result<ReceiverResult, Failure> {
        let mut end = None;
        while let Some(event) = self.process.next_event().await? {
            let bytes = event["bytes"].as_u64().unwrap_or(0);
            if event["event"] == "complete" {
                end = Some(ReceiverResult {
                    after: started.elapsed(),
                    from_origin: event["from"][&self.origin].as_u64().unwrap_or(0),
                });
            } else if event["event"] != "progress" {
                continue;
            }
            self.progress.send_modify(|all| all[self.index] = bytes);
            let rate = |key: &str| Rate(event[key].as_u64().unwrap_or(0));
            self.row.set(bytes, self.size, || match &end {
                Some(end) => format!("verified after {:.2} s", end.after.as_secs_f64()),
                None => format!("down {}  up {}", rate("rate_down"), rate("rate_up")),
            });
        }
        self.process.wait_for_success().await?;
        end.ok_or_else(|| Failure::new(Exit::Failed, "a receiver ended without a result"))
    }
}

/// The copies of the receivers.
struct Copies {
    folder: tempfile::TempDir,
    paths: Arc<[PathBuf]>,
}

impl Copies {
    fn new(workspace: &Workspace, receivers: u32) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(workspace.path())
            .map_err(|error| file_errors::cannot_write(workspace.path(), &error))?;
        let paths = (1..=receivers)
            .map(|number| folder.path().join(format!("copy-{number}.iso")))
            .collect();
        Ok(Self { folder, paths })
    }

    /// Compares all copies with the original, then removes them.
    async fn check(self, original: &Path) -> Result<(), Failure> {
        let (paths, original) = (Arc::clone(&self.paths), original.to_owned());
        blocking(move || {
            for path in paths.iter() {
                if !is_same(path, &original)? {
                    return Err(copy_differs(path));
                }
            }
            drop(self.folder);
            Ok(())
        })
        .await
    }
}

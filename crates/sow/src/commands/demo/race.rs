//! One race of the demonstration: an origin and its receivers, each a `sow` of its own, watched by
//! their JSON events.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use super::arena::{Arena, is_same, not_the_same};
use crate::{
    exit::{Exit, Failure},
    quantity::{Rate, Size},
    report::{Event, Meter, Report},
};

/// How long an origin may take until it is ready: it hashes the file first.
const READY: Duration = Duration::from_secs(30);

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The origin alone.
    ClientServer,
    /// Everybody.
    PeerToPeer,
}

/// How a race ended.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) mode: Mode,
    pub(super) receivers: u32,
    /// From the start of the receivers until the last one was complete.
    pub(super) last: Duration,
    /// The shortest possible time.
    pub(super) bound: Duration,
    /// What the origin sent, in files.
    pub(super) origin_sent: f64,
}

impl Outcome {
    /// A sentence about it.
    pub(super) fn in_words(&self) -> String {
        format!(
            "{} of {} receivers have a verified copy after {:.2} s; no way is shorter than {:.2} s. The origin sent {:.2} \
             files.",
            self.receivers,
            self.receivers,
            self.last.as_secs_f64(),
            self.bound.as_secs_f64(),
            self.origin_sent
        )
    }
}

/// Runs a race.
///
/// # Errors
/// When a process does not do its part in time, or a copy is not what was sent.
pub(super) async fn run(
    arena: &Arena,
    mode: Mode,
    receivers: u32,
    report: &Report,
) -> Result<Outcome, Failure> {
    let bound = match mode {
        Mode::ClientServer => arena.client_server_bound(receivers),
        Mode::PeerToPeer => arena.peer_to_peer_bound(receivers),
    };
    let patience = arena.client_server_bound(receivers) * 4 + Duration::from_secs(30);
    let race = async {
        let (mut origin, ticket) = start_origin(arena, receivers).await?;
        let copies = Copies::new(arena, receivers)?;
        let ended = watch_receivers(arena, mode, &ticket, &copies, report).await?;
        origin.succeed().await?;
        copies.check(&arena.file()).await?;
        let from_origin: u64 = ended.iter().map(|end| end.from_origin).sum();
        Ok(Outcome {
            mode,
            receivers,
            last: ended.iter().map(|end| end.after).max().unwrap_or_default(),
            bound,
            origin_sent: from_origin as f64 / arena.size as f64,
        })
    };
    match timeout(patience, race).await {
        Ok(ended) => ended,
        Err(_) => {
            Err(Failure::new(Exit::Unfinished, format!("a race was not over after {patience:.0?}"))
                .tip("the machine may be too busy; try a smaller --size or a lower --rate"))
        }
    }
}

async fn start_origin(arena: &Arena, receivers: u32) -> Result<(Process, String), Failure> {
    let mut command = sow(arena)?;
    command.arg("send").arg(arena.file()).args(["--port", "0", "--expect", &receivers.to_string()]);
    let mut origin = Process::start("the origin", command)?;
    let ready = async {
        while let Some(event) = origin.event().await? {
            if event["event"] == "ready" {
                return Ok::<_, Failure>(event["ticket"].as_str().map(str::to_owned));
            }
        }
        Ok(None)
    };
    let ticket = timeout(READY, ready).await.unwrap_or(Ok(None))?;
    match ticket {
        Some(ticket) => Ok((origin, ticket)),
        None => Err(origin.failure().await),
    }
}

/// How a receiver ended.
struct End {
    after: Duration,
    from_origin: u64,
}

async fn watch_receivers(
    arena: &Arena,
    mode: Mode,
    ticket: &str,
    copies: &Copies,
    report: &Report,
) -> Result<Vec<End>, Failure> {
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
        let mut command = sow(arena)?;
        command.args(["get", ticket, "--seed-for", "10m", "--timeout", "10m", "--out"]).arg(path);
        if mode == Mode::ClientServer {
            command.arg("--only-origin");
        }
        let process = Process::start(&format!("receiver {}", index + 1), command)?;
        let receiver = Receiver {
            process,
            index,
            origin: origin.to_owned(),
            row: report.row(format!("  receiver {}", index + 1)),
            size: arena.size,
            progress: sender.clone(),
        };
        receivers.spawn(receiver.watch(started));
    }
    drop(sender);
    let total = arena.size * count as u64;
    let mut ends = Vec::new();
    loop {
        tokio::select! {
            ended = receivers.join_next() => match ended {
                Some(Ok(end)) => ends.push(end?),
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
                overall.set(bytes, total, || format!("{} of {}, {elapsed:.1} s", Size(bytes), Size(total)));
            }
        }
    }
    Ok(ends)
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
    /// Follows a receiver to its end.
    async fn watch(mut self, started: Instant) -> Result<End, Failure> {
        let mut end = None;
        while let Some(event) = self.process.event().await? {
            let bytes = event["bytes"].as_u64().unwrap_or(0);
            if event["event"] == "complete" {
                end = Some(End {
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
        self.process.succeed().await?;
        end.ok_or_else(|| Failure::new(Exit::Failed, "a receiver ended without a word"))
    }
}

/// Where the receivers put their copies.
struct Copies {
    folder: tempfile::TempDir,
    paths: Arc<[PathBuf]>,
}

impl Copies {
    fn new(arena: &Arena, receivers: u32) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(arena.path())
            .map_err(|error| crate::disk::unwritable(arena.path(), &error))?;
        let paths = (1..=receivers)
            .map(|number| folder.path().join(format!("copy-{number}.iso")))
            .collect();
        Ok(Self { folder, paths })
    }

    /// Compares all of them with the original, then removes them.
    async fn check(self, original: &Path) -> Result<(), Failure> {
        let (paths, original) = (Arc::clone(&self.paths), original.to_owned());
        crate::blocking(move || {
            for path in paths.iter() {
                if !is_same(path, &original)? {
                    return Err(not_the_same(path));
                }
            }
            drop(self.folder);
            Ok(())
        })
        .await
    }
}

/// This very program, with the limits of a machine of the demonstration and nothing of this
/// environment.
fn sow(arena: &Arena) -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot find this program's own file: {error}"))
    })?;
    let mut command = Command::new(program);
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SOW_"))
    {
        command.env_remove(name);
    }
    let limit = format!("{}B/s", arena.rate);
    command.env("SOW_BIND", "127.0.0.1").env("SOW_UP_LIMIT", limit).env("SOW_JSON", "1");
    Ok(command)
}

/// A process that says what it does in JSON. It is killed when this is dropped.
struct Process {
    name: String,
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
    errors: Option<ChildStderr>,
}

impl Process {
    fn start(name: &str, mut command: Command) -> Result<Self, Failure> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let failed =
            |why: String| Failure::new(Exit::Failed, format!("cannot start {name}: {why}"));
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("no standard output".to_owned()))?;
        let errors = child.stderr.take();
        Ok(Self { name: name.to_owned(), child, events: BufReader::new(stdout).lines(), errors })
    }

    /// The next event; `None` when it has ended.
    async fn event(&mut self) -> Result<Option<Value>, Failure> {
        let broken = |why: String| Failure::new(Exit::Failed, format!("{}: {why}", self.name));
        match self.events.next_line().await {
            Ok(Some(line)) => {
                serde_json::from_str(&line).map(Some).map_err(|error| broken(error.to_string()))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(broken(error.to_string())),
        }
    }

    /// Waits for its end, which must be a good one.
    async fn succeed(&mut self) -> Result<(), Failure> {
        while self.event().await?.is_some() {}
        let status = self.child.wait().await;
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.failure().await),
        }
    }

    /// What it said before it ended badly.
    async fn failure(&mut self) -> Failure {
        // It may be stuck, and it has nothing more to say.
        let _ = self.child.kill().await;
        let mut text = String::new();
        if let Some(errors) = self.errors.take() {
            let _ = errors.take(4096).read_to_string(&mut text).await;
        }
        Failure::new(Exit::Failed, format!("{} failed: {}", self.name, text.trim()))
    }
}

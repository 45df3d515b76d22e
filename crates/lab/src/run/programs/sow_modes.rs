//! The adapter of all modes of `sow`: the swarm, and the protocols raw, framed, chunk and
//! json-torrent. A mode differs from the others only in its command lines.
//!
//! The swarm runs with its defaults. json-torrent runs its tracker beside the first origin.

use std::{path::PathBuf, sync::Arc};

use rustix::process::Signal;

use super::{
    Adapter, CommandLine, Process, ProgramContext, ProgramError, ReceiverProgram, TestHost,
};

const CLIENT_SERVER_PORT: &str = "52001";
const CHUNK_PORT: &str = "52003";
const JSON_TORRENT_TRACKER_PORT: &str = "52004";
const JSON_TORRENT_SEED_PORT: &str = "52005";
/// The default port of `sow send`, on which it also serves its tracker.
const SWARM_PORT: &str = "52000";

/// The commands of `sow` that a mode uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// `sow raw server` and `sow raw client`.
    Raw,
    /// `sow framed server` and `sow framed client`.
    Framed,
    /// `sow chunk server` and `sow chunk client`.
    Chunk,
    /// `sow json-torrent create`, `tracker` and `peer`.
    JsonTorrent,
    /// `sow send` and `sow get`.
    Swarm,
}

/// A mode of `sow` in one run.
#[derive(Debug)]
pub(super) struct SowMode {
    command: Command,
    origins: Vec<Arc<Process>>,
    /// What receivers are started with: the ticket of the swarm.
    ticket: String,
    /// What peers of json-torrent are started with.
    torrent: PathBuf,
}

impl SowMode {
    pub(super) fn new(command: Command) -> Self {
        Self { command, origins: Vec::new(), ticket: String::new(), torrent: PathBuf::new() }
    }

    /// Starts the tracker of json-torrent and writes its .torrent file.
    fn start_json_tracker(&mut self, context: &ProgramContext<'_>) -> Result<(), ProgramError> {
        let host = &context.origins[0];
        let address = host.address.to_string();
        self.torrent = context.work.join("json.torrent");
        let mut line = CommandLine::new(context.sow)
            .args(["json-torrent", "create"])
            .arg(context.content)
            .args(["--announce", &address, "--port", JSON_TORRENT_TRACKER_PORT, "-q", "-o"])
            .arg(&self.torrent);
        if let Some(bytes) = context.piece_length {
            line = line.args(["--piece-length", &bytes.to_string()]);
        }
        context.run(host, &line)?;
        let line = CommandLine::new(context.sow)
            .args(["json-torrent", "tracker", "-p", JSON_TORRENT_TRACKER_PORT])
            .args(["--bind", &address, "--json"]);
        let tracker = context.start(host, &line)?;
        context.wait_for_event(&tracker, "ready")?;
        Ok(())
    }

    fn origin_line(&self, context: &ProgramContext<'_>, host: &TestHost) -> CommandLine {
        let sow = CommandLine::new(context.sow);
        let address = host.address.to_string();
        let server = |command: &str, port: &str| {
            let line = CommandLine::new(context.sow).args([command, "server", "-f"]);
            line.arg(context.content).args(["-p", port, "--bind", &address, "--json"])
        };
        match self.command {
            Command::Raw => server("raw", CLIENT_SERVER_PORT),
            Command::Framed => server("framed", CLIENT_SERVER_PORT),
            Command::Chunk => server("chunk", CHUNK_PORT),
            Command::JsonTorrent => self
                .json_peer_line(context, host)
                .args(["-p", JSON_TORRENT_SEED_PORT, "--json", "-o"])
                .arg(context.content),
            Command::Swarm => {
                let line = sow.arg("send").arg(context.content);
                let line = line.args(["--bind", &address, "--json"]);
                // Each origin has the file and a tracker of its own. The later ones also announce
                // themselves to the first one's tracker.
                let first = &context.origins[0];
                let tracker = format!("http://{}:{SWARM_PORT}/announce", first.address);
                if host == first { line } else { line.args(["--tracker", &tracker]) }
            }
        }
    }

    fn receiver_line(
        &self,
        context: &ProgramContext<'_>,
        index: usize,
        copy: &PathBuf,
    ) -> CommandLine {
        let sow = CommandLine::new(context.sow);
        let host = &context.receivers[index];
        match self.command {
            Command::Raw | Command::Framed => {
                let name = if self.command == Command::Raw { "raw" } else { "framed" };
                // Neither protocol fetches from two servers, so receivers alternate between them.
                let origin = &context.origins[index % context.origins.len()];
                let server = origin.address.to_string();
                let line = sow.args([name, "client", "-s", &server, "-p", CLIENT_SERVER_PORT]);
                line.arg("-o").arg(copy).arg("--json")
            }
            Command::Chunk => {
                let servers = context
                    .origins
                    .iter()
                    .flat_map(|origin| ["-s".to_owned(), origin.address.to_string()]);
                sow.args(["chunk", "client"])
                    .args(servers)
                    .args(["-sp", CHUNK_PORT, "--bind", &host.address.to_string(), "-o"])
                    .arg(copy)
                    .args(seeding_flags(context))
            }
            Command::JsonTorrent => self
                .json_peer_line(context, host)
                .args(["-p", "0", "-o"])
                .arg(copy)
                .args(seeding_flags(context)),
            Command::Swarm => {
                sow.args(["get", &self.ticket, "-o"]).arg(copy).args(seeding_flags(context))
            }
        }
    }

    fn json_peer_line(&self, context: &ProgramContext<'_>, host: &TestHost) -> CommandLine {
        CommandLine::new(context.sow)
            .args(["json-torrent", "peer"])
            .arg(&self.torrent)
            .args(["--bind", &host.address.to_string()])
    }
}

impl Adapter for SowMode {
    fn start_origins(&mut self, context: &ProgramContext<'_>) -> Result<(), ProgramError> {
        if self.command == Command::JsonTorrent {
            self.start_json_tracker(context)?;
        }
        for host in &context.origins {
            let origin = context.start(host, &self.origin_line(context, host))?;
            let ready = context.wait_for_event(&origin, "ready")?;
            if self.command == Command::Swarm && self.origins.is_empty() {
                let ticket = ready["ticket"].as_str().ok_or_else(|| no_ticket(&origin))?;
                self.ticket = ticket.to_owned();
            }
            self.origins.push(origin);
        }
        Ok(())
    }

    fn prepare_receiver(
        &mut self,
        context: &ProgramContext<'_>,
        index: usize,
    ) -> Result<ReceiverProgram, ProgramError> {
        let host = &context.receivers[index];
        let copy = host.folder.join(context.file_name());
        let line = self.receiver_line(context, index, &copy);
        Ok(ReceiverProgram::with_event(context.start_held(host, &line)?, copy))
    }

    fn payload_sent(&mut self, _context: &ProgramContext<'_>) -> Vec<Option<u64>> {
        Process::end_all(&self.origins, Signal::TERM);
        let sent = |origin: &Arc<Process>| {
            let progress = origin.latest_event("progress")?;
            // `send` and the servers report the bytes sent as `bytes`, a peer as `sent`.
            progress.get("sent").unwrap_or(&progress["bytes"]).as_u64()
        };
        self.origins.iter().map(sent).collect()
    }
}

/// The flags that make a receiver seed until the run is over, and report its progress.
fn seeding_flags(context: &ProgramContext<'_>) -> [String; 3] {
    ["--seed-for".to_owned(), format!("{}s", context.limit.as_secs() + 1), "--json".to_owned()]
}

fn no_ticket(origin: &Process) -> ProgramError {
    ProgramError::Unusable {
        program: origin.name().to_owned(),
        reason: "no ticket in `ready`".to_owned(),
    }
}

//! Puts `sow` onto a host that has none, or one that is too old: into the cache folder of the user,
//! from a host that has it already where that is possible, else from this machine.

use std::time::Duration;

use sow_content::ticket::Address;
use tokio::time::timeout;

use super::{
    host_failure::HostFailure,
    program::{Program, ProgramSources, url_at},
    remote_scripts,
    reply::Reply,
    ssh::Session,
};

/// How long an installation may take, in which a host may wait for its turn to be served.
const INSTALL_TIME: Duration = Duration::from_secs(900);

/// How many hosts and ways are tried before the program goes through `ssh`.
const MAX_DOWNLOADS: usize = 2;

/// Whether `sow` is put onto hosts where it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum InstallPolicy {
    /// No: such a host fails.
    Never,
    /// Yes, into the cache folder of the user.
    Auto,
}

/// Puts the program there. Returns its path on the host. `origin` is this machine as the host
/// reaches it.
pub(super) async fn install(
    session: &mut Session,
    program: &Program,
    sources: &ProgramSources,
    origin: &Address,
) -> Result<String, HostFailure> {
    let installing = install_by_any_way(session, program, sources, origin);
    match timeout(INSTALL_TIME, installing).await {
        Ok(ended) => ended,
        Err(_) => Err(HostFailure::other("sow could not be put there within 15 min")),
    }
}

async fn install_by_any_way(
    session: &mut Session,
    program: &Program,
    sources: &ProgramSources,
    origin: &Address,
) -> Result<String, HostFailure> {
    let Program { sha256, length, .. } = program;
    for _ in 0..MAX_DOWNLOADS {
        let slot = sources.slot().await;
        let url = slot.peer.clone().unwrap_or_else(|| url_at(origin));
        let script = remote_scripts::install_from_url(&url, sha256, *length);
        match run(session, &script).await? {
            Ok(path) => return Ok(path),
            Err(reason) => tracing::debug!("{url}: {reason}"),
        }
        let was_origin = slot.peer.is_none();
        slot.failed();
        if was_origin {
            break;
        }
    }
    let slot = sources.slot_at_origin().await;
    let bytes = program.read().await.map_err(HostFailure::other)?;
    let script = remote_scripts::install_from_stdin(sha256, *length);
    session.send(script.as_bytes()).await.map_err(HostFailure::lost)?;
    match answer(session).await? {
        Reply::Ready => {}
        Reply::NotInstalled(reason) => return Err(HostFailure::not_installed(&reason)),
        _ => return Err(wrong_answer()),
    }
    // A full disk is reported, and the other end exits, while bytes are still being sent.
    let sent = session.send(&bytes).await;
    let installed = match answer(session).await? {
        Reply::Sow(path) => path,
        Reply::NotInstalled(reason) => return Err(HostFailure::not_installed(&reason)),
        _ => return Err(wrong_answer()),
    };
    drop(slot);
    sent.map_err(HostFailure::lost).map(|()| installed)
}

fn wrong_answer() -> HostFailure {
    HostFailure::other("its shell gave a wrong answer")
}

/// Runs a script. Returns the path of the program, or why it is not there.
async fn run(session: &mut Session, script: &str) -> Result<Result<String, String>, HostFailure> {
    session.send(script.as_bytes()).await.map_err(HostFailure::lost)?;
    match answer(session).await? {
        Reply::Sow(path) => Ok(Ok(path)),
        Reply::NotInstalled(reason) => Ok(Err(reason)),
        _ => Err(wrong_answer()),
    }
}

/// The next line of a script.
async fn answer(session: &mut Session) -> Result<Reply, HostFailure> {
    loop {
        let line = session.next_line().await.ok_or(HostFailure::Closed)?;
        match Reply::parse(&line) {
            Reply::Other(_) => {}
            reply => return Ok(reply),
        }
    }
}

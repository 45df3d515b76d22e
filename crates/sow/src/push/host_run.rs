//! The whole way of one host: `ssh`, the probe, perhaps the installation, `sow get`, and why it
//! failed.

use std::{net::IpAddr, process::ExitStatus, sync::Arc, time::Duration};

use serde::Deserialize;
use sow_content::{
    magnet::Magnet,
    ticket::{Address, Ticket},
};
use tokio::time::{sleep, timeout};

use super::{
    host_failure::HostFailure,
    install::{InstallPolicy, install},
    program::{Program, ProgramSources},
    remote_scripts::{self, PROTOCOL},
    reply::{Connection, Reply},
    ssh::{Session, SshCommand},
    ssh_errors::{self, shortened},
};
use crate::fleet::HostTarget;

/// How long `ssh` may take until the shell answers: its own limit is for TCP only.
const CONNECT_TIME: Duration = Duration::from_secs(40);

/// How long the probe may take, which hashes a program of an earlier run.
const PROBE_TIME: Duration = Duration::from_secs(60);

/// How long the other end has to exit when its standard input has ended.
const EXIT_TIME: Duration = Duration::from_secs(4);

/// How often a host is tried whose server closes the connection at once, as a busy one does with
/// more than ten new connections (`MaxStartups`), for instance a jump host.
const MAX_ATTEMPTS: u32 = 4;

/// What all hosts of a run have in common.
#[derive(Debug)]
pub(crate) struct HostPlan {
    pub(crate) ssh: SshCommand,
    pub(crate) program: Program,
    pub(crate) sources: ProgramSources,
    pub(crate) policy: InstallPolicy,
    pub(crate) origin: OriginAddresses,
    /// More options of `sow get`.
    pub(crate) options: Vec<String>,
}

/// The addresses of this machine, and what it shares.
#[derive(Debug)]
pub(crate) struct OriginAddresses {
    /// The address that `--bind` names.
    pub(crate) bind: Option<IpAddr>,
    /// The address that other machines most likely reach, and the port.
    pub(crate) advertised: Address,
    /// The content.
    pub(crate) magnet: Magnet,
}

/// What a host reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostEvent {
    /// Its shell has answered.
    Reached,
    /// It has no `sow`; this program is being put there.
    Installing,
    /// `sow get` is running.
    Started,
    /// It has verified this many bytes.
    Progress(u64),
    /// The target is in place there.
    Complete,
}

/// Runs `sow get` on a host until it ends, or `stop` ends. Reports what happens.
///
/// # Errors
/// When the host has no copy in the end.
pub(crate) async fn run_host(
    target: &HostTarget,
    name: &str,
    plan: &Arc<HostPlan>,
    report: impl Fn(HostEvent),
    stop: impl Future<Output = ()>,
) -> Result<(), HostFailure> {
    tokio::pin!(stop);
    for attempt in 1.. {
        let mut session = Session::start(&plan.ssh, &target.destination).map_err(|error| {
            HostFailure::other(format_args!("cannot run {}: {error}", plan.ssh.name()))
        })?;
        let mut run = HostRun { target, name, plan, report: &report, state: RunState::default() };
        let ended = tokio::select! {
            ended = run.run(&mut session) => ended,
            () = &mut stop => Err(HostFailure::Stopped),
        };
        let RunState { is_complete, installed_at, .. } = &run.state;
        installed_at.iter().for_each(|url| plan.sources.remove(url));
        let is_complete = *is_complete;
        let (status, errors) = session.end(EXIT_TIME).await;
        let failure = match ended {
            _ if is_complete => return Ok(()),
            Ok(()) => return Ok(()),
            Err(HostFailure::Closed) => run.state.explain(status, &errors),
            Err(failure) => return Err(failure),
        };
        let is_busy = !run.state.is_reached && is_busy_server(&errors) && attempt < MAX_ATTEMPTS;
        if !is_busy {
            return Err(failure);
        }
        let pause = Duration::from_millis(fastrand::u64(500..1500) * u64::from(attempt));
        tokio::select! {
            () = sleep(pause) => {}
            () = &mut stop => return Err(failure),
        }
    }
    unreachable!("the attempts are counted")
}

/// Whether the server of `ssh` closed the connection before anything was said.
fn is_busy_server(errors: &[String]) -> bool {
    errors.iter().any(|line| line.contains("kex_exchange_identification"))
}

/// One attempt.
struct HostRun<'a, R> {
    target: &'a HostTarget,
    name: &'a str,
    plan: &'a HostPlan,
    report: &'a R,
    state: RunState,
}

#[derive(Debug, Default)]
struct RunState {
    is_reached: bool,
    is_complete: bool,
    /// The URL at which the host passes the program on.
    installed_at: Option<String>,
    /// The last line that is not one of ours.
    noise: String,
}

/// What the probe found.
#[derive(Debug, Default)]
struct Probe {
    system: String,
    connection: Connection,
    no_folder: Option<String>,
    sow: Option<String>,
    old: Option<String>,
}

/// An event of `sow get --json`, as far as it is of use here.
#[derive(Debug, Deserialize)]
struct RemoteEvent {
    event: String,
    bytes: Option<u64>,
    port: Option<u16>,
    message: Option<String>,
}

impl<R: Fn(HostEvent)> HostRun<'_, R> {
    async fn run(&mut self, session: &mut Session) -> Result<(), HostFailure> {
        let probe = self.probe(session).await?;
        if let Some(reason) = &probe.no_folder {
            let folder = self.target.folder.as_deref().unwrap_or("the home folder");
            return Err(HostFailure::Because(format!("{folder}: {reason}")));
        }
        let origins = self.plan.origin.seen_by(probe.connection.client);
        let is_own =
            |path: &str| path.ends_with(&remote_scripts::cached_name(&self.plan.program.sha256));
        let program = match &probe.sow {
            Some(path) => path.clone(),
            None => {
                self.check_installable(&probe)?;
                (self.report)(HostEvent::Installing);
                let HostPlan { program, sources, .. } = self.plan;
                let origin = origins.first().unwrap_or(&self.plan.origin.advertised);
                install(session, program, sources, origin).await?
            }
        };
        let script = remote_scripts::get(&program, &self.arguments(&origins));
        session.send(script.as_bytes()).await.map_err(HostFailure::lost)?;
        (self.report)(HostEvent::Started);
        let passes_on = probe.connection.server.filter(|_| is_own(&program));
        self.follow(session, passes_on).await
    }

    /// Waits for the shell, and asks it what is there.
    async fn probe(&mut self, session: &mut Session) -> Result<Probe, HostFailure> {
        let plan = self.plan;
        let script = remote_scripts::probe(self.target.folder.as_deref(), &plan.program.sha256);
        session.send(script.as_bytes()).await.map_err(HostFailure::lost)?;
        let begun = async {
            while self.next_reply(session).await? != Reply::Begin {}
            Ok(())
        };
        let seconds = CONNECT_TIME.as_secs();
        timeout(CONNECT_TIME, begun).await.unwrap_or_else(|_| {
            let reason = format!("no shell answered within {seconds} s");
            Err(HostFailure::Because(reason))
        })?;
        self.state.is_reached = true;
        (self.report)(HostEvent::Reached);
        let mut probe = Probe::default();
        let probing = async {
            loop {
                match self.next_reply(session).await? {
                    Reply::System(system) => probe.system = system,
                    Reply::Connection(connection) => probe.connection = connection,
                    Reply::NoFolder(reason) => probe.no_folder = Some(reason),
                    Reply::Sow(path) => probe.sow = Some(path),
                    Reply::OldSow(version) => probe.old = Some(version),
                    Reply::End => return Ok(()),
                    _ => {}
                }
            }
        };
        timeout(PROBE_TIME, probing)
            .await
            .unwrap_or_else(|_| Err(HostFailure::other("its shell stopped answering")))?;
        Ok(probe)
    }

    /// Checks that this program may be put there, and runs there.
    fn check_installable(&self, probe: &Probe) -> Result<(), HostFailure> {
        let own = &self.plan.program.system;
        let missing = match &probe.old {
            Some(version) => format!("sow there is another version ({})", shortened(version)),
            None => "sow is not installed there".to_owned(),
        };
        if self.plan.policy == InstallPolicy::Never {
            return Err(HostFailure::other(format_args!("{missing}, and --install is never")));
        }
        if probe.system != *own {
            let system = shortened(&probe.system);
            return Err(HostFailure::other(format_args!(
                "{missing}, and this sow is for {own}, not for {system}"
            )));
        }
        Ok(())
    }

    /// The arguments of `get`.
    fn arguments(&self, origins: &[Address]) -> Vec<String> {
        let protocol = PROTOCOL.to_string();
        let fixed = ["--push-protocol", &protocol, "--json", "--quiet", "--name", self.name];
        let mut arguments: Vec<String> = fixed.iter().map(|&word| word.to_owned()).collect();
        arguments.extend(self.plan.options.iter().cloned());
        arguments.push(self.plan.origin.source_at(origins));
        arguments
    }

    /// Reports the events of `get` until it ends. `passes_on` is the address of a host that has
    /// this very program.
    async fn follow(
        &mut self,
        session: &mut Session,
        passes_on: Option<IpAddr>,
    ) -> Result<(), HostFailure> {
        let mut failure = None;
        loop {
            let line = match self.next_reply(session).await? {
                Reply::Exit(0) => return Ok(()),
                Reply::Exit(code) => return Err(self.exit_failure(code, failure)),
                Reply::Other(line) => line,
                _ => continue,
            };
            let Ok(event) = serde_json::from_str::<RemoteEvent>(&line) else { continue };
            match (&*event.event, event.bytes, event.port) {
                ("ready", _, Some(port)) => {
                    if let Some(host) = passes_on.filter(|_| self.state.installed_at.is_none()) {
                        let address = Address { host: host.to_string(), port };
                        self.state.installed_at = Some(self.plan.sources.add(&address));
                    }
                }
                ("progress", Some(bytes), _) => (self.report)(HostEvent::Progress(bytes)),
                ("complete", ..) if !self.state.is_complete => {
                    self.state.is_complete = true;
                    (self.report)(HostEvent::Complete);
                }
                ("error", ..) => failure = Some(event),
                _ => {}
            }
        }
    }

    /// Why `get` ended with a code other than 0.
    fn exit_failure(&self, code: u8, event: Option<RemoteEvent>) -> HostFailure {
        match event.and_then(|event| event.message) {
            Some(message) => HostFailure::other(message.lines().next().unwrap_or_default()),
            None => match code {
                129.. => {
                    HostFailure::other(format_args!("sow was killed there (signal {})", code - 128))
                }
                // Its message is on standard error.
                _ => HostFailure::Closed,
            },
        }
    }

    async fn next_reply(&mut self, session: &mut Session) -> Result<Reply, HostFailure> {
        let line = session.next_line().await.ok_or(HostFailure::Closed)?;
        let reply = Reply::parse(&line);
        if let Reply::Other(line) = &reply
            && !line.trim().is_empty()
            && !line.starts_with('{')
        {
            self.state.noise = shortened(line);
        }
        Ok(reply)
    }
}

impl RunState {
    /// Why the connection ended.
    fn explain(&self, status: Option<ExitStatus>, errors: &[String]) -> HostFailure {
        let code = status.and_then(|status| status.code());
        let default = match (self.is_reached, code) {
            (false, Some(255) | None) => "ssh failed without a reason",
            (false, _) => "its shell ended at once",
            (true, _) => ssh_errors::LOST,
        };
        let noise = (!self.noise.is_empty()).then(|| self.noise.clone());
        let said = match self.is_reached {
            // What a shell says before it runs anything is the reason why it does not.
            false => ssh_errors::reason(errors).or(noise),
            true => ssh_errors::reason_after_login(errors),
        };
        HostFailure::Because(said.unwrap_or_else(|| default.to_owned()))
    }
}

impl OriginAddresses {
    /// The addresses of this machine as a host sees them, the best one first: the one that `--bind`
    /// names, or the one from which `ssh` came, and behind a jump host or a translated address our
    /// own one too.
    fn seen_by(&self, client: Option<IpAddr>) -> Vec<Address> {
        let advertised = self.advertised.clone();
        let at = |ip: IpAddr| Address { host: ip.to_string(), port: advertised.port };
        match (self.bind.filter(|bind| !bind.is_unspecified()), client) {
            (Some(bind), _) => vec![at(bind)],
            (None, Some(client)) if is_own(client) => vec![at(client)],
            (None, Some(client)) => vec![at(client), advertised],
            (None, None) => vec![advertised],
        }
    }

    /// The WHAT of `sow get` for an origin at these addresses.
    fn source_at(&self, addresses: &[Address]) -> String {
        match addresses {
            [Address { host, port }] => {
                let (host, info_hash) = (host.clone(), self.magnet.info_hash);
                Ticket { host, port: *port, info_hash }.to_string()
            }
            several => {
                let mut magnet = self.magnet.clone();
                let trackers = several.iter().map(|address| format!("http://{address}/announce"));
                magnet.trackers = trackers.collect();
                magnet.peers = several.iter().map(ToString::to_string).collect();
                magnet.to_string()
            }
        }
    }
}

/// Whether this machine has the address.
fn is_own(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

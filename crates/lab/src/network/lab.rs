//! A lab that is up: built, found again, entered, counted.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::Ipv4Addr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::AtomicBool,
};

use serde::{Deserialize, Serialize};

use super::{
    Calibration, Counters, LabName, LabStatus, NetworkError, Topology,
    address::{host_namespace, ipv4, is_namespace_of, switch_namespace},
    building::build,
    calibrate,
    counters::{CounterReader, counters_of},
    processes,
    realm::start_helper,
    state::{Lock, State},
    status,
    sweep::sweep,
};

/// How frames are delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayMethod {
    /// Not at all.
    None,
    /// By the kernel's netem.
    Netem,
    /// By a process of ours between hosts and switch.
    Relay,
}

/// A network that is up. It is taken down when this is dropped, unless it was [kept](Lab::keep) or
/// only [opened](Lab::open).
#[derive(Debug)]
pub struct Lab {
    state: State,
    program: PathBuf,
    /// What is to be taken down with this: the processes that were started for it.
    owned: Option<Vec<Child>>,
}

impl Lab {
    /// Builds a network. `program` is the path of `sow`, which runs the helpers inside; `stop` ends
    /// the building early.
    ///
    /// What an earlier lab of that name left behind, when it was not built to its end, is swept
    /// away first. When building fails, nothing is left.
    ///
    /// # Errors
    /// When a lab of that name is up, the topology cannot be, this user may not, or a step fails.
    pub fn up(
        topology: &Topology,
        program: &Path,
        stop: &AtomicBool,
    ) -> Result<Self, NetworkError> {
        topology.check()?;
        let name = &topology.name;
        let _lock = Lock::take(name)?;
        if State::read(name)?.is_some_and(|state| is_whole(&state)) {
            return Err(NetworkError::AlreadyUp(name.to_string()));
        }
        sweep(name)?;
        let mut children = Vec::new();
        match build(topology, program, stop, &mut children) {
            Ok(state) => Ok(Self { state, program: program.to_owned(), owned: Some(children) }),
            Err(error) => {
                // What went wrong first is what to tell.
                let _ = sweep(name);
                reap(children);
                Err(error)
            }
        }
    }

    /// Finds a network that is up. It stays up when this is dropped.
    ///
    /// # Errors
    /// When there is none of that name, it is not whole, or a command is working on it.
    pub fn open(name: &LabName, program: &Path) -> Result<Self, NetworkError> {
        let was_busy = Lock::is_held(name);
        let state = State::read(name)?;
        match state {
            Some(state) if is_whole(&state) => {
                Ok(Self { state, program: program.to_owned(), owned: None })
            }
            _ if was_busy || Lock::is_held(name) => Err(NetworkError::Busy(name.to_string())),
            Some(_) => Err(NetworkError::Broken(name.to_string())),
            None => Err(NetworkError::NoSuchLab(name.to_string())),
        }
    }

    /// What it was built from.
    pub fn topology(&self) -> &Topology {
        &self.state.topology
    }

    /// How frames are delayed.
    pub fn delay_method(&self) -> DelayMethod {
        self.state.delay.unwrap_or(DelayMethod::None)
    }

    /// The address of a host (`h1`, …).
    ///
    /// # Errors
    /// When there is no such host.
    pub fn address(&self, host: &str) -> Result<Ipv4Addr, NetworkError> {
        Ok(ipv4(self.state.topology.host(host)?))
    }

    /// A program on a host (`h1`, …). Everything but the network is as it is here; it leads a
    /// process group of its own, so that a signal to the group reaches whatever it starts.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn command(&self, host: &str, program: impl AsRef<OsStr>) -> Result<Command, NetworkError> {
        let mut command = self.foreground_command(host, program)?;
        command.process_group(0);
        Ok(command)
    }

    /// The same in the process group of this program, for who sits at the terminal.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn foreground_command(
        &self,
        host: &str,
        program: impl AsRef<OsStr>,
    ) -> Result<Command, NetworkError> {
        let number = self.state.topology.host(host)?;
        let name = &self.state.topology.name;
        Ok(self.state.realm.enter(name, &host_namespace(name, number), host, program))
    }

    /// What has crossed a host's link since the network was built.
    ///
    /// # Errors
    /// When there is no such host, or it cannot be read.
    pub fn counters(&self, host: &str) -> Result<Counters, NetworkError> {
        self.state.topology.host(host)?;
        let mut all = self.all_counters()?;
        all.remove(host).ok_or_else(|| NetworkError::Broken(self.state.topology.name.to_string()))
    }

    /// The same for every host at one moment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn all_counters(&self) -> Result<BTreeMap<String, Counters>, NetworkError> {
        let name = &self.state.topology.name;
        let text = self.state.realm.run_script(
            name,
            Some(&switch_namespace(name)),
            "cat /proc/net/dev",
        )?;
        Ok(counters_of(&text))
    }

    /// The same to be read often.
    ///
    /// # Errors
    /// When the network is gone.
    pub fn counter_reader(&self) -> Result<CounterReader, NetworkError> {
        let name = &self.state.topology.name;
        CounterReader::start(self.state.realm.enter(
            name,
            &switch_namespace(name),
            "counters",
            "sh",
        ))
    }

    /// Measures what the links really do: rate, round trip, loss. Takes a few seconds for each
    /// path; nothing else should be running.
    ///
    /// # Errors
    /// When a measurement comes to no result.
    pub fn calibrate(&self) -> Result<Calibration, NetworkError> {
        calibrate::calibrate(self)
    }

    /// Who is there and what runs there.
    pub fn status(&self) -> LabStatus {
        status::of(&self.state)
    }

    /// Leaves the network up when this is dropped.
    pub fn keep(mut self) {
        self.owned = None;
    }

    /// Takes the network down, whoever built it.
    ///
    /// # Errors
    /// When something cannot be ended.
    pub fn down(mut self) -> Result<(), NetworkError> {
        let children = self.owned.take();
        let ended = super::down(&self.state.topology.name);
        reap(children.unwrap_or_default());
        ended.map(|_| ())
    }

    pub(super) fn start_probe(&self, host: usize, role: &str) -> Result<Child, NetworkError> {
        let name = &self.state.topology.name;
        let command =
            self.state.realm.enter(name, &host_namespace(name, host), "probe", &self.program);
        start_helper(command, role, name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(children) = self.owned.take() {
            // There is nobody to tell. What is left now is swept by the next command with this
            // name.
            let _ = super::down(&self.state.topology.name);
            reap(children);
        }
    }
}

/// Whether a lab was built to its end and is still there.
pub(super) fn is_whole(state: &State) -> bool {
    let name = &state.topology.name;
    let relay_runs =
        state.relay.is_none_or(|(pid, started)| processes::started(pid) == Some(started));
    let parts = || state.realm.ids(|namespace| is_namespace_of(name, namespace)).len();
    state.delay.is_some()
        && relay_runs
        && state.realm.is_there()
        && parts() == state.topology.links.len() + 1
}

/// Waits for processes that were killed.
fn reap(children: Vec<Child>) {
    for mut child in children {
        processes::kill(child.id());
        let _ = child.wait();
    }
}

//! A lab that is up: it is built or opened, programs are run on its hosts, its counters are read.
//! How each of these is done is in the modules beside this one.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::Ipv4Addr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::AtomicBool,
};

use super::{
    Calibration, Counters, DelayMethod, LabName, LabStatus, NetworkError, Topology,
    address::{host_namespace, ipv4, switch_namespace},
    building::build,
    calibrate,
    counters::{CounterReader, parse_counters},
    lab_state::{LabLock, LabState},
    namespace_host::start_helper,
    processes,
    status::{is_whole, status_of},
    teardown::teardown,
};

/// A network that is up. It is taken down when this is dropped, unless it was [kept](Lab::keep) or
/// only [opened](Lab::open).
#[derive(Debug)]
pub struct Lab {
    state: LabState,
    program: PathBuf,
    /// The processes that hold the lab, if dropping this takes the lab down.
    owned: Option<Vec<Child>>,
}

impl Lab {
    /// Builds a network. `program` is the path of `sow`, which runs the helpers inside; setting
    /// `stop` ends the building early.
    ///
    /// The rest of an earlier lab of that name that was not built to its end is removed first. When
    /// building fails, nothing is left.
    ///
    /// # Errors
    /// When a lab of that name is up, the topology cannot be built, this user is not permitted to
    /// build it, or a step fails.
    pub fn up(
        topology: &Topology,
        program: &Path,
        stop: &AtomicBool,
    ) -> Result<Self, NetworkError> {
        topology.check()?;
        let name = &topology.name;
        let _lock = LabLock::take(name)?;
        if LabState::read(name)?.is_some_and(|state| is_whole(&state)) {
            return Err(NetworkError::AlreadyUp(name.to_string()));
        }
        teardown(name)?;
        let mut children = Vec::new();
        match build(topology, program, stop, &mut children) {
            Ok(state) => Ok(Self { state, program: program.to_owned(), owned: Some(children) }),
            Err(error) => {
                // The first error is the one to report.
                let _ = teardown(name);
                reap(children);
                Err(error)
            }
        }
    }

    /// Opens a network that is up. It stays up when this is dropped.
    ///
    /// # Errors
    /// When there is none of that name, it is not whole, or a command is working on it.
    pub fn open(name: &LabName, program: &Path) -> Result<Self, NetworkError> {
        let was_busy = LabLock::is_held(name);
        let state = LabState::read(name)?;
        match state {
            Some(state) if is_whole(&state) => {
                Ok(Self { state, program: program.to_owned(), owned: None })
            }
            _ if was_busy || LabLock::is_held(name) => Err(NetworkError::Busy(name.to_string())),
            Some(_) => Err(NetworkError::Broken(name.to_string())),
            None => Err(NetworkError::NoSuchLab(name.to_string())),
        }
    }

    /// The description that it was built from.
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

    /// A program on a host (`h1`, …). Everything but the network is as it is for this process. The
    /// program leads a process group of its own, so that a signal to the group reaches all its
    /// children.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn command(&self, host: &str, program: impl AsRef<OsStr>) -> Result<Command, NetworkError> {
        let mut command = self.foreground_command(host, program)?;
        command.process_group(0);
        Ok(command)
    }

    /// The same in the process group of this program, for interactive use at a terminal.
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
        Ok(self.state.namespace_host.enter(name, &host_namespace(name, number), host, program))
    }

    /// The traffic of a host's link since the network was built.
    ///
    /// # Errors
    /// When there is no such host, or the counters cannot be read.
    pub fn counters(&self, host: &str) -> Result<Counters, NetworkError> {
        self.state.topology.host(host)?;
        let mut all = self.all_counters()?;
        all.remove(host).ok_or_else(|| NetworkError::Broken(self.state.topology.name.to_string()))
    }

    /// The traffic of all links, read at the same moment.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn all_counters(&self) -> Result<BTreeMap<String, Counters>, NetworkError> {
        let name = &self.state.topology.name;
        let switch = switch_namespace(name);
        let text =
            self.state.namespace_host.run_script(name, Some(&switch), "cat /proc/net/dev")?;
        Ok(parse_counters(&text))
    }

    /// A reader for callers that read the counters often.
    ///
    /// # Errors
    /// When the network no longer exists.
    pub fn counter_reader(&self) -> Result<CounterReader, NetworkError> {
        let name = &self.state.topology.name;
        let switch = switch_namespace(name);
        CounterReader::start(self.state.namespace_host.enter(name, &switch, "counters", "sh"))
    }

    /// Measures the links: rate, round trip, loss. This takes a few seconds for each path; nothing
    /// else should be running.
    ///
    /// # Errors
    /// When a measurement gives no result.
    pub fn calibrate(&self) -> Result<Calibration, NetworkError> {
        calibrate::calibrate(self)
    }

    /// The hosts and the processes that run on them.
    pub fn status(&self) -> LabStatus {
        status_of(&self.state)
    }

    /// Leaves the network up when this is dropped.
    pub fn keep(mut self) {
        self.owned = None;
    }

    /// Takes the network down, whether this or another process built it.
    ///
    /// # Errors
    /// When a process of the lab does not end.
    pub fn down(mut self) -> Result<(), NetworkError> {
        let children = self.owned.take();
        let ended = super::down(&self.state.topology.name);
        reap(children.unwrap_or_default());
        ended.map(|_| ())
    }

    pub(super) fn start_probe(&self, host: usize, role: &str) -> Result<Child, NetworkError> {
        let name = &self.state.topology.name;
        let namespace = host_namespace(name, host);
        let command = self.state.namespace_host.enter(name, &namespace, "probe", &self.program);
        start_helper(command, role, name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(children) = self.owned.take() {
            // An error cannot be returned here. The next command with this name removes the rest.
            let _ = super::down(&self.state.topology.name);
            reap(children);
        }
    }
}

/// Kills processes and waits for their end.
fn reap(children: Vec<Child>) {
    for mut child in children {
        processes::kill(child.id());
        let _ = child.wait();
    }
}

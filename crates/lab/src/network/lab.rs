//! A lab that is up: built, found again, entered, counted.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde::{Deserialize, Serialize};

use super::{
    Calibration, DelayChoice, LabName, LabStatus, NetworkError, Topology,
    address::{host_namespace, is_namespace_of, switch_namespace},
    calibrate,
    plan::Plan,
    processes,
    realm::{Realm, start_helper},
    state::{Lock, State},
    status,
    sweep::sweep,
};

/// Arguments of chrt(1) for the relay. A line does not wait for the processor: without this, frames come late when the programs
/// under test keep it busy.
const PROMPT: [&str; 2] = ["--fifo", "1"];

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

/// What has crossed a host's link, in whole Ethernet frames, counted at the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes that the host sent.
    pub sent_bytes: u64,
    /// Frames that the host sent.
    pub sent_frames: u64,
    /// Bytes that the host received.
    pub received_bytes: u64,
    /// Frames that the host received.
    pub received_frames: u64,
}

/// A network that is up. It is taken down when this is dropped, unless it was [kept](Lab::keep) or only [opened](Lab::open).
#[derive(Debug)]
pub struct Lab {
    state: State,
    program: PathBuf,
    /// What is to be taken down with this: the processes that were started for it.
    owned: Option<Vec<Child>>,
}

impl Lab {
    /// Builds a network. `program` is the path of `sow`, which runs the helpers inside; `stop` ends the building early.
    ///
    /// What an earlier lab of that name left behind, when it was not built to its end, is swept away first. When building fails, nothing is left.
    ///
    /// # Errors
    /// When a lab of that name is up, the topology cannot be, this user may not, or a step fails.
    pub fn up(topology: &Topology, program: &Path, stop: &AtomicBool) -> Result<Self, NetworkError> {
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
    /// When there is none of that name, or it is not whole.
    pub fn open(name: &LabName, program: &Path) -> Result<Self, NetworkError> {
        let Some(state) = State::read(name)? else {
            return Err(NetworkError::NoSuchLab(name.to_string()));
        };
        if !is_whole(&state) {
            return Err(NetworkError::Broken(name.to_string()));
        }
        Ok(Self { state, program: program.to_owned(), owned: None })
    }

    /// What it was built from.
    pub fn topology(&self) -> &Topology {
        &self.state.topology
    }

    /// How frames are delayed.
    pub fn delay_method(&self) -> DelayMethod {
        self.state.delay.unwrap_or(DelayMethod::None)
    }

    /// A program on a host (`h1`, …). Everything but the network is as it is here; it leads a process group of its own, so that a signal to
    /// the group reaches whatever it starts.
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
        let text = self.state.realm.run_script(name, Some(&switch_namespace(name)), "cat /proc/net/dev")?;
        Ok(counters_of(&text))
    }

    /// Measures what the links really do: rate, round trip, loss. Takes a few seconds for each path; nothing else should be running.
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
        let command = self.state.realm.enter(name, &host_namespace(name, host), "probe", &self.program);
        start_helper(command, role, name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(children) = self.owned.take() {
            // There is nobody to tell. What is left now is swept by the next command with this name.
            let _ = super::down(&self.state.topology.name);
            reap(children);
        }
    }
}

/// Whether a lab was built to its end and is still there.
pub(super) fn is_whole(state: &State) -> bool {
    let name = &state.topology.name;
    let relay_runs = state.relay.is_none_or(|(pid, started)| processes::started(pid) == Some(started));
    let parts = || state.realm.ids(|namespace| is_namespace_of(name, namespace)).len();
    state.delay.is_some() && relay_runs && state.realm.is_there() && parts() == state.topology.links.len() + 1
}

fn build(
    topology: &Topology,
    program: &Path,
    stop: &AtomicBool,
    children: &mut Vec<Child>,
) -> Result<State, NetworkError> {
    let go_on = || if stop.load(Ordering::Relaxed) { Err(NetworkError::Interrupted) } else { Ok(()) };
    let name = &topology.name;
    let (realm, keeper) = Realm::make(name)?;
    children.extend(keeper);
    let mut state = State { topology: topology.clone(), realm, delay: None, relay: None };
    state.write()?;
    let realm = &state.realm;
    realm.run_script(name, None, &Plan::namespaces(topology))?;
    go_on()?;

    let delay = choose_delay(topology, realm)?;
    let switch = switch_namespace(name);
    if delay == DelayMethod::Relay {
        let relay = start_relay(topology, realm, program)?;
        state.relay = processes::started(relay.id()).map(|started| (relay.id(), started));
        children.push(relay);
    }
    let plan = Plan::new(topology, delay);
    realm.run_script(name, Some(&switch), &plan.switches())?;
    build_hosts(topology, realm, &plan, &go_on)?;
    state.delay = Some(delay);
    state.write()?;
    Ok(state)
}

/// Sets up all hosts, a few at a time.
fn build_hosts(
    topology: &Topology,
    realm: &Realm,
    plan: &Plan<'_>,
    go_on: &(impl Fn() -> Result<(), NetworkError> + Sync),
) -> Result<(), NetworkError> {
    let next = AtomicUsize::new(1);
    let failed = Mutex::new(None);
    let work = || {
        loop {
            let host = next.fetch_add(1, Ordering::Relaxed);
            if host > topology.links.len() {
                return;
            }
            let namespace = host_namespace(&topology.name, host);
            let built =
                go_on().and_then(|()| realm.run_script(&topology.name, Some(&namespace), &plan.host(host)));
            if let Err(error) = built {
                next.store(topology.links.len() + 1, Ordering::Relaxed);
                failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                return;
            }
        }
    };
    let workers = thread::available_parallelism().map_or(2, usize::from).min(8);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The kernel's netem where it is wanted and there, else the relay.
fn choose_delay(topology: &Topology, realm: &Realm) -> Result<DelayMethod, NetworkError> {
    if !topology.has_delay() {
        return Ok(DelayMethod::None);
    }
    if topology.delay_by == DelayChoice::Relay {
        return Ok(DelayMethod::Relay);
    }
    let trial = "tc qdisc add dev lo root netem delay 1ms && tc qdisc delete dev lo root";
    let tried = realm.run_script(&topology.name, Some(&switch_namespace(&topology.name)), trial);
    match (tried, topology.delay_by) {
        (Ok(_), _) => Ok(DelayMethod::Netem),
        (Err(error), DelayChoice::Netem) => {
            Err(NetworkError::Topology(format!("this kernel has no netem ({error})")))
        }
        (Err(_), _) => Ok(DelayMethod::Relay),
    }
}

/// Starts the relay in the switches' namespace and waits until it has made its devices.
fn start_relay(topology: &Topology, realm: &Realm, program: &Path) -> Result<Child, NetworkError> {
    let name = &topology.name;
    let enter = |first: &OsStr| realm.enter(name, &switch_namespace(name), "relay", first);
    let command = if may_be_prompt() {
        let mut command = enter("chrt".as_ref());
        command.args(PROMPT).arg(program);
        command
    } else {
        enter(program.as_ref())
    };
    let mut relay = start_helper(command, "relay", name)?;
    let task =
        serde_json::to_vec(&Plan::relay(topology)).map_err(|error| NetworkError::step("relay", error))?;
    if let Some(mut stdin) = relay.stdin.take() {
        // If it ended early, it says why itself.
        let _ = stdin.write_all(&task);
    }
    let mut said = String::new();
    if let Some(stdout) = relay.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut said);
    }
    if said.trim() == "ready" {
        relay.stderr = None;
        return Ok(relay);
    }
    processes::kill(relay.id());
    let mut error = String::new();
    if let Some(mut stderr) = relay.stderr.take() {
        let _ = stderr.read_to_string(&mut error);
    }
    reap(vec![relay]);
    Err(NetworkError::step("the relay that delays frames", error.trim()))
}

/// Whether this user may have a process that comes before all ordinary ones.
fn may_be_prompt() -> bool {
    let mut trial = Command::new("chrt");
    trial.args(PROMPT).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    trial.status().is_ok_and(|status| status.success())
}

/// Waits for processes that were killed.
fn reap(children: Vec<Child>) {
    for mut child in children {
        processes::kill(child.id());
        let _ = child.wait();
    }
}

/// Reads /proc/net/dev of the switches' namespace. What a port received is what its host sent.
fn counters_of(text: &str) -> BTreeMap<String, Counters> {
    let ports = text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let name = name.trim();
        super::host_number(name)?;
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
        let counters = Counters {
            sent_bytes: *numbers.first()?,
            sent_frames: *numbers.get(1)?,
            received_bytes: *numbers.get(8)?,
            received_frames: *numbers.get(9)?,
        };
        Some((name.to_owned(), counters))
    });
    ports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_switch() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
    s1:     640       9    0    0    0     0          0         9        0       0    0    0    0     0       0          0
    h1: 1514000    1000    0    0    0     0          0         0    66000    1000    0    3    0     0       0          0
   h12:      10       1    0    0    0     0          0         0       20       2    0    0    0     0       0          0
";
        let counters = counters_of(text);
        assert_eq!(counters.keys().collect::<Vec<_>>(), ["h1", "h12"]);
        assert_eq!(
            counters["h1"],
            Counters {
                sent_bytes: 1_514_000,
                sent_frames: 1000,
                received_bytes: 66_000,
                received_frames: 1000
            }
        );
    }
}

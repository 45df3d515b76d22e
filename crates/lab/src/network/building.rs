//! The steps that build a lab, in their order. The caller takes the lab down when a step fails.

use std::{
    ffi::OsStr,
    fs::OpenOptions,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rustix::process::geteuid;

use super::{
    DelayChoice, DelayMethod, NetworkError, Topology,
    address::{host_namespace, switch_namespace},
    lab_state::LabState,
    namespace_host::{NamespaceHost, start_helper},
    processes,
    relay::TUN_DEVICE,
    setup_scripts::SetupScripts,
};

/// The limit of hosts that are set up at the same time.
const MAX_SETUP_WORKERS: usize = 8;
/// Arguments of chrt(1) for the relay. Real-time priority: without it, frames are late whenever the
/// programs under test keep the processors busy.
const RELAY_PRIORITY: [&str; 2] = ["--fifo", "1"];
/// Adds a netem queue in a network namespace of its own, which ends with the script.
const NETEM_TRIAL: &str = "unshare --net sh -c 'tc qdisc add dev lo root netem delay 1ms'";

/// Builds a lab. The processes that hold it are added to `children`, also when a step fails.
///
/// # Errors
/// When `stop` is set, or a step fails.
pub(super) fn build(
    topology: &Topology,
    program: &Path,
    stop: &AtomicBool,
    children: &mut Vec<Child>,
) -> Result<LabState, NetworkError> {
    let check_stop =
        || if stop.load(Ordering::Relaxed) { Err(NetworkError::Interrupted) } else { Ok(()) };
    let name = &topology.name;
    let (namespace_host, keeper) = NamespaceHost::create(name)?;
    children.extend(keeper);
    let mut state =
        LabState { topology: topology.clone(), namespace_host, delay: None, relay: None };
    state.write()?;
    let host = &state.namespace_host;
    let delay = choose_delay_method(topology, host)?;
    host.run_script(name, None, &SetupScripts::namespaces(topology))?;
    check_stop()?;

    if delay == DelayMethod::Relay {
        let relay = start_relay(topology, host, program)?;
        state.relay = processes::start_time(relay.id()).map(|started| (relay.id(), started));
        children.push(relay);
    }
    let scripts = SetupScripts::new(topology, delay);
    host.run_script(name, Some(&switch_namespace(name)), &scripts.switches())?;
    set_up_hosts(topology, host, &scripts, &check_stop)?;
    state.delay = Some(delay);
    state.write()?;
    Ok(state)
}

/// Chooses how frames are delayed: netem where it is allowed and available, else the relay. This
/// comes before the first namespace, so that a machine that cannot delay frames gets no half-built
/// lab.
fn choose_delay_method(
    topology: &Topology,
    host: &NamespaceHost,
) -> Result<DelayMethod, NetworkError> {
    if !topology.has_delay() {
        return Ok(DelayMethod::None);
    }
    if topology.delay_by != DelayChoice::Relay {
        match host.run_script(&topology.name, None, NETEM_TRIAL) {
            Ok(_) => return Ok(DelayMethod::Netem),
            Err(error @ NetworkError::NotPermitted(_)) => return Err(error),
            Err(error) if topology.delay_by == DelayChoice::Netem => {
                return Err(NetworkError::Topology(format!("this kernel has no netem ({error})")));
            }
            Err(_) => {}
        }
    }
    match OpenOptions::new().read(true).write(true).open(TUN_DEVICE) {
        Ok(_) => Ok(DelayMethod::Relay),
        Err(error) => Err(no_relay(error, geteuid().is_root())),
    }
}

/// The error of a machine on which the relay cannot open its device.
fn no_relay(source: io::Error, is_root: bool) -> NetworkError {
    if source.kind() == io::ErrorKind::PermissionDenied && !is_root {
        NetworkError::DelayNotPermitted { device: TUN_DEVICE }
    } else {
        NetworkError::NoDelayDevice { device: TUN_DEVICE, source }
    }
}

/// Sets up all hosts, a few at a time.
fn set_up_hosts(
    topology: &Topology,
    namespace_host: &NamespaceHost,
    scripts: &SetupScripts<'_>,
    check_stop: &(impl Fn() -> Result<(), NetworkError> + Sync),
) -> Result<(), NetworkError> {
    let next = AtomicUsize::new(1);
    let failure = Mutex::new(None);
    let set_up_next_hosts = || {
        loop {
            let host = next.fetch_add(1, Ordering::Relaxed);
            if host > topology.links.len() {
                return;
            }
            let namespace = host_namespace(&topology.name, host);
            let result = check_stop().and_then(|()| {
                namespace_host.run_script(&topology.name, Some(&namespace), &scripts.host(host))
            });
            if let Err(error) = result {
                next.store(topology.links.len() + 1, Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return;
            }
        }
    };
    let workers = thread::available_parallelism().map_or(2, usize::from).min(MAX_SETUP_WORKERS);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(set_up_next_hosts);
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Starts the relay in the switches' namespace and waits until it has made its devices.
fn start_relay(
    topology: &Topology,
    host: &NamespaceHost,
    program: &Path,
) -> Result<Child, NetworkError> {
    let name = &topology.name;
    let enter = |first: &OsStr| host.enter(name, &switch_namespace(name), "relay", first);
    let command = if may_use_relay_priority() {
        let mut command = enter("chrt".as_ref());
        command.args(RELAY_PRIORITY).arg(program);
        command
    } else {
        enter(program.as_ref())
    };
    let mut relay = start_helper(command, "relay", name)?;
    let task = serde_json::to_vec(&SetupScripts::relay_task(topology))
        .map_err(|error| NetworkError::step("relay", error))?;
    if let Some(mut stdin) = relay.stdin.take() {
        // A relay that ended early reports the cause itself; the broken pipe says nothing more.
        let _ = stdin.write_all(&task);
    }
    let mut line = String::new();
    if let Some(stdout) = relay.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    if line.trim() == "ready" {
        relay.stderr = None;
        return Ok(relay);
    }
    processes::kill(relay.id());
    let mut error = String::new();
    if let Some(mut stderr) = relay.stderr.take() {
        let _ = stderr.read_to_string(&mut error);
    }
    let _ = relay.wait();
    Err(NetworkError::step("the relay that delays frames", error.trim()))
}

/// Whether this user may start a process with real-time priority.
fn may_use_relay_priority() -> bool {
    let mut trial = Command::new("chrt");
    trial.args(RELAY_PRIORITY).arg("true");
    trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    trial.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_delay_names_the_device_and_the_remedy() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let text = no_relay(denied(), false).to_string();
        assert_eq!(
            text,
            "an ordinary user cannot delay frames on this machine: /dev/net/tun is not writable \
             for this user; run as root, leave out the delay, or ask for `chmod 666 /dev/net/tun`"
        );
        for (source, is_root) in [(denied(), true), (io::ErrorKind::NotFound.into(), false)] {
            let text = no_relay(source, is_root).to_string();
            assert!(text.contains("/dev/net/tun: ") && text.contains("module tun"), "{text}");
        }
    }
}

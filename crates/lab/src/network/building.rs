//! The building of a lab, step by step. Whoever calls sweeps up after a step that fails.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    DelayChoice, DelayMethod, NetworkError, Topology,
    address::{host_namespace, switch_namespace},
    plan::Plan,
    processes,
    realm::{Realm, start_helper},
    state::State,
};

/// Arguments of chrt(1) for the relay. A line does not wait for the processor: without this, frames
/// come late when the programs under test keep it busy.
const PROMPT: [&str; 2] = ["--fifo", "1"];

/// Makes everything; the processes that hold it are added to `children`, also when a step fails.
///
/// # Errors
/// When it was asked to `stop`, or a step fails.
pub(super) fn build(
    topology: &Topology,
    program: &Path,
    stop: &AtomicBool,
    children: &mut Vec<Child>,
) -> Result<State, NetworkError> {
    let go_on =
        || if stop.load(Ordering::Relaxed) { Err(NetworkError::Interrupted) } else { Ok(()) };
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
            let built = go_on().and_then(|()| {
                realm.run_script(&topology.name, Some(&namespace), &plan.host(host))
            });
            if let Err(error) = built {
                next.store(topology.links.len() + 1, Ordering::Relaxed);
                failed
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .get_or_insert(error);
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
    let task = serde_json::to_vec(&Plan::relay(topology))
        .map_err(|error| NetworkError::step("relay", error))?;
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
    let _ = relay.wait();
    Err(NetworkError::step("the relay that delays frames", error.trim()))
}

/// Whether this user may have a process that comes before all ordinary ones.
fn may_be_prompt() -> bool {
    let mut trial = Command::new("chrt");
    trial.args(PROMPT).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    trial.status().is_ok_and(|status| status.success())
}

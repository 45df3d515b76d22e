//! Teardown of a lab, whole or partly built: ends every process and removes every namespace that
//! carries the lab's name, whatever the state file says. Building is elsewhere.

use std::{
    collections::BTreeSet,
    fs::File,
    thread,
    time::{Duration, Instant},
};

use super::{
    LabName, NetworkError,
    address::is_namespace_of,
    lab_state::{LabLock, LabState},
    namespace_host::NamespaceHost,
    processes::{self, is_marked, namespace_of, self_and_ancestors},
};

/// The time that the processes of a lab get to end after they are killed.
const PROCESS_END_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval between two attempts to kill what is left.
const KILL_INTERVAL: Duration = Duration::from_millis(10);

/// Takes a lab down: ends its processes, removes its namespaces and its state file. Returns whether
/// there was anything to remove.
///
/// # Errors
/// When this process is part of the lab, when another command works on it, or when a process does
/// not end.
pub fn down(name: &LabName) -> Result<bool, NetworkError> {
    let _lock = LabLock::take(name)?;
    teardown(name)
}

/// The same for a caller that holds the lock.
pub(super) fn teardown(name: &LabName) -> Result<bool, NetworkError> {
    let state = LabState::read(name)?;
    let pinned = state.as_ref().and_then(|state| PinnedHost::new(&state.namespace_host));
    let hosts: Vec<_> = [&NamespaceHost::Machine]
        .into_iter()
        .chain(pinned.as_ref().map(|pinned| &pinned.host))
        .collect();
    // The first round ends every process that could still make namespaces; after the namespaces are
    // removed, the second round ends processes that were started meanwhile.
    let mut found = end_processes(name, &hosts)?;
    found |= remove_namespaces(name)?;
    found |= end_processes(name, &hosts)?;
    LabState::remove(name)?;
    Ok(found || state.is_some())
}

/// The processes of a lab, as the kernel reports them.
fn member_processes(name: &LabName, hosts: &[&NamespaceHost]) -> BTreeSet<u32> {
    let ids: BTreeSet<_> = hosts
        .iter()
        .flat_map(|host| host.namespace_ids(|namespace| is_namespace_of(name, namespace)))
        .map(|(_, id)| id)
        .collect();
    let is_inside =
        |pid: u32| !ids.is_empty() && namespace_of(pid, "net").is_some_and(|id| ids.contains(&id));
    let own = processes::own_processes().into_iter();
    own.filter(|pid| {
        is_marked(*pid, name)
            || is_inside(*pid)
            || hosts.iter().any(|host| host.holds_process(*pid))
    })
    .collect()
}

/// Ends all processes of a lab. Returns whether there were any.
fn end_processes(name: &LabName, hosts: &[&NamespaceHost]) -> Result<bool, NetworkError> {
    let spared = self_and_ancestors();
    let deadline = Instant::now() + PROCESS_END_TIMEOUT;
    let mut found = false;
    loop {
        let members = member_processes(name, hosts);
        if !members.is_disjoint(&spared) {
            return Err(NetworkError::Inside(name.to_string()));
        }
        if members.is_empty() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            let pids: Vec<_> = members.iter().map(ToString::to_string).collect();
            return Err(NetworkError::step(
                format!("taking down {name}"),
                format!("cannot end {}", pids.join(", ")),
            ));
        }
        found = true;
        members.into_iter().for_each(processes::kill);
        thread::sleep(KILL_INTERVAL);
    }
}

/// A namespace host whose user namespace is held open. The kernel reuses the inode numbers of
/// namespaces at once; while this is held, the number stays unambiguous.
struct PinnedHost {
    host: NamespaceHost,
    _namespace: Option<File>,
}

impl PinnedHost {
    /// `None` when the host no longer exists.
    fn new(host: &NamespaceHost) -> Option<Self> {
        let namespace = host.user_namespace_path().and_then(|path| File::open(path).ok());
        host.exists().then(|| Self { host: host.clone(), _namespace: namespace })
    }
}

/// Removes the namespaces that `ip netns` lists. Those of a user namespace end with its last
/// process.
fn remove_namespaces(name: &LabName) -> Result<bool, NetworkError> {
    let all = processes::names_in(&NamespaceHost::Machine.namespace_folder());
    let own: Vec<_> =
        all.into_iter().filter(|namespace| is_namespace_of(name, namespace)).collect();
    if own.is_empty() || !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    let lines: String = own.iter().map(|namespace| format!("netns delete {namespace}\n")).collect();
    NamespaceHost::Machine.run_script(name, None, &format!("ip -batch - <<'END'\n{lines}END\n"))?;
    Ok(true)
}

//! Taking a lab down, whole or in pieces: everything that carries its name goes, whatever is noted
//! down of it.

use std::{
    collections::BTreeSet,
    fs::File,
    thread,
    time::{Duration, Instant},
};

use super::{
    LabName, NetworkError,
    address::is_namespace_of,
    processes::{self, is_marked, namespace_of, self_and_ancestors},
    realm::Realm,
    state::{Lock, State},
};

/// How long the processes of a lab may take to end once they are killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes a lab down: ends its processes, removes its namespaces and its notes. Returns whether
/// there was anything.
///
/// # Errors
/// When this process is part of it, when another command is working on it, or when something cannot
/// be ended.
pub fn down(name: &LabName) -> Result<bool, NetworkError> {
    let _lock = Lock::take(name)?;
    sweep(name)
}

/// The same for who has the lock.
pub(super) fn sweep(name: &LabName) -> Result<bool, NetworkError> {
    let noted = State::read(name)?;
    let pinned = noted.as_ref().and_then(|state| Pinned::new(&state.realm));
    let realms: Vec<_> =
        [&Realm::Machine].into_iter().chain(pinned.as_ref().map(|pinned| &pinned.realm)).collect();
    // Every process that makes namespaces is ended before these are listed; what it still made is
    // found in the second round.
    let mut found = end_processes(name, &realms)?;
    found |= remove_namespaces(name)?;
    found |= end_processes(name, &realms)?;
    State::remove(name)?;
    Ok(found || noted.is_some())
}

/// The processes of a lab, by what the kernel says.
fn members(name: &LabName, realms: &[&Realm]) -> BTreeSet<u32> {
    let ids: BTreeSet<_> = realms
        .iter()
        .flat_map(|realm| realm.ids(|namespace| is_namespace_of(name, namespace)))
        .map(|(_, id)| id)
        .collect();
    let inside =
        |pid: u32| !ids.is_empty() && namespace_of(pid, "net").is_some_and(|id| ids.contains(&id));
    let ours = processes::ours().into_iter();
    ours.filter(|pid| {
        is_marked(*pid, name) || inside(*pid) || realms.iter().any(|realm| realm.has(*pid))
    })
    .collect()
}

/// Ends all of them. Returns whether there were any.
fn end_processes(name: &LabName, realms: &[&Realm]) -> Result<bool, NetworkError> {
    let spared = self_and_ancestors();
    let deadline = Instant::now() + PATIENCE;
    let mut found = false;
    loop {
        let members = members(name, realms);
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
        thread::sleep(Duration::from_millis(10));
    }
}

/// A realm that cannot go while this is held, so that no other takes its numbers: they are given
/// out again at once.
struct Pinned {
    realm: Realm,
    _namespace: Option<File>,
}

impl Pinned {
    /// `None` when the realm is gone.
    fn new(realm: &Realm) -> Option<Self> {
        let namespace = realm.user_namespace_path().and_then(|path| File::open(path).ok());
        realm.is_there().then(|| Self { realm: realm.clone(), _namespace: namespace })
    }
}

/// Removes what `ip netns` knows. Namespaces of a user namespace went with its last process.
fn remove_namespaces(name: &LabName) -> Result<bool, NetworkError> {
    let all = processes::names_in(&Realm::Machine.namespaces());
    let ours: Vec<_> =
        all.into_iter().filter(|namespace| is_namespace_of(name, namespace)).collect();
    if ours.is_empty() || !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    let lines: String =
        ours.iter().map(|namespace| format!("netns delete {namespace}\n")).collect();
    Realm::Machine.run_script(name, None, &format!("ip -batch - <<'END'\n{lines}END\n"))?;
    Ok(true)
}

//! The present state of a lab, as the system reports it: whether it is whole, and which processes
//! run on its hosts. Nothing is changed here.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{
    DelayMethod, LabName, Link, NetworkError, Switches,
    address::{host_namespace, ipv4, ipv6, is_namespace_of},
    lab_state::{LabLock, LabState},
    processes::{self, namespace_of},
};

/// A lab as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabStatus {
    /// The name of the lab.
    pub name: LabName,
    /// Whether all its parts exist.
    pub whole: bool,
    /// Whether a command is building it or taking it down now.
    pub busy: bool,
    /// How frames are delayed; [`DelayMethod::None`] also while the lab is being built.
    pub delay_method: DelayMethod,
    /// TCP's congestion control on every host.
    pub congestion_control: String,
    /// How the hosts are connected.
    pub switches: Switches,
    /// The hosts, h1 first.
    pub hosts: Vec<HostStatus>,
}

/// A host of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// `h1`, …
    pub name: String,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
    /// The number of its switch, 1 or 2.
    pub switch: usize,
    /// Its link.
    #[serde(flatten)]
    pub link: Link,
    /// The processes that run on it.
    pub processes: Vec<RunningProcess>,
}

/// A process on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningProcess {
    /// Its process id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

impl LabStatus {
    /// The status of the lab of that name.
    ///
    /// # Errors
    /// When there is no such lab, or no state file that describes it.
    pub fn of(name: &LabName) -> Result<Self, NetworkError> {
        // A command that works on the lab now may finish before the state is read.
        let was_busy = LabLock::is_held(name);
        match LabState::read(name)? {
            Some(state) => {
                let status = status_of(&state);
                Ok(Self { busy: was_busy || status.busy, ..status })
            }
            None if was_busy => Err(NetworkError::Busy(name.to_string())),
            None if super::names()?.contains(name) => Err(NetworkError::Broken(name.to_string())),
            None => Err(NetworkError::NoSuchLab(name.to_string())),
        }
    }
}

/// Whether a lab was built to its end and all its parts still exist.
pub(super) fn is_whole(state: &LabState) -> bool {
    let name = &state.topology.name;
    let relay_runs =
        state.relay.is_none_or(|(pid, started)| processes::start_time(pid) == Some(started));
    let namespaces =
        || state.namespace_host.namespace_ids(|namespace| is_namespace_of(name, namespace)).len();
    state.delay.is_some()
        && relay_runs
        && state.namespace_host.exists()
        && namespaces() == state.topology.links.len() + 1
}

/// The status of a lab with this state.
pub(super) fn status_of(state: &LabState) -> LabStatus {
    let topology = &state.topology;
    let name = &topology.name;
    let namespaces =
        state.namespace_host.namespace_ids(|namespace| is_namespace_of(name, namespace));
    let all: Vec<_> = processes::own_processes()
        .into_iter()
        .filter_map(|pid| Some((pid, namespace_of(pid, "net")?)))
        .collect();
    let hosts = topology.links.iter().enumerate().map(|(index, link)| {
        let host = index + 1;
        let namespace = host_namespace(name, host);
        let id = namespaces.iter().find(|(name, _)| *name == namespace).map(|(_, id)| *id);
        let inside = all.iter().filter(|(_, net)| Some(*net) == id);
        let running = inside.filter_map(|(pid, _)| {
            Some(RunningProcess { pid: *pid, command: processes::command_line(*pid)? })
        });
        HostStatus {
            name: format!("h{host}"),
            ipv4: ipv4(host),
            ipv6: ipv6(host),
            switch: topology.switch_of(host),
            link: *link,
            processes: running.collect(),
        }
    });
    LabStatus {
        name: name.clone(),
        whole: is_whole(state),
        busy: LabLock::is_held(name),
        delay_method: state.delay.unwrap_or(DelayMethod::None),
        congestion_control: topology.congestion_control.clone(),
        switches: topology.switches,
        hosts: hosts.collect(),
    }
}

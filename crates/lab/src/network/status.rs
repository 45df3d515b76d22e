//! What there is of a lab right now.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{
    DelayMethod, LabName, Link, NetworkError, Switches,
    address::{host_namespace, ipv4, ipv6, is_namespace_of},
    lab::is_whole,
    processes::{self, namespace_of},
    state::{Lock, State},
};

/// A lab as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabStatus {
    /// What it is called.
    pub name: LabName,
    /// Whether everything that it is made of is there.
    pub whole: bool,
    /// Whether a command is building it or taking it down just now.
    pub busy: bool,
    /// How frames are delayed; [`DelayMethod::None`] also while that is not settled.
    pub delay_method: DelayMethod,
    /// TCP's congestion control on every host.
    pub congestion_control: String,
    /// How the hosts are joined.
    pub switches: Switches,
    /// The hosts, h1 first.
    pub hosts: Vec<HostStatus>,
}

/// A host of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// `h1`, …
    pub name: String,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Its address.
    pub ipv6: Ipv6Addr,
    /// The switch that it is on, 1 or 2.
    pub switch: usize,
    /// Its link.
    #[serde(flatten)]
    pub link: Link,
    /// What runs there.
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
    /// What there is of the lab of that name.
    ///
    /// # Errors
    /// When there is nothing, or nothing that says what it was to be.
    pub fn of(name: &LabName) -> Result<Self, NetworkError> {
        // It may be whole a moment later: who was at work before counts, too.
        let was_busy = Lock::is_held(name);
        match State::read(name)? {
            Some(state) => {
                let status = of(&state);
                Ok(Self { busy: was_busy || status.busy, ..status })
            }
            None if was_busy => Err(NetworkError::Busy(name.to_string())),
            None if super::names()?.contains(name) => Err(NetworkError::Broken(name.to_string())),
            None => Err(NetworkError::NoSuchLab(name.to_string())),
        }
    }
}

pub(super) fn of(state: &State) -> LabStatus {
    let topology = &state.topology;
    let name = &topology.name;
    let namespaces = state.realm.ids(|namespace| is_namespace_of(name, namespace));
    let all: Vec<_> = processes::ours()
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
        busy: Lock::is_held(name),
        delay_method: state.delay.unwrap_or(DelayMethod::None),
        congestion_control: topology.congestion_control.clone(),
        switches: topology.switches,
        hosts: hosts.collect(),
    }
}

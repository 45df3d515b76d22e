//! A star of hosts in network namespaces, with shaped links. Nothing here knows what runs on the
//! hosts.
//!
//! [`Topology`] describes the network, [`Lab::up`] builds it, [`Lab::command`] runs a program on a
//! host, [`Lab::calibrate`] measures the links. A lab outlives the program that built it; its name
//! is enough to find it, enter it and take it down.
//!
//! Each host has a namespace with one interface, `eth0`; a further namespace holds the switch. What
//! a host sends is shaped at its `eth0`, what it receives at the switch's port. The work is done by
//! `ip`, `tc` and `bridge` (iproute2) and by `nsenter` and `unshare` (util-linux).

mod address;
mod building;
mod calibrate;
mod counters;
mod error;
mod helper;
mod lab;
mod lab_state;
mod namespace_host;
mod probe;
mod processes;
mod relay;
mod setup_scripts;
mod shaping;
mod status;
mod teardown;
mod topology;

pub(crate) use self::lab_state::state_folder;
pub use self::{
    calibrate::{Calibration, PathCalibration},
    counters::{CounterReader, Counters},
    error::NetworkError,
    helper::run as run_helper,
    lab::Lab,
    lab_state::names,
    status::{HostStatus, LabStatus, RunningProcess},
    teardown::down,
    topology::{DelayChoice, DelayMethod, LabName, Link, Switches, Topology, host_number},
};

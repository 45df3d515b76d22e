//! A star of hosts in network namespaces, with shaped links.
//!
//! [`Topology`] says what is wanted, [`Lab::up`] builds it, [`Lab::command`] runs a program on a
//! host, [`Lab::calibrate`] measures the links. A lab outlives the program that built it; its name
//! alone is enough to find it, enter it and take it down.
//!
//! Each host has its own namespace with one interface, `eth0`; a further namespace is the switch.
//! What a host sends is shaped at its `eth0`, what it receives at the switch's port. Work is done
//! by `ip`, `tc` and `bridge` (iproute2) and `nsenter` and `unshare` (util-linux).

mod address;
mod building;
mod calibrate;
mod counters;
mod error;
mod helper;
mod lab;
mod plan;
mod probe;
mod processes;
mod realm;
mod relay;
mod shaping;
mod state;
mod status;
mod sweep;
mod topology;

pub(crate) use self::state::folder as notes;
pub use self::{
    calibrate::{Calibration, PathCalibration},
    counters::{CounterReader, Counters},
    error::NetworkError,
    helper::run as run_helper,
    lab::{DelayMethod, Lab},
    state::names,
    status::{HostStatus, LabStatus, RunningProcess},
    sweep::down,
    topology::{DelayChoice, LabName, Link, Switches, Topology, host_number},
};

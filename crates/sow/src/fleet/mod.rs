//! The fleet of an origin: which receivers there are, which hosts are expected, and the files that
//! tell of both, and the view of it as lines. Nothing here is connected or decided about a swarm.

mod counts;
mod earlier_results;
mod expectation;
mod host_list;
mod host_target;
mod receiver;
mod receivers;
mod results_file;
mod view;

pub(crate) use self::{
    counts::FleetCounts,
    earlier_results::hosts_not_complete,
    expectation::{Expectation, ExpectedHosts},
    host_list::HostList,
    host_target::HostTarget,
    receiver::Receiver,
    receivers::{NeverConnected, Receivers},
    results_file::{ResultsFile, check_writable, write_missing_hosts},
    view::{
        FleetView,
        shares::{self, ShareSummary},
    },
};

//! One `sow get` on each of many machines, over the system's `ssh`. Nothing is displayed here, and
//! nothing is shared: the command `push` runs the origin and shows what the hosts report.
//!
//! The remote end is `/bin/sh`, whatever the user's login shell is: the only word that the login
//! shell reads is `exec /bin/sh`, which sh, fish, csh and busybox all understand. The scripts go
//! through standard input, in the order [`probe`](remote_scripts::probe), then perhaps an
//! installation, then [`get`](remote_scripts::get). Standard input stays open: when it ends, `sow
//! get` ends there too, because without a terminal no signal reaches it.

mod fleet_run;
mod host_failure;
mod host_run;
mod install;
mod program;
mod remote_scripts;
mod reply;
mod shell_words;
mod ssh;
mod ssh_errors;

pub(crate) use self::{
    fleet_run::{FleetEvent, PushFleet, PushHost},
    host_failure::HostFailure,
    host_run::{HostEvent, HostPlan, OriginAddresses},
    install::InstallPolicy,
    program::{Program, ProgramSources},
    remote_scripts::PROTOCOL,
    shell_words::split as split_words,
    ssh::SshCommand,
};

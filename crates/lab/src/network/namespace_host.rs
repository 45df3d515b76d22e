//! Where the namespaces of a lab live: in the machine's own list when the user is root, or inside a
//! user namespace that a keeper process holds.
//!
//! This file knows how a command gets into a namespace. Which commands run there is decided
//! elsewhere.

use std::{
    ffi::OsStr,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::{
    LabName, NetworkError,
    address::MEMBER_VARIABLE,
    processes::{self, namespace_id, namespace_of},
};

/// The folder in which `ip netns` keeps the names of namespaces.
const NETNS_FOLDER: &str = "/run/netns";

/// The script of the keeper. It mounts a /run/netns that only its own mount namespace sees, and
/// holds it until it is killed.
const KEEPER_SCRIPT: &str = "\
set -e
if [ -d /run/netns ]; then mount -t tmpfs sow-lab /run/netns
else mount -t tmpfs sow-lab /run; mkdir /run/netns; fi
echo ready
exec sleep infinity
";

/// The first line of every script. On some systems an ordinary user's PATH does not include `tc`.
const SCRIPT_PATH_LINE: &str = "PATH=$PATH:/usr/sbin:/sbin\n";

/// The name of a script's step in errors when the script runs outside the lab's namespaces.
const OUTSIDE_NAMESPACES: &str = "the lab's namespaces";

/// The owner of a lab's namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NamespaceHost {
    /// The machine itself; `ip netns` lists the namespaces.
    Machine,
    /// A user namespace, which ends with its last process.
    User {
        /// The process that holds it.
        keeper: u32,
        /// The keeper's start time in clock ticks since boot.
        started: u64,
        /// The inode of the user namespace.
        user_namespace: u64,
    },
}

impl NamespaceHost {
    /// Makes a host for namespaces. The returned process, if any, holds it.
    ///
    /// # Errors
    /// When this user is not permitted to, or a program is missing.
    pub(super) fn create(name: &LabName) -> Result<(Self, Option<Child>), NetworkError> {
        if geteuid().is_root() {
            return Ok((Self::Machine, None));
        }
        let mut keeper = marked_command("unshare", name, "keeper");
        keeper.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", KEEPER_SCRIPT]);
        let mut keeper = keeper
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(not_started("unshare"))?;
        let mut line = String::new();
        let ready = keeper.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let pid = keeper.id();
        let host = processes::start_time(pid).zip(namespace_of(pid, "user")).map(
            |(started, (_, inode))| Self::User { keeper: pid, started, user_namespace: inode },
        );
        match (ready, line.trim(), host) {
            (Some(Ok(_)), "ready", Some(host)) => Ok((host, Some(keeper))),
            _ => {
                processes::kill(pid);
                let output = keeper.wait_with_output();
                let error =
                    output.map(|output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
                Err(NetworkError::NotPermitted(error.unwrap_or_default()))
            }
        }
    }

    /// Whether the host still exists.
    pub(super) fn exists(&self) -> bool {
        match self {
            Self::Machine => true,
            Self::User { keeper, started, .. } => processes::start_time(*keeper) == Some(*started),
        }
    }

    /// The file of the user namespace, if there is one.
    pub(super) fn user_namespace_path(&self) -> Option<PathBuf> {
        match self {
            Self::Machine => None,
            Self::User { keeper, .. } => Some(PathBuf::from(format!("/proc/{keeper}/ns/user"))),
        }
    }

    /// The folder that names the namespaces, as seen from this process.
    pub(super) fn namespace_folder(&self) -> PathBuf {
        match self {
            Self::Machine => PathBuf::from(NETNS_FOLDER),
            Self::User { keeper, .. } => {
                PathBuf::from(format!("/proc/{keeper}/root{NETNS_FOLDER}"))
            }
        }
    }

    /// A program in a network namespace; everything but the network is as it is for this process.
    /// `member` is the role that marks the process.
    pub(super) fn enter(
        &self,
        name: &LabName,
        namespace: &str,
        member: &str,
        program: impl AsRef<OsStr>,
    ) -> Command {
        let mut command = marked_command("nsenter", name, member);
        if let Self::User { keeper, .. } = self {
            command.args(["--user", "--preserve-credentials", "--target", &keeper.to_string()]);
        }
        command.arg(self.net_argument(namespace)).arg("--").arg(program);
        command
    }

    /// Runs a script of `sh` with sight of the lab's namespaces: in one of them, or outside of all.
    ///
    /// # Errors
    /// With the script's error output when it fails.
    pub(super) fn run_script(
        &self,
        name: &LabName,
        namespace: Option<&str>,
        script: &str,
    ) -> Result<String, NetworkError> {
        let net = namespace.map(|namespace| self.net_argument(namespace));
        let mut command = match (self, net) {
            (Self::Machine, None) => marked_command("sh", name, "setup"),
            (Self::Machine, Some(net)) => {
                let mut command = marked_command("nsenter", name, "setup");
                command.args([&net, "--", "sh"]);
                command
            }
            (Self::User { keeper, .. }, net) => {
                let keeper = keeper.to_string();
                let mut command = marked_command("nsenter", name, "setup");
                command.args(["--user", "--preserve-credentials", "--mount", "--target", &keeper]);
                command.args([net.as_deref().unwrap_or("--net"), "--", "sh"]);
                command
            }
        };
        let step = namespace.unwrap_or(OUTSIDE_NAMESPACES);
        run_with_input(command.args(["-e", "-s"]), script, step)
    }

    /// Whether a process is in this host's user namespace, whatever its environment says.
    pub(super) fn holds_process(&self, pid: u32) -> bool {
        match self {
            Self::Machine => false,
            Self::User { user_namespace, .. } => {
                namespace_of(pid, "user").is_some_and(|(_, inode)| inode == *user_namespace)
            }
        }
    }

    /// The names and ids of the existing namespaces that `is_wanted` accepts.
    pub(super) fn namespace_ids(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Vec<(String, processes::NamespaceId)> {
        let folder = self.namespace_folder();
        let names = processes::names_in(&folder).into_iter().filter(|name| is_wanted(name));
        names.filter_map(|name| namespace_id(&folder.join(&name)).map(|id| (name, id))).collect()
    }

    fn net_argument(&self, namespace: &str) -> String {
        format!("--net={}", self.namespace_folder().join(namespace).display())
    }
}

/// A command whose environment marks it as part of the lab.
pub(super) fn marked_command(program: &str, name: &LabName, member: &str) -> Command {
    let mut command = Command::new(program);
    command.env(MEMBER_VARIABLE, format!("{name}/{member}"));
    command
}

/// Starts a helper in a namespace: `program lab helper ROLE NAME`. The helper outlives this process
/// and its terminal.
///
/// # Errors
/// When it does not start.
pub(super) fn start_helper(
    mut command: Command,
    role: &str,
    name: &LabName,
) -> Result<Child, NetworkError> {
    command
        .args(["lab", "helper", role, name.as_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // In a process group of its own, so that Ctrl-C does not reach it.
        .process_group(0)
        .spawn()
        .map_err(not_started("nsenter"))
}

/// The error of a program of util-linux that did not start.
fn not_started(program: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => NetworkError::Missing(program, "util-linux"),
        _ => NetworkError::io(program)(error),
    }
}

/// Runs a command to its end with `input` as standard input, and returns its standard output.
fn run_with_input(command: &mut Command, input: &str, step: &str) -> Result<String, NetworkError> {
    let spawned =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(not_started("nsenter"))?;
    // A script that fails stops reading. Its error output says why; the broken pipe does not.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin
            .write_all(SCRIPT_PATH_LINE.as_bytes())
            .and_then(|()| stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().map_err(NetworkError::io(step))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let errors = errors.trim();
    for program in ["ip", "tc", "bridge"] {
        if [": not found", ": command not found"]
            .iter()
            .any(|end| errors.ends_with(&format!(" {program}{end}")))
        {
            return Err(NetworkError::Missing(program, "iproute2"));
        }
    }
    if errors.contains("Operation not permitted") && step == OUTSIDE_NAMESPACES {
        let first = errors.lines().next().unwrap_or_default();
        return Err(NetworkError::NotPermitted(first.to_owned()));
    }
    let message = if errors.is_empty() { output.status.to_string() } else { errors.to_owned() };
    Err(NetworkError::step(step, message))
}

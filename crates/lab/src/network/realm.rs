//! Where the namespaces live: those of the whole machine when we are root, or those that a keeper
//! holds inside a user namespace.
//!
//! Here is how a command gets to where it is to run; what runs there is said elsewhere.

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
    address::MARK,
    processes::{self, namespace_id, namespace_of},
};

/// Where `ip netns` keeps the names of namespaces.
const NETNS: &str = "/run/netns";

/// The keeper makes a /run/netns of its own, which nobody else sees, and holds it until it is
/// killed.
const KEEP: &str = "\
set -e
if [ -d /run/netns ]; then mount -t tmpfs sow-lab /run/netns; else mount -t tmpfs sow-lab /run; mkdir /run/netns; fi
echo ready
exec sleep infinity
";

/// The first line of every script: an ordinary user's PATH does not have `tc` everywhere.
const SYSTEM_PROGRAMS: &str = "PATH=$PATH:/usr/sbin:/sbin\n";

/// Where the namespaces of a lab live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Realm {
    /// Among the machine's, for all to see with `ip netns`.
    Machine,
    /// In a user namespace, which ends with its last process.
    User {
        /// The process that holds it.
        keeper: u32,
        /// When that was started, in clock ticks since boot.
        started: u64,
        /// The inode of the user namespace.
        user_namespace: u64,
    },
}

impl Realm {
    /// Makes a place for namespaces. The process that is returned holds it.
    ///
    /// # Errors
    /// When this user may not, or a program is missing.
    pub(super) fn make(name: &LabName) -> Result<(Self, Option<Child>), NetworkError> {
        if geteuid().is_root() {
            return Ok((Self::Machine, None));
        }
        let mut keeper = marked("unshare", name, "keeper");
        keeper.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", KEEP]);
        let mut keeper = keeper
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(not_started("unshare"))?;
        let mut said = String::new();
        let ready = keeper.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut said));
        let pid = keeper.id();
        let realm =
            processes::started(pid).zip(namespace_of(pid, "user")).map(|(started, (_, inode))| {
                Self::User { keeper: pid, started, user_namespace: inode }
            });
        match (ready, said.trim(), realm) {
            (Some(Ok(_)), "ready", Some(realm)) => Ok((realm, Some(keeper))),
            _ => {
                processes::kill(pid);
                let ended = keeper.wait_with_output();
                let error =
                    ended.map(|output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
                Err(NetworkError::NotPermitted(error.unwrap_or_default()))
            }
        }
    }

    /// Whether the place is still there.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Machine => true,
            Self::User { keeper, started, .. } => processes::started(*keeper) == Some(*started),
        }
    }

    /// The user namespace that holds it all, if there is one.
    pub(super) fn user_namespace_path(&self) -> Option<PathBuf> {
        match self {
            Self::Machine => None,
            Self::User { keeper, .. } => Some(PathBuf::from(format!("/proc/{keeper}/ns/user"))),
        }
    }

    /// The folder in which the namespaces have their names, as seen from here.
    pub(super) fn namespaces(&self) -> PathBuf {
        match self {
            Self::Machine => PathBuf::from(NETNS),
            Self::User { keeper, .. } => PathBuf::from(format!("/proc/{keeper}/root{NETNS}")),
        }
    }

    /// A program in a network namespace, with everything else as it is here. `member` says what
    /// for.
    pub(super) fn enter(
        &self,
        name: &LabName,
        namespace: &str,
        member: &str,
        program: impl AsRef<OsStr>,
    ) -> Command {
        let mut command = marked("nsenter", name, member);
        if let Self::User { keeper, .. } = self {
            command.args(["--user", "--preserve-credentials", "--target", &keeper.to_string()]);
        }
        command
            .arg(format!("--net={}", self.namespaces().join(namespace).display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a script of `sh` where namespaces are named: in one of them, or beside them.
    ///
    /// # Errors
    /// With what the script said when it fails.
    pub(super) fn run_script(
        &self,
        name: &LabName,
        namespace: Option<&str>,
        script: &str,
    ) -> Result<String, NetworkError> {
        let net = namespace
            .map(|namespace| format!("--net={}", self.namespaces().join(namespace).display()));
        let mut command = match (self, net) {
            (Self::Machine, None) => marked("sh", name, "setup"),
            (Self::Machine, Some(net)) => {
                let mut command = marked("nsenter", name, "setup");
                command.args([&net, "--", "sh"]);
                command
            }
            (Self::User { keeper, .. }, net) => {
                let mut command = marked("nsenter", name, "setup");
                command.args([
                    "--user",
                    "--preserve-credentials",
                    "--mount",
                    "--target",
                    &keeper.to_string(),
                ]);
                command.args([net.as_deref().unwrap_or("--net"), "--", "sh"]);
                command
            }
        };
        run_with_input(
            command.args(["-e", "-s"]),
            script,
            namespace.unwrap_or("the lab's namespaces"),
        )
    }

    /// What marks a process as one of this realm whatever became of its environment.
    pub(super) fn has(&self, pid: u32) -> bool {
        match self {
            Self::Machine => false,
            Self::User { user_namespace, .. } => {
                namespace_of(pid, "user").is_some_and(|(_, inode)| inode == *user_namespace)
            }
        }
    }

    /// The ids of namespaces that are there, of those that `wanted` names.
    pub(super) fn ids(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<(String, processes::NamespaceId)> {
        let folder = self.namespaces();
        let names = processes::names_in(&folder).into_iter().filter(|name| wanted(name));
        names.filter_map(|name| namespace_id(&folder.join(&name)).map(|id| (name, id))).collect()
    }
}

/// A command that carries the lab's name.
pub(super) fn marked(program: &str, name: &LabName, member: &str) -> Command {
    let mut command = Command::new(program);
    command.env(MARK, format!("{name}/{member}"));
    command
}

/// Starts a helper of ours that outlives this process and its terminal: `program lab helper ROLE
/// NAME`, in a namespace.
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
        // A group of its own: Ctrl-C is for the command that was typed.
        .process_group(0)
        .spawn()
        .map_err(not_started("nsenter"))
}

/// Why a program of util-linux did not start.
fn not_started(program: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => NetworkError::Missing(program, "util-linux"),
        _ => NetworkError::io(program)(error),
    }
}

/// Runs a command to its end with `input` as standard input, and returns its standard output.
fn run_with_input(command: &mut Command, input: &str, what: &str) -> Result<String, NetworkError> {
    let spawned =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(not_started("nsenter"))?;
    // A script that fails stops reading; what it says counts, not that the pipe broke.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin
            .write_all(SYSTEM_PROGRAMS.as_bytes())
            .and_then(|()| stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().map_err(NetworkError::io(what))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    for program in ["ip", "tc", "bridge"] {
        if [": not found", ": command not found"]
            .iter()
            .any(|end| said.ends_with(&format!(" {program}{end}")))
        {
            return Err(NetworkError::Missing(program, "iproute2"));
        }
    }
    if said.contains("Operation not permitted") && what == "the lab's namespaces" {
        return Err(NetworkError::NotPermitted(said.lines().next().unwrap_or_default().to_owned()));
    }
    let said = if said.is_empty() { output.status.to_string() } else { said.to_owned() };
    Err(NetworkError::step(what, said))
}

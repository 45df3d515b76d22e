//! Finds and kills the processes of a lab by what /proc reports, not by any record of them.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{LabName, address::MEMBER_VARIABLE};

/// The identity of a namespace: device and inode of its file.
pub(super) type NamespaceId = (u64, u64);

/// The namespace of a file under /run/netns or /proc/PID/ns.
pub(super) fn namespace_id(path: &Path) -> Option<NamespaceId> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The namespace of a process; `None` when the process has ended or this user may not look at it.
pub(super) fn namespace_of(pid: u32, kind: &str) -> Option<NamespaceId> {
    namespace_id(Path::new(&format!("/proc/{pid}/ns/{kind}")))
}

/// The ids of all processes of this user; for root, of all users. Zombies are left out: they cannot
/// be killed again, and the caller may be the parent that has yet to wait for them.
pub(super) fn own_processes() -> Vec<u32> {
    let user = geteuid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| (user == 0 || owner(*pid) == Some(user)) && start_time(*pid).is_some())
        .collect()
}

/// Whether this user started a process for the lab. Children inherit the mark, unless a program
/// clears its environment.
pub(super) fn is_marked(pid: u32, name: &LabName) -> bool {
    if owner(pid) != Some(geteuid().as_raw()) {
        return false;
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mark = format!("{MEMBER_VARIABLE}={name}/");
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
}

/// This process, its parent, and so on up to the first process.
pub(super) fn self_and_ancestors() -> BTreeSet<u32> {
    let mut line = BTreeSet::new();
    let mut next = Some(std::process::id());
    while let Some(pid) = next.filter(|pid| *pid > 0 && line.insert(*pid)) {
        next = stat_field(pid, 4).and_then(|parent| u32::try_from(parent).ok());
    }
    line
}

/// The start time of a process in clock ticks since boot; it differs from that of a later process
/// with the same id. `None` when there is no such process, or it is a zombie.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    let ended = stat(pid)?.1.starts_with(['Z', 'X']);
    if ended { None } else { stat_field(pid, 22) }
}

/// The command line of a process, its words separated by spaces.
pub(super) fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Kills a process. A process that has already ended is no error.
pub(super) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The sorted names of a folder's entries; empty when the folder cannot be read.
pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| String::from_utf8_lossy(entry.file_name().as_bytes()).into_owned())
        .collect();
    names.sort();
    names
}

fn owner(pid: u32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
}

/// A number of proc_pid_stat(5), counted as in that page, from 4 on.
fn stat_field(pid: u32, number: usize) -> Option<u64> {
    stat(pid)?.1.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

/// The name of a process, and the rest of its `stat`. The name may contain any character, so it
/// ends at the last parenthesis.
fn stat(pid: u32) -> Option<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = text.rsplit_once(") ")?;
    Some((name.to_owned(), rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_found_by_its_mark_until_it_ends() {
        let [mine, other] = ["marked", "mark"].map(|name| name.parse::<LabName>().unwrap());
        let mut child = Command::new("sleep")
            .arg("60")
            .env(MEMBER_VARIABLE, format!("{mine}/h1"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        // The environment of a new process becomes visible a moment after the process.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !is_marked(pid, &mine) && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let seen = (
            is_marked(pid, &mine),
            is_marked(pid, &other),
            own_processes().contains(&pid),
            start_time(pid).is_some(),
        );
        let line = command_line(pid);
        kill(pid);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while own_processes().contains(&pid) && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let is_zombie =
            Path::new(&format!("/proc/{pid}")).exists() && !own_processes().contains(&pid);
        child.wait().unwrap();
        assert!(is_zombie, "a zombie is listed as a running process");
        assert_eq!(seen, (true, false, true, true));
        assert_eq!(line.as_deref(), Some("sleep 60"));
        assert_eq!((start_time(pid), is_marked(pid, &mine)), (None, false));
    }

    #[test]
    fn the_ancestors_include_this_process_and_its_parent() {
        let line = self_and_ancestors();
        assert!(line.contains(&std::process::id()), "{line:?}");
        assert!(line.len() >= 2, "{line:?}");
    }
}

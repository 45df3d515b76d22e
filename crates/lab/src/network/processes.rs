//! Which processes belong to a lab, and their end. Found by what the kernel says of them, not by
//! what was noted down.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{LabName, address::MARK};

/// What tells one namespace from another: device and inode of its file.
pub(super) type NamespaceId = (u64, u64);

/// The namespace that a file stands for: one under /run/netns, or one of /proc/PID/ns.
pub(super) fn namespace_id(path: &Path) -> Option<NamespaceId> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// A namespace that a process is in; `None` when the process has ended or is not ours to look at.
pub(super) fn namespace_of(pid: u32, kind: &str) -> Option<NamespaceId> {
    namespace_id(Path::new(&format!("/proc/{pid}/ns/{kind}")))
}

/// All processes that belong to us, by id; for root, everybody's. One that has ended is none of
/// them, though its parent has not waited for it yet: it cannot be ended again, and its parent may
/// be who asks.
pub(super) fn ours() -> Vec<u32> {
    let me = geteuid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| (me == 0 || owner(*pid) == Some(me)) && started(*pid).is_some())
        .collect()
}

/// Whether a process was started for the lab, by us. It stays so through fork and exec, unless the
/// program empties its environment.
pub(super) fn is_marked(pid: u32, name: &LabName) -> bool {
    if owner(pid) != Some(geteuid().as_raw()) {
        return false;
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mark = format!("{MARK}={name}/");
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
}

/// This process, the one that started it, and so on up to the first.
pub(super) fn self_and_ancestors() -> BTreeSet<u32> {
    let mut line = BTreeSet::new();
    let mut next = Some(std::process::id());
    while let Some(pid) = next.filter(|pid| *pid > 0 && line.insert(*pid)) {
        next = stat_field(pid, 4).and_then(|parent| u32::try_from(parent).ok());
    }
    line
}

/// When a process was started, in clock ticks since boot: tells it from a later one with the same
/// id. `None` when there is no such process, or it has ended and nobody has asked how.
pub(super) fn started(pid: u32) -> Option<u64> {
    let ended = stat(pid)?.1.starts_with(['Z', 'X']);
    if ended { None } else { stat_field(pid, 22) }
}

/// The command line of a process, as one would type it.
pub(super) fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Ends a process at once. That it has ended already is as good.
pub(super) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The names of what is in a folder; none when it cannot be read.
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

/// A number of proc_pid_stat(5), counted as there, from 4 on.
fn stat_field(pid: u32, number: usize) -> Option<u64> {
    stat(pid)?.1.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

/// The name of a process, and what follows it in its `stat`. The name may contain anything, so the
/// last parenthesis counts.
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
    fn a_process_is_known_by_its_mark_until_it_ends() {
        let [mine, other] = ["marked", "mark"].map(|name| name.parse::<LabName>().unwrap());
        let mut child = Command::new("sleep")
            .arg("60")
            .env(MARK, format!("{mine}/h1"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        // Its environment is there a moment after it is.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !is_marked(pid, &mine) && std::time::Instant::now() < patience {
            std::thread::yield_now();
        }
        let seen = (
            is_marked(pid, &mine),
            is_marked(pid, &other),
            ours().contains(&pid),
            started(pid).is_some(),
        );
        let line = command_line(pid);
        kill(pid);
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while ours().contains(&pid) && std::time::Instant::now() < patience {
            std::thread::yield_now();
        }
        let waited_for = Path::new(&format!("/proc/{pid}")).exists() && !ours().contains(&pid);
        child.wait().unwrap();
        assert!(waited_for, "one that has ended counts until it is waited for");
        assert_eq!(seen, (true, false, true, true));
        assert_eq!(line.as_deref(), Some("sleep 60"));
        assert_eq!((started(pid), is_marked(pid, &mine)), (None, false));
    }

    #[test]
    fn the_line_of_ancestors_reaches_the_first_process() {
        let line = self_and_ancestors();
        assert!(line.contains(&std::process::id()), "{line:?}");
        assert!(line.len() >= 2, "{line:?}");
    }
}

//! What identifies the copy that a download makes, and the name by which this machine goes: for the
//! origin, which tells its receivers apart by them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sow_content::hash::sha1;
use sow_wire::bittorrent::CopyId;

use crate::target::Target;

/// The name of this machine; empty if it has none.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What identifies the copy at a target: a hash of the machine, its network namespace and the
/// absolute path, so that nothing of them is told. It stays the same when the download is repeated,
/// continued, or made from another address. Where there is no path, the name of the receiver takes
/// its part: two commands in one folder can write to two pipes.
pub(crate) fn copy_id(target: &Target, name: &str) -> CopyId {
    let name = if matches!(target, Target::Path(_)) { "" } else { name };
    id_of(&machine(), &network_namespace(), &absolute(target), name)
}

fn id_of(machine: &str, namespace: &str, target: &Path, name: &str) -> CopyId {
    let (target, name) = (target.as_os_str().as_encoded_bytes(), name.as_bytes());
    let parts: [&[u8]; 5] = [b"sow copy", machine.as_bytes(), namespace.as_bytes(), target, name];
    CopyId(sha1(&parts.join(&b"\0"[..])))
}

/// The machine. Machines that were cloned may have the same id of machine-id(5), but not the same
/// name. Where there is no such id, the hardware addresses of the network take its place.
fn machine() -> String {
    let files = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
    let id = files.iter().find_map(|path| {
        let id = fs::read_to_string(path).ok()?.trim().to_owned();
        (!id.is_empty() && id != "uninitialized").then_some(id)
    });
    format!("{} {}", id.unwrap_or_else(hardware_addresses), host_name())
}

/// The hardware addresses of the physical network devices.
fn hardware_addresses() -> String {
    let devices = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let physical = devices.filter(|device| device.path().join("device").exists());
    let mut addresses: Vec<String> = physical
        .filter_map(|device| fs::read_to_string(device.path().join("address")).ok())
        .map(|address| address.trim().to_owned())
        .collect();
    addresses.sort_unstable();
    addresses.join(" ")
}

/// The network namespace of this process (network_namespaces(7)): hosts of a lab, and containers,
/// share all the rest.
fn network_namespace() -> String {
    let link = fs::read_link("/proc/self/ns/net");
    link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The absolute path of a target, without links in its folder. What has no path is one target for
/// each folder in which the command is run.
fn absolute(target: &Target) -> PathBuf {
    let path = match target {
        Target::Path(path) => path,
        Target::Stdout => Path::new("-"),
        Target::Memory => Path::new("(memory)"),
    };
    let name = path.file_name();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match (fs::canonicalize(folder.unwrap_or(Path::new("."))), name) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_has_one_id_by_whatever_path() {
        let folder = tempfile::tempdir().unwrap();
        let direct = folder.path().join("a");
        fs::create_dir(folder.path().join("b")).unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("link")).unwrap();
        let of = |path: &Path| copy_id(&Target::Path(path.to_owned()), "web01");
        assert_eq!(of(&direct), of(&folder.path().join("b/../a")));
        assert_eq!(of(&folder.path().join("link/x")), of(&folder.path().join("b/x")));
        let ids = ["a", "b/a", "c"].map(|name| of(&folder.path().join(name)));
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        assert_eq!(of(&direct), copy_id(&Target::Path(direct.clone()), "web02"));
        assert_ne!(copy_id(&Target::Stdout, "web01"), copy_id(&Target::Memory, "web01"));
        assert_ne!(copy_id(&Target::Stdout, "web01"), copy_id(&Target::Stdout, "web02"));
    }

    #[test]
    fn machines_and_namespaces_have_ids_of_their_own() {
        let of = |machine, namespace| id_of(machine, namespace, Path::new("/srv/a"), "");
        assert_eq!(of("m", "net:[1]"), of("m", "net:[1]"));
        assert_ne!(of("m", "net:[1]"), of("m", "net:[2]"));
        assert_ne!(of("m", "net:[1]"), of("n", "net:[1]"));
    }
}

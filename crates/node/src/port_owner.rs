//! Which process listens on a port, read from `/proc`. No sockets are opened.

use std::fs;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    /// Its process id.
    pub pid: u32,
    /// Its name, as the kernel knows it.
    pub name: String,
}

/// The process that listens on a port, if the system shows it to this user.
pub(crate) fn port_owner(port: u16) -> Option<PortOwner> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| table.lines().find_map(|line| listening_inode(line, port)))?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        files.find(|file| {
            fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        })?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some(PortOwner { pid, name: name.trim_end().to_owned() })
    })
}

/// The inode of the socket in a line of `/proc/net/tcp`, if that socket listens on `port`
/// (proc_pid_net(5)).
fn listening_inode(line: &str, port: u16) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let (_, local_port) = local.rsplit_once(':')?;
    let listens = state == "0A" && u16::from_str_radix(local_port, 16) == Ok(port);
    listens.then(|| inode.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let line = "   0: 00000000:CB20 00000000:0000 0A 00000000:00000000 \
                    00:00000000 00000000     0        0 4711 1 0 100 0";
        assert_eq!(listening_inode(line, 52000), Some(4711));
        assert_eq!(listening_inode(line, 52001), None);
        assert_eq!(listening_inode(&line.replace(" 0A ", " 01 "), 52000), None);
        assert_eq!(listening_inode("  sl  local_address rem_address   st", 52000), None);
    }
}

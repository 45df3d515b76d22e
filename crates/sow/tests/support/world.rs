//! Hosts for programs to run on: network namespaces with an address each, joined by a bridge, cut
//! off from everything else. They live inside a namespace that one process holds open, so that they
//! are gone when the test is, whatever ends it.

use std::{net::Ipv4Addr, process::Command};

use crate::process::{Process, require};

/// A small network.
pub(crate) struct World {
    hosts: u8,
    /// Arguments of nsenter that lead into the network, in front of a command.
    enter: Vec<String>,
    _holder: Process,
}

/// Makes the hosts h1, h2, …; each has its own address, as on a real network: some programs refuse
/// peers on 127.0.0.1, others take connections from one address for one peer.
const BUILD: &str = r#"
set -e
mount -t tmpfs tmpfs /run
ip link add bridge type bridge
ip link set bridge up
for host in $(seq "$1"); do
    ip netns add "h$host"
    ip link add "port$host" type veth peer name eth0 netns "h$host"
    ip link set "port$host" master bridge up
    ip -n "h$host" address add "10.66.0.$host/24" dev eth0
    ip -n "h$host" link set lo up
    ip -n "h$host" link set eth0 up
done
echo ready
exec cat
"#;

impl World {
    /// A network of hosts 1 to `hosts`.
    pub(crate) fn new(hosts: u8) -> Self {
        require("ip", "iproute2");
        let root = is_root();
        let hosts_text = hosts.to_string();
        let mut command = vec!["unshare", "--net", "--mount"];
        if !root {
            command.push("--map-root-user");
        }
        command.extend(["sh", "-c", BUILD, "sh", &hosts_text]);
        let mut holder = Process::start("network of the test", &command);
        holder
            .wait_for("its hosts", |lines| lines.iter().any(|line| line == "ready").then_some(()));
        let mut enter: Vec<String> = vec!["nsenter".into(), "--net".into(), "--mount".into()];
        if !root {
            enter.extend(["--user".into(), "--preserve-credentials".into()]);
        }
        enter.extend(["--target".into(), holder.id().to_string(), "--".into()]);
        Self { hosts, enter, _holder: holder }
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: u8) -> Ipv4Addr {
        assert!((1..=self.hosts).contains(&host), "there is no host {host}");
        Ipv4Addr::new(10, 66, 0, host)
    }

    /// Starts a program on a host. Paths among its arguments must be absolute.
    pub(crate) fn start(&self, host: u8, name: &str, command: &[&str]) -> Process {
        let inside = format!("h{host}");
        let mut line: Vec<&str> = self.enter.iter().map(String::as_str).collect();
        line.extend(["ip", "netns", "exec", &inside]);
        line.extend(command);
        Process::start(&format!("{name} on host {host}"), &line)
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id (package coreutils) runs");
    output.stdout == b"0\n"
}

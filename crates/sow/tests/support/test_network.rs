//! Hosts for programs to run on: network namespaces with an address each, joined by a bridge and
//! isolated from everything else. One process holds the namespaces; the kernel removes them with
//! that process, so that they never outlive the test.

use std::net::Ipv4Addr;

use super::process::{Process, require};

/// A network of hosts 1, 2, …
pub(crate) struct TestNetwork {
    hosts: u8,
    /// Arguments of nsenter that lead into the network, in front of a command.
    enter: Vec<String>,
    _holder: Process,
}

/// Makes the hosts h1, h2, … Each has its own address, as on a real network: some programs refuse
/// peers on 127.0.0.1, others treat all connections from one address as one peer.
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

impl TestNetwork {
    /// A network of hosts 1 to `hosts`.
    pub(crate) fn new(hosts: u8) -> Self {
        require("ip", "iproute2");
        let is_root = rustix::process::getuid().is_root();
        let hosts_text = hosts.to_string();
        let mut command = vec!["unshare", "--net", "--mount"];
        if !is_root {
            command.push("--map-root-user");
        }
        command.extend(["sh", "-c", BUILD, "sh", &hosts_text]);
        let mut holder = Process::start("network of the test", &command);
        holder
            .wait_for("its hosts", |lines| lines.iter().any(|line| line == "ready").then_some(()));
        let mut enter: Vec<String> = vec!["nsenter".into(), "--net".into(), "--mount".into()];
        if !is_root {
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

    /// Runs a command on a host until it exits with 0.
    pub(crate) fn run_on(&self, host: u8, command: &[&str]) {
        self.start(host, command[0], command).wait_success();
    }

    /// Runs a command between the hosts until it exits with 0; `port1`, `port2` and so on are the
    /// ports of `bridge` there.
    pub(crate) fn run(&self, command: &[&str]) {
        let mut line: Vec<&str> = self.enter.iter().map(String::as_str).collect();
        line.extend(command);
        Process::start(command[0], &line).wait_success();
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

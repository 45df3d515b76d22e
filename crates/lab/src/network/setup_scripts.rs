//! A topology as scripts for `ip`, `tc` and `bridge`: text only, one script for each namespace.
//! Nothing is run here.
//!
//! The scripts are for `sh -es`; a failing line of a batch ends them.

use std::fmt::Write as _;

use super::{
    DelayMethod, Switches, Topology,
    address::{host_namespace, ipv4, ipv6, mac, switch_namespace},
    relay::{RelayLink, RelayTask},
    shaping,
};

/// The limit of hosts with static neighbour entries for all others. In larger networks, hosts
/// resolve addresses with ARP.
const MAX_STATIC_NEIGHBOURS: usize = 256;

/// The interfaces of the trunk, one at each switch.
const TRUNK_ENDS: [&str; 2] = ["trunk1", "trunk2"];

/// The scripts that build a topology.
pub(super) struct SetupScripts<'a> {
    topology: &'a Topology,
    delay: DelayMethod,
}

impl<'a> SetupScripts<'a> {
    pub(super) fn new(topology: &'a Topology, delay: DelayMethod) -> Self {
        Self { topology, delay }
    }

    /// Makes the namespaces. Before that, it lets namespaces choose the congestion control: the
    /// machine has one list of the algorithms that they may choose, which only root can extend. The
    /// list stays extended, which changes no connection.
    pub(super) fn namespaces(topology: &Topology) -> String {
        let hosts = (1..=topology.links.len()).map(|host| host_namespace(&topology.name, host));
        let lines =
            hosts.chain([switch_namespace(&topology.name)]).map(|name| format!("netns add {name}"));
        // When this fails, the setup of a host says that the algorithm is not allowed.
        let allow = format!(
            "allowed=/proc/sys/net/ipv4/tcp_allowed_congestion_control\n\
             case \" $(cat $allowed) \" in *\" {0} \"*) ;; \
             *) {{ echo \"$(cat $allowed) {0}\" >$allowed; }} 2>/dev/null || : ;; esac\n",
            topology.congestion_control
        );
        allow + &batch("ip", lines)
    }

    /// Makes the switches and every link, and shapes the ports; for the switches' namespace. A
    /// relay has to have made its devices before.
    pub(super) fn switches(&self) -> String {
        let mut script = disable_ipv6();
        script += &batch("ip", self.bridges().chain(self.trunk()).chain(self.ports()));
        script += &batch("tc", self.port_queues());
        script += &batch("bridge", self.forwarding_entries());
        script
    }

    /// Configures a host's addresses and shapes what it sends; for the host's namespace.
    pub(super) fn host(&self, host: usize) -> String {
        let link = &self.topology.links[host - 1];
        let hosts = self.topology.links.len();
        let neighbours =
            || (1..=hosts).filter(move |other| *other != host && hosts <= MAX_STATIC_NEIGHBOURS);
        let neighbour = |address: String, other| {
            format!("neighbour add {address} lladdr {} dev eth0 nud permanent", mac(other))
        };
        let mut first =
            vec!["link set lo up".to_owned(), "link set eth0 gso_max_segs 1".to_owned()];
        if self.delay == DelayMethod::Relay {
            first.push(format!("link set eth0 address {}", mac(host)));
        }
        first.push(format!("address add {}/16 broadcast + dev eth0", ipv4(host)));
        first.push("link set eth0 up".to_owned());
        let ipv4_neighbours = neighbours().map(|other| neighbour(ipv4(other).to_string(), other));
        let ipv6_neighbours = neighbours().map(|other| neighbour(ipv6(other).to_string(), other));
        let own_ipv6 = format!("address add {}/64 dev eth0 nodad", ipv6(host));

        let mut script =
            "[ ! -d /proc/sys/net/ipv6 ] || echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra\n"
                .to_owned();
        script += &batch("ip", first.into_iter().chain(ipv4_neighbours));
        script += "if [ -d /proc/sys/net/ipv6 ]; then\n";
        script += &batch("ip", [own_ipv6].into_iter().chain(ipv6_neighbours));
        script += "fi\n";
        script += &batch("tc", self.queues("eth0", link.up, link.delay_us));
        let _ = writeln!(
            script,
            "{{ echo {0} >/proc/sys/net/ipv4/tcp_congestion_control; }} 2>/dev/null || \
             {{ echo 'this kernel does not let a lab have the congestion control {0}' >&2; \
             exit 1; }}",
            self.topology.congestion_control
        );
        // Runs are compared with each other, so a connection must not inherit the metrics of an
        // earlier one.
        script += "echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save\n";
        script
    }

    /// The task of the relay.
    pub(super) fn relay_task(topology: &Topology) -> RelayTask {
        let links = topology.links.iter().enumerate().map(|(index, link)| RelayLink {
            port: port(index + 1),
            host: relayed_interface(index + 1),
            delay_us: link.delay_us,
        });
        RelayTask { links: links.collect() }
    }

    fn bridges(&self) -> impl Iterator<Item = String> {
        let count = match self.topology.switches {
            Switches::One => 1,
            Switches::Two { .. } => 2,
        };
        (1..=count).flat_map(|number| {
            [
                format!(
                    "link add s{number} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
                ),
                format!("link set s{number} up"),
            ]
        })
    }

    fn trunk(&self) -> impl Iterator<Item = String> {
        let [one, two] = TRUNK_ENDS;
        let lines = match self.topology.switches {
            Switches::One => Vec::new(),
            Switches::Two { .. } => vec![
                format!("link add {one} gso_max_segs 1 type veth peer name {two} gso_max_segs 1"),
                format!("link set {one} master s1 up"),
                format!("link set {two} master s2 up"),
            ],
        };
        lines.into_iter()
    }

    fn ports(&self) -> impl Iterator<Item = String> {
        (1..=self.topology.links.len()).flat_map(|host| {
            let namespace = host_namespace(&self.topology.name, host);
            let (port, mac) = (port(host), mac(host));
            let link = match self.delay {
                DelayMethod::Relay => {
                    format!("link set {} netns {namespace} name eth0", relayed_interface(host))
                }
                DelayMethod::Netem | DelayMethod::None => {
                    format!(
                        "link add {port} type veth peer name eth0 netns {namespace} address {mac}"
                    )
                }
            };
            let switch = self.topology.switch_of(host);
            // One segment in each buffer, as on a wire. Segmentation offload would hand the token
            // bucket several segments as one.
            [link, format!("link set {port} gso_max_segs 1 master s{switch} up")]
        })
    }

    fn port_queues(&self) -> impl Iterator<Item = String> {
        let links = self.topology.links.iter().enumerate();
        let ports =
            links.flat_map(|(index, link)| self.queues(&port(index + 1), link.down, link.delay_us));
        let trunk = match self.topology.switches {
            Switches::One => Vec::new(),
            Switches::Two { trunk } => {
                TRUNK_ENDS.iter().flat_map(|end| self.queues(end, trunk, 0)).collect()
            }
        };
        ports.chain(trunk)
    }

    /// The forwarding entry of each host, so that the switches never flood a frame to all ports.
    fn forwarding_entries(&self) -> impl Iterator<Item = String> {
        let hosts = 1..=self.topology.links.len();
        hosts.flat_map(|host| {
            let entry = |port: &str| format!("fdb add {} dev {port} master static", mac(host));
            let across = match self.topology.switches {
                Switches::One => None,
                Switches::Two { .. } => Some(entry(TRUNK_ENDS[2 - self.topology.switch_of(host)])),
            };
            [entry(&port(host))].into_iter().chain(across)
        })
    }

    fn queues(&self, interface: &str, rate: u64, delay_us: u64) -> Vec<String> {
        let queue_us = self.topology.queue_us;
        let mut lines = vec![shaping::tbf(interface, rate, queue_us)];
        if self.delay == DelayMethod::Netem && delay_us > 0 {
            lines.push(shaping::netem(interface, rate, queue_us, delay_us));
        }
        lines
    }
}

/// The switch's end of a host's link.
pub(super) fn port(host: usize) -> String {
    format!("h{host}")
}

/// The host's end of a relayed link, before it is moved to the host's namespace.
fn relayed_interface(host: usize) -> String {
    format!("x{host}")
}

/// Lines for the standard input of `program -batch`.
fn batch(program: &str, lines: impl IntoIterator<Item = String>) -> String {
    let mut script = format!("{program} -batch - <<'END'\n");
    for line in lines {
        script += &line;
        script.push('\n');
    }
    script += "END\n";
    script
}

/// Disables IPv6 in the switches' namespace: a switch has no addresses, and sends no frames of its
/// own.
fn disable_ipv6() -> String {
    let directory = "/proc/sys/net/ipv6";
    format!(
        "if [ -d {directory} ]; then echo 1 >{directory}/conf/all/disable_ipv6; \
         echo 1 >{directory}/conf/default/disable_ipv6; fi\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{super::Link, *};

    fn topology(hosts: usize) -> Topology {
        let link = Link { up: 10_000_000, down: 20_000_000, delay_us: 5000 };
        Topology::star("lab".parse().unwrap(), hosts, link)
    }

    fn lines(script: &str) -> Vec<&str> {
        script.lines().collect()
    }

    #[test]
    fn a_host_sends_into_a_token_bucket() {
        let topology = topology(2);
        let script = SetupScripts::new(&topology, DelayMethod::Relay).host(2);
        for line in [
            "link set lo up",
            "link set eth0 gso_max_segs 1",
            "link set eth0 address 02:00:0a:00:00:02",
            "address add 10.0.0.2/16 broadcast + dev eth0",
            "neighbour add 10.0.0.1 lladdr 02:00:0a:00:00:01 dev eth0 nud permanent",
            "address add fd00:10::2/64 dev eth0 nodad",
            "qdisc add dev eth0 root handle 1: tbf rate 10000000bit burst 6056 limit 125000",
        ] {
            assert!(lines(&script).contains(&line), "no `{line}` in:\n{script}");
        }
        assert!(
            script.contains(
                "\n{ echo cubic >/proc/sys/net/ipv4/tcp_congestion_control; } 2>/dev/null || "
            ),
            "{script}"
        );
        assert!(!script.contains("netem"), "{script}");
        assert!(
            !script.contains("neighbour add 10.0.0.2 "),
            "a host is no neighbour of itself:\n{script}"
        );
    }

    #[test]
    fn ports_send_at_the_hosts_download_rate() {
        let topology = topology(2);
        let script = SetupScripts::new(&topology, DelayMethod::None).switches();
        for line in [
            "link add s1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            "link add h1 type veth peer name eth0 netns sow-lab-h1 address 02:00:0a:00:00:01",
            "link set h2 gso_max_segs 1 master s1 up",
            "qdisc add dev h1 root handle 1: tbf rate 20000000bit burst 10000 limit 250000",
            "fdb add 02:00:0a:00:00:02 dev h2 master static",
        ] {
            assert!(lines(&script).contains(&line), "no `{line}` in:\n{script}");
        }
        assert!(!script.contains("trunk") && !script.contains("s2"), "{script}");
    }

    #[test]
    fn netem_delays_at_both_ends_of_a_link() {
        let topology = topology(1);
        let scripts = SetupScripts::new(&topology, DelayMethod::Netem);
        let queue =
            |device| format!("qdisc add dev {device} parent 1:1 handle 2: netem delay 5000us");
        assert!(scripts.host(1).contains(&queue("eth0")));
        assert!(scripts.switches().contains(&queue("h1")));
    }

    #[test]
    fn the_relay_connects_each_host_to_its_port() {
        let mut topology = topology(2);
        topology.links[1].delay_us = 0;
        let task = SetupScripts::relay_task(&topology);
        let ends: Vec<_> =
            task.links.iter().map(|link| (&*link.host, &*link.port, link.delay_us)).collect();
        assert_eq!(ends, [("x1", "h1", 5000), ("x2", "h2", 0)]);
        let script = SetupScripts::new(&topology, DelayMethod::Relay).switches();
        assert!(lines(&script).contains(&"link set x2 netns sow-lab-h2 name eth0"), "{script}");
        assert!(!script.contains("veth"), "{script}");
    }

    #[test]
    fn two_switches_reach_each_others_hosts_by_the_trunk() {
        let mut topology = topology(3);
        topology.switches = Switches::Two { trunk: 5_000_000 };
        let script = SetupScripts::new(&topology, DelayMethod::None).switches();
        for line in [
            "link set h2 gso_max_segs 1 master s1 up",
            "link set h3 gso_max_segs 1 master s2 up",
            "link set trunk2 master s2 up",
            "fdb add 02:00:0a:00:00:01 dev trunk2 master static",
            "fdb add 02:00:0a:00:00:03 dev trunk1 master static",
            "qdisc add dev trunk1 root handle 1: tbf rate 5000000bit burst 6056 limit 62500",
            "qdisc add dev trunk2 root handle 1: tbf rate 5000000bit burst 6056 limit 62500",
        ] {
            assert!(lines(&script).contains(&line), "no `{line}` in:\n{script}");
        }
    }

    #[test]
    fn only_small_networks_have_static_neighbours() {
        let neighbours = |hosts| {
            let script = SetupScripts::new(&topology(hosts), DelayMethod::None).host(1);
            script.matches("neighbour add").count()
        };
        assert_eq!([256, 257].map(neighbours), [510, 0]);
    }
}

//! What a node is told when it is made. No state.

use std::{net::IpAddr, time::Duration};

/// The settings of one node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The address to listen on and to call from; `None` is every address, IPv4 and IPv6.
    pub bind: Option<IpAddr>,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Payload that leaves per second over all connections, in bytes; `None` is no limit. 0 counts
    /// as 1.
    pub up_limit: Option<u64>,
    /// Bytes that come in per second over all connections; `None` is no limit. 0 counts as 1.
    pub down_limit: Option<u64>,
    /// Peer connections at the same time, both directions, all swarms together.
    pub max_connections: usize,
    /// How long the other side may take.
    pub deadlines: Timeouts,
}

/// How long the other side of a connection may take for what it owes us.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From the connection's first packet to the end of both handshakes, or of the first HTTP
    /// request's head.
    pub handshake: Duration,
    /// For one message, from its first byte to its last.
    pub message: Duration,
    /// Between two moments at which the peer takes something of what we send.
    pub stall: Duration,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            bind: None,
            port: 0,
            up_limit: None,
            down_limit: None,
            max_connections: 400,
            deadlines: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            message: Duration::from_secs(120),
            stall: Duration::from_secs(60),
        }
    }
}

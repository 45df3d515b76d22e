//! The settings of a node, and the time limits that are not settings. No state.

use std::{net::IpAddr, time::Duration};

/// The time limit for a connection that is closed in good order: for the messages that wait in it,
/// and for the peer's end of it.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings of one node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The address to listen on and to connect from; `None` is every address, IPv4 and IPv6.
    pub bind: Option<IpAddr>,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The upload limit for payload over all connections, in bytes per second; `None` is no limit.
    /// 0 counts as 1.
    pub up_limit: Option<u64>,
    /// The download limit over all connections, in bytes per second; `None` is no limit. 0 counts
    /// as 1.
    pub down_limit: Option<u64>,
    /// The maximum number of peer connections, in both directions and over all swarms.
    pub max_connections: usize,
    /// The time limits for peers.
    pub timeouts: Timeouts,
}

/// The time limits for the other side of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From the connection's first packet to the end of both handshakes, or of the head of the
    /// first HTTP request.
    pub handshake: Duration,
    /// For one message, from its first byte to its last.
    pub message: Duration,
    /// Between two moments at which the peer takes bytes that we send.
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
            timeouts: Timeouts::default(),
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

//! How the world can refuse: what [`Node::bind`](crate::Node::bind) and its neighbours report.

use std::{fmt, io, net::IpAddr};

use sow_content::InfoHash;

use crate::listener::PortOwner;

/// Why a node cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Somebody else listens on the port.
    #[error("port {port} is taken{}; choose another, or let the system choose with --port 0", HeldBy(.who))]
    PortTaken {
        /// The port that was asked for.
        port: u16,
        /// Who listens there, where it can be seen (processes of other users hide it).
        who: Option<PortOwner>,
    },
    /// The port is one that only privileged users may listen on.
    #[error(
        "not permitted to listen on port {port}; ports from 1024 up need no privilege, and --port 0 chooses one"
    )]
    PortForbidden {
        /// The port that was asked for.
        port: u16,
    },
    /// The address is none of this machine's.
    #[error("{addr} is not an address of this machine")]
    NotOurAddress {
        /// The address that was asked for.
        addr: IpAddr,
    },
    /// The node takes part in that swarm already.
    #[error("{0} is being shared or fetched here already")]
    AlreadyJoined(InfoHash),
    /// Anything else that goes wrong with the listening socket.
    #[error("cannot listen on port {port}: {source}")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
}

struct HeldBy<'a>(&'a Option<PortOwner>);

impl fmt::Display for HeldBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => write!(f, " by {} (process {})", holder.name, holder.pid),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_holder_and_the_remedy() {
        let who = Some(PortOwner { pid: 7, name: "nginx".into() });
        let text = NodeError::PortTaken { port: 52000, who }.to_string();
        assert_eq!(
            text,
            "port 52000 is taken by nginx (process 7); choose another, or let the system choose with --port 0"
        );
        let text = NodeError::PortTaken { port: 1, who: None }.to_string();
        assert!(text.starts_with("port 1 is taken; choose"));
    }
}

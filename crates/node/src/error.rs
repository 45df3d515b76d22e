//! Why a node cannot be set up: the errors of [`Node::bind`](crate::Node::bind),
//! [`Node::join`](crate::Node::join) and the servers beside them. Advice on what to do is the
//! caller's, which knows its own options.

use std::{fmt, io, net::IpAddr};

use sow_content::InfoHash;

use crate::port_owner::PortOwner;

/// Why a node cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process listens on the port.
    #[error("port {port} is taken{}", OwnerSuffix(.owner))]
    PortTaken {
        /// The requested port.
        port: u16,
        /// The process that listens there, if it can be seen. Processes of other users are hidden.
        owner: Option<PortOwner>,
    },
    /// Only privileged users may listen on the port.
    #[error("not permitted to listen on port {port}; ports from 1024 up need no privilege")]
    PortForbidden {
        /// The requested port.
        port: u16,
    },
    /// The address does not belong to this machine.
    #[error("{addr} is not an address of this machine")]
    NotOurAddress {
        /// The requested address.
        addr: IpAddr,
    },
    /// The node takes part in the swarm already.
    #[error("{0} is being shared or fetched here already")]
    AlreadyJoined(InfoHash),
    /// The listening socket failed for another reason.
    #[error("cannot listen on port {port}: {source}")]
    Listen {
        /// The requested port.
        port: u16,
        /// The system's error.
        source: io::Error,
    },
}

struct OwnerSuffix<'a>(&'a Option<PortOwner>);

impl fmt::Display for OwnerSuffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(owner) => write!(f, " by {} (process {})", owner.name, owner.pid),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_owner_of_the_port() {
        let owner = Some(PortOwner { pid: 7, name: "nginx".into() });
        let text = NodeError::PortTaken { port: 52000, owner }.to_string();
        assert_eq!(text, "port 52000 is taken by nginx (process 7)");
        let text = NodeError::PortTaken { port: 1, owner: None }.to_string();
        assert_eq!(text, "port 1 is taken");
    }
}

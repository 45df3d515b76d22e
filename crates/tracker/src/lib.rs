//! A tracker without sockets: it keeps the peers of each swarm and answers announces and scrapes
//! (BEP 3, 7, 23 and 48), and the requests of `json-torrent` peers.
//!
//! [`Registry`] is the BitTorrent tracker: an [`Announcer`] (the address that the socket knows) and
//! an announce go in, a response with other peers comes out. [`JsonRegistry`] is the tracker of
//! `json-torrent`, whose protocol names no file and has no interval. Neither holds more than its
//! [`Limits`] or [`JsonLimits`], whatever peers send. Time and randomness are arguments; the
//! transports are elsewhere.
//!
//! ```
//! use std::time::Duration;
//!
//! use sow_content::InfoHash;
//! use sow_tracker::{Announcer, Limits, Mode, Registry};
//! use sow_wire::{
//!     bittorrent::PeerId,
//!     tracker::{AnnounceEvent, AnnounceRequest},
//! };
//!
//! let mut registry = Registry::new(Mode::Open, Limits::default());
//! let mut rng = fastrand::Rng::with_seed(1);
//! let mut announce = |ip: [u8; 4], left: u64| {
//!     let request = AnnounceRequest {
//!         info_hash: InfoHash([7; 20]),
//!         peer_id: PeerId([ip[3]; 20]),
//!         port: 6881,
//!         uploaded: 0,
//!         downloaded: 0,
//!         left,
//!         event: AnnounceEvent::Started,
//!         numwant: None,
//!         key: 0,
//!     };
//!     let announcer = Announcer { address: ip.into(), reached: [10, 0, 0, 9].into() };
//!     registry.announce(Duration::ZERO, announcer, &request, &mut rng)
//! };
//! announce([10, 0, 0, 1], 0).unwrap();
//! let response = announce([10, 0, 0, 2], 1000).unwrap();
//! assert_eq!((response.complete, response.incomplete), (Some(1), Some(1)));
//! assert_eq!(response.peers[0].addr.to_string(), "10.0.0.1:6881");
//! ```

mod json_registry;
mod limits;
mod peer_list;
mod registry;
mod tracked_swarm;

pub use json_registry::{JsonLimits, JsonRegistry};
pub use limits::Limits;
pub use registry::{AnnounceRefusal, Announcer, Full, Mode, Registry, SwarmReport};

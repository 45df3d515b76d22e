//! Sockets, disk workers and clocks: this crate carries out what an engine decides, and decides
//! nothing itself.
//!
//! * A [`Node`] is one TCP port. Its accept loop tells BitTorrent, the `chunk` and `json-torrent`
//!   peer protocols, `json-torrent` tracker requests and HTTP apart by their first bytes.
//! * A [`Swarm`] is one task that owns one engine (`sow_engine::Engine`). It reports
//!   [`SwarmEvent`]s. Each of its connections has two more tasks, which move bytes.
//! * A [`FileServer`] and [`fetch_file`] are the two ends of the client/server protocols `raw` and
//!   `framed`.
//!
//! Payload goes from a socket into a slab and from there to the disk, or from the page cache to a
//! socket. It is never copied on the way, and the engine never sees it.
//!
//! # Example
//!
//! Fetches the content of a torrent from one peer (`examples/share.rs` is the other side):
//!
//! ```no_run
//! use std::{net::SocketAddr, path::Path, sync::Arc};
//!
//! use sow_content::Metainfo;
//! use sow_engine::{Config, Dialect, Event};
//! use sow_node::{AcceptedDialects, Node, NodeOptions, SwarmContent, SwarmEvent, SwarmOptions};
//! use sow_store::{DiskStore, ReceiveOptions};
//! use sow_wire::bittorrent::PeerId;
//!
//! async fn fetch(
//!     torrent: Metainfo,
//!     peer: SocketAddr,
//!     target: &Path,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let Metainfo { info, info_bytes, info_hash, .. } = torrent;
//!     let (store, have) =
//!         DiskStore::receive(&info, info_hash, target, &ReceiveOptions::default())?;
//!     let node = Node::bind(NodeOptions::default())?;
//!     let (swarm, mut events) = node.join(SwarmOptions {
//!         info_hash,
//!         content: Some(SwarmContent {
//!             info: Arc::new(info),
//!             metadata: info_bytes,
//!             store: Arc::new(store.into()),
//!             have,
//!             md5: None,
//!         }),
//!         config: Config::new(PeerId(*b"-XX0000-exampleexamp"), 0, 1),
//!         accepts: AcceptedDialects::BITTORRENT,
//!         peers: vec![(peer, Dialect::BitTorrent)],
//!     })?;
//!     while let Some(event) = events.recv().await {
//!         match event {
//!             SwarmEvent::Engine(Event::Complete) => break,
//!             SwarmEvent::StoreFailed(error) => return Err(error.into()),
//!             SwarmEvent::Engine(_) => {}
//!         }
//!     }
//!     println!("complete: {:?}", swarm.finish().await?);
//!     swarm.stop().await;
//!     Ok(())
//! }
//! ```

mod accept_loop;
mod chunk_digest_check;
mod client_server;
mod clock;
mod connection;
mod context;
mod dialer;
mod error;
mod handshake;
mod http;
mod json_tracker;
mod listener;
mod node;
mod options;
mod outbound;
mod pending;
mod place_limits;
mod places;
mod port_owner;
mod sniff;
mod swarm;
mod throttle;
mod tracker_client;

pub use chunk_digest_check::server_has_digest;
pub use client_server::{
    client::{FetchError, FetchOptions, FetchedFile, fetch_file},
    handle::{FetchHandle, FetchStatus},
    server::{FileServer, FileServerEvent, FileServerListener, FileServerOptions},
};
pub use connection::CONNECTION_MEMORY;
pub use error::NodeError;
pub use http::{
    connection::ConnectionAddrs,
    content::{ContentCondition, DownloadSource},
    destination::{Forbidden, Purpose},
    get::{HttpAnswer, HttpError, HttpRequest, http_get},
    index,
    network_places::{NetworkPlace, NetworkPlaces},
    own_names::{
        CLIENT_HEADER, HostName, HostNames, NotAHostName, is_foreign_page, only_for_own_names,
    },
    program_file,
    tracker::TrackerService,
};
pub use json_tracker::{JsonTracker, JsonTrackerService, announce_json};
pub use node::Node;
pub use options::{NodeOptions, Timeouts};
pub use port_owner::PortOwner;
pub use swarm::handle::{AcceptedDialects, Swarm, SwarmContent, SwarmEvent, SwarmOptions};
pub use throttle::RateLimit;
pub use tracker_client::{AnnounceIdentity, TrackerClient};

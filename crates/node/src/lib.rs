//! The world: sockets, disk workers, clocks. It carries out what an engine decides, and decides
//! nothing itself.
//!
//! A [`Node`] is a port: its accept loop tells BitTorrent, the documents' peer protocols and HTTP
//! apart by the first bytes. A [`Swarm`] is one task that owns one engine; two more tasks for each
//! connection move bytes. Payload goes from the socket into a slab and from there to the disk, or
//! from the page cache to the socket; it is never copied on the way and never seen by the engine.

mod accepting;
mod assembly;
mod chunk_check;
mod clock;
mod connection;
mod disk;
mod driver;
mod error;
mod handshaking;
mod http;
mod http_client;
mod inbox;
pub mod index;
mod intake;
mod json_frames;
mod json_tracker_client;
mod json_tracker_service;
mod listener;
mod node;
mod options;
mod outgoing;
mod reader;
mod sendfile;
mod slabs;
mod sniff;
mod stream_client;
mod stream_server;
mod swarm;
mod throttle;
mod tongue;
mod tracker_client;
mod tracker_service;
mod whole_digest;
mod writer;

pub use chunk_check::check_sum;
pub use connection::CONNECTION_MEMORY;
pub use error::NodeError;
pub use http_client::{http_client, http_error};
pub use json_tracker_client::announce_json;
pub use json_tracker_service::{JsonTracker, JsonTrackerService};
pub use listener::PortOwner;
pub use node::Node;
pub use options::{NodeOptions, Timeouts};
pub use stream_client::{
    FetchError, FetchHandle, FetchOptions, FetchStatus, FetchedFile, fetch_file,
};
pub use stream_server::{FileServer, FileServerEvent, FileServerListener, FileServerOptions};
pub use swarm::{AcceptedDialects, Swarm, SwarmContent, SwarmEvent, SwarmOptions};
pub use throttle::RateLimit;
pub use tracker_client::{AnnounceIdentity, TrackerClient};
pub use tracker_service::{Ends, TrackerService};

//! HTTP: the connections that the node's port accepts for it, what is served on them (an index of
//! the shared content, a BitTorrent tracker), and clients for other servers.

mod client;
pub(crate) mod connection;
mod content_encoding;
pub(crate) mod destination;
pub(crate) mod get;
pub mod index;
pub(crate) mod own_names;
pub(crate) mod protection;
mod resolver;
mod stream;
pub(crate) mod tracker;

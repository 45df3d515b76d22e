//! HTTP: the connections that the node's port accepts for it, what is served on them (an index of
//! the shared content, the content itself, a BitTorrent tracker), and clients for other servers.

mod client;
pub(crate) mod connection;
pub(crate) mod content;
mod content_encoding;
pub(crate) mod destination;
pub(crate) mod get;
mod html;
pub mod index;
pub(crate) mod network_places;
pub(crate) mod own_names;
pub mod program_file;
pub(crate) mod protection;
mod resolver;
pub(crate) mod stream;
pub(crate) mod tracker;

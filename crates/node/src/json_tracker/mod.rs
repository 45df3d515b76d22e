//! The tracker of `json-torrent` over TCP, with one framed request and one reply on each
//! connection: its service, and a client. Which peers it lists is decided in `sow_tracker`.

mod client;
mod frames;
mod service;

pub(crate) use self::service::serve_connection;
pub use self::{
    client::announce_json,
    service::{JsonTracker, JsonTrackerService},
};

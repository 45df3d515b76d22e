//! The client/server protocols `raw` and `framed`: one server sends a whole file to each client.
//! When to connect, which client to serve and when to give up is decided in
//! `sow_engine::client_server`.

pub(crate) mod client;
pub(crate) mod handle;
mod receiver;
pub(crate) mod server;

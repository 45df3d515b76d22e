//! Malformed input on the wire, byte by byte, to programs of `sow` on 127.0.0.1. Each is answered
//! with the error of the protocol or disconnected, and does not affect other connections.

mod chunk_client;
mod chunk_server;
mod client_server;
mod connection;
mod json_peer;
mod json_tracker;
mod misbehaving_chunk_server;

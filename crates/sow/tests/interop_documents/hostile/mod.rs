//! Bad input on the wire, byte by byte, towards programs of `sow` that run on 127.0.0.1. Each is
//! answered with the document's error or dropped, and costs nobody else anything.

mod bad_server;
mod chunk_client;
mod chunk_server;
mod client_server;
mod json_peer;
mod json_tracker;
mod stranger;

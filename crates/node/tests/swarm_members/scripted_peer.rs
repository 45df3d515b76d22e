//! A BitTorrent peer whose every byte a test writes.

use std::net::SocketAddr;

use bytes::BytesMut;
use sow_content::InfoHash;
use sow_wire::bittorrent::{Handshake, Message, PeerId, message::encode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::TEST_TIMEOUT;

/// What the peer ids of these peers begin with.
pub(crate) const PEER_ID_PREFIX: &[u8] = b"-XX0000-";

/// A handshake with a random peer id.
pub(crate) fn handshake(info_hash: InfoHash) -> [u8; 68] {
    let mut peer_id = PeerId(*b"-XX0000-000000000000");
    fastrand::fill(&mut peer_id.0[PEER_ID_PREFIX.len()..]);
    Handshake { info_hash, peer_id, fast: true, extended: true }.encode()
}

/// A connection whose handshakes are complete.
pub(crate) async fn enter(addr: SocketAddr, info_hash: InfoHash) -> TcpStream {
    shake_hands(TcpStream::connect(addr).await.unwrap(), info_hash).await
}

/// The same on an open connection.
pub(crate) async fn shake_hands(mut stream: TcpStream, info_hash: InfoHash) -> TcpStream {
    stream.write_all(&handshake(info_hash)).await.unwrap();
    let mut theirs = [0; 68];
    timeout(TEST_TIMEOUT, stream.read_exact(&mut theirs)).await.unwrap().unwrap();
    stream
}

/// The bytes of messages.
pub(crate) fn encoded(messages: &[Message]) -> BytesMut {
    let mut bytes = BytesMut::new();
    messages.iter().for_each(|message| encode(message, &mut bytes));
    bytes
}

/// Waits until the node closes the connection, and reads what it sends.
pub(crate) async fn wait_for_disconnect(stream: &mut TcpStream) {
    let mut sink = vec![0; 65536];
    let reading = async { while matches!(stream.read(&mut sink).await, Ok(1..)) {} };
    timeout(TEST_TIMEOUT, reading).await.expect("a disconnect");
}

//! Whether a file that is there already is the one that a server of document 1's P2P has: nothing but the sum of the whole
//! can tell, and nobody but the server.

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;
use sow_wire::chunk::{Decoded, Decoder, ErrorId, Message, Spelling, encode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a server may take for an answer. It may have to take its own sum first.
const PATIENCE: Duration = Duration::from_secs(120);

/// For the connection to a server.
const CONNECT: Duration = Duration::from_secs(5);

/// Whether a server says that a sum is that of its file; `None` when it does not answer.
pub(super) async fn is_servers(server: SocketAddr, our_port: u16, md5: [u8; 16]) -> Option<bool> {
    let asking = async {
        let mut stream = timeout(CONNECT, TcpStream::connect(server)).await.ok()?.ok()?;
        let mut talk = (Decoder::new(1), BytesMut::new());
        let hello = ask(&mut stream, &mut talk, Message::Hello { port: our_port }).await?;
        if !matches!(hello, Message::ServerHello { .. }) {
            return None;
        }
        match ask(&mut stream, &mut talk, Message::Check(md5)).await? {
            Message::Check(theirs) => Some(theirs == md5),
            Message::Error { id: ErrorId::ChecksumNotFit, .. } => Some(false),
            _ => None,
        }
    };
    timeout(PATIENCE, asking).await.ok().flatten()
}

/// Says something, and waits for the answer.
async fn ask(
    stream: &mut TcpStream,
    (decoder, received): &mut (Decoder, BytesMut),
    message: Message,
) -> Option<Message> {
    let mut bytes = BytesMut::new();
    encode(&message, Spelling::Documented, &mut bytes);
    stream.write_all(&bytes).await.ok()?;
    loop {
        match decoder.decode(received).ok()? {
            Some(Decoded::Message(message)) => return Some(message),
            Some(Decoded::Data { .. }) => return None,
            None if stream.read_buf(received).await.ok()? == 0 => return None,
            None => {}
        }
    }
}

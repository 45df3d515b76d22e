//! Asks a `chunk` server whether an MD5 is that of its file, outside of any swarm: for a file that
//! exists before the swarm does. Nothing is fetched.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::BytesMut;
use sow_wire::chunk::{Decoded, Decoder, ErrorId, Message, Spelling, encode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::outbound::connect;

/// The time limit for the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit for both answers. The server may have to compute its own digest first.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(120);

/// Whether a server says that `md5` is the digest of its file; `None` if it does not answer. The
/// connection comes from `bind`, and the server is sent `port` as our listening port. The time
/// limits are 5 s for the connection and 120 s for the answers.
pub async fn server_has_digest(
    server: SocketAddr,
    bind: Option<IpAddr>,
    port: u16,
    md5: [u8; 16],
) -> Option<bool> {
    let mut stream = timeout(CONNECT_TIMEOUT, connect(server, bind)).await.ok()?.ok()?;
    let exchange = async {
        // No data is requested, so none is accepted.
        let mut state = (Decoder::new(0), BytesMut::new());
        let hello = ask(&mut stream, &mut state, Message::Hello { port }).await?;
        if !matches!(hello, Message::ServerHello { .. }) {
            return None;
        }
        match ask(&mut stream, &mut state, Message::Check(md5)).await? {
            Message::Check(theirs) => Some(theirs == md5),
            Message::Error { id: ErrorId::ChecksumNotFit, .. } => Some(false),
            _ => None,
        }
    };
    timeout(EXCHANGE_TIMEOUT, exchange).await.ok().flatten()
}

/// Sends a message and waits for the answer.
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The result with a server that sends these answers, one after the other.
    async fn result_of(answers: &'static [&'static [u8]]) -> Option<bool> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = [0; 1024];
            for answer in answers {
                assert!(stream.read(&mut received).await.unwrap() > 0);
                stream.write_all(answer).await.unwrap();
            }
        });
        let asking = server_has_digest(server, None, 51000, [0x11; 16]);
        let result = timeout(Duration::from_secs(20), asking).await.unwrap();
        serving.abort();
        result
    }

    #[tokio::test]
    async fn only_the_answer_of_a_server_counts() {
        const HELLO: &[u8] = b"SHEL 5 5\r\n[]";
        assert_eq!(
            result_of(&[HELLO, b"CHECK 11111111111111111111111111111111\r\n"]).await,
            Some(true)
        );
        assert_eq!(
            result_of(&[HELLO, b"CHECK 22222222222222222222222222222222\r\n"]).await,
            Some(false)
        );
        assert_eq!(result_of(&[HELLO, b"ERROR CHECKSUM_NOT_FIT\r\n"]).await, Some(false));
        assert_eq!(result_of(&[HELLO, b"ERROR UNKONWN_COMMAND\r\n"]).await, None);
        assert_eq!(result_of(&[HELLO, b"DATA 0 5\r\nhello"]).await, None);
        assert_eq!(result_of(&[b"PHEL\r\n"]).await, None);
        assert_eq!(result_of(&[HELLO]).await, None, "it closes the connection");
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(server_has_digest(closed, None, 51000, [0; 16]).await, None);
    }
}

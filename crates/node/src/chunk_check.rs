//! Asking a server of document 1's P2P whether a sum is that of its file, outside of any swarm: for
//! a file that is there before there is a swarm. Nothing is fetched.

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

use crate::outgoing::connect;

/// For the connection.
const CONNECT: Duration = Duration::from_secs(5);

/// For both answers. A server may have to take its own sum first.
const ANSWERS: Duration = Duration::from_secs(120);

/// Whether a server says that `md5` is the sum of its file; `None` when it does not answer. It is
/// called from `bind`, and told that we listen on `port`: 5 s for the connection, 120 s for what it
/// says.
pub async fn check_sum(
    server: SocketAddr,
    bind: Option<IpAddr>,
    port: u16,
    md5: [u8; 16],
) -> Option<bool> {
    let mut stream = timeout(CONNECT, connect(server, bind)).await.ok()?.ok()?;
    let asking = async {
        // No data is asked for, so none is taken.
        let mut talk = (Decoder::new(0), BytesMut::new());
        let hello = ask(&mut stream, &mut talk, Message::Hello { port }).await?;
        if !matches!(hello, Message::ServerHello { .. }) {
            return None;
        }
        match ask(&mut stream, &mut talk, Message::Check(md5)).await? {
            Message::Check(theirs) => Some(theirs == md5),
            Message::Error { id: ErrorId::ChecksumNotFit, .. } => Some(false),
            _ => None,
        }
    };
    timeout(ANSWERS, asking).await.ok().flatten()
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What is made of a server that answers with these, one after the other.
    async fn asked_of(answers: &'static [&'static [u8]]) -> Option<bool> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = [0; 1024];
            for answer in answers {
                assert!(stream.read(&mut heard).await.unwrap() > 0);
                stream.write_all(answer).await.unwrap();
            }
        });
        let said = timeout(Duration::from_secs(20), check_sum(server, None, 51000, [0x11; 16]))
            .await
            .unwrap();
        serving.abort();
        said
    }

    #[tokio::test]
    async fn a_server_s_word_is_taken_and_nobody_else_s() {
        const HELLO: &[u8] = b"SHEL 5 5\r\n[]";
        assert_eq!(
            asked_of(&[HELLO, b"CHECK 11111111111111111111111111111111\r\n"]).await,
            Some(true)
        );
        assert_eq!(
            asked_of(&[HELLO, b"CHECK 22222222222222222222222222222222\r\n"]).await,
            Some(false)
        );
        assert_eq!(asked_of(&[HELLO, b"ERROR CHECKSUM_NOT_FIT\r\n"]).await, Some(false));
        assert_eq!(asked_of(&[HELLO, b"ERROR UNKONWN_COMMAND\r\n"]).await, None);
        assert_eq!(asked_of(&[HELLO, b"DATA 0 5\r\nhello"]).await, None);
        assert_eq!(asked_of(&[b"PHEL\r\n"]).await, None);
        assert_eq!(asked_of(&[HELLO]).await, None, "it hangs up");
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(check_sum(closed, None, 51000, [0; 16]).await, None);
    }
}

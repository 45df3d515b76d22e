//! Whether a file that is there already is the one that a server of document 1's P2P has: nothing but the sum of the whole
//! can tell, and nobody but the server.

use std::{fs::File, io::Read, net::SocketAddr, path::Path, time::Duration};

use bytes::BytesMut;
use md5::{Digest, Md5};
use sow_wire::chunk::{Decoded, Decoder, ErrorId, Message, Spelling, encode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{disk, exit::Failure, hashing::Progress, report::Report, stop::Stop};

/// How long a server may take for an answer. It may have to take its own sum first.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much is read at a time, in bytes.
const READ: usize = 256 * 1024;

/// The MD5 of a file.
///
/// # Errors
/// When it cannot be read, or the run was asked to stop.
pub(super) fn sum_of(path: &Path, report: &Report, stop: &Stop) -> Result<[u8; 16], Failure> {
    let failed = |error: &std::io::Error| disk::unreadable(path, error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let total = file.metadata().map_err(|error| failed(&error))?.len();
    let progress = Progress::start(report, format!("checking {}", path.display()), total);
    let (mut md5, mut buffer, mut done) = (Md5::new(), vec![0; READ], 0);
    loop {
        if stop.flag().load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Failure::new(crate::exit::Exit::Interrupted, "interrupted"));
        }
        let read = file.read(&mut buffer).map_err(|error| failed(&error))?;
        if read == 0 {
            return Ok(md5.finalize().into());
        }
        md5.update(&buffer[..read]);
        done += read as u64;
        progress.set(done);
    }
}

/// Whether a server says that a sum is that of its file; `None` when it does not answer.
pub(super) async fn is_servers(server: SocketAddr, our_port: u16, md5: [u8; 16]) -> Option<bool> {
    let asking = async {
        let mut stream = TcpStream::connect(server).await.ok()?;
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

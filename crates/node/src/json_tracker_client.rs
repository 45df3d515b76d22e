//! One request to a tracker of document 2, and its reply. When to ask, and what to do with the
//! answer, is the caller's.

use std::{io, net::IpAddr, time::Duration};

use sow_engine::AnnounceError;
use sow_wire::{
    framing::frame,
    json_torrent::tracker::{MAX_REPLY, Reply, Request},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::{
    json_frames::{FrameError, read_frame},
    outgoing,
};

/// For the look-up of the tracker's name.
const LOOKUP: Duration = Duration::from_secs(10);

/// For the connection to one of its addresses.
const CONNECT: Duration = Duration::from_secs(5);

/// For the exchange on it.
const EXCHANGE: Duration = Duration::from_secs(10);

/// How many of a name's addresses are tried.
const MAX_ADDRESSES: usize = 4;

/// Asks a tracker, and waits for its reply: 10 s for the look-up of its name, 5 s for the
/// connection to each of its addresses, 10 s for the exchange. The call comes from `bind`, since
/// the tracker takes the address that it sees.
///
/// A refusal is a [`Reply`] too.
///
/// # Errors
/// Why the tracker was not reached, or why its answer is not one.
pub async fn announce_json(
    host: &str,
    port: u16,
    bind: Option<IpAddr>,
    request: &Request,
) -> Result<Reply, AnnounceError> {
    let stream = connect(host, port, bind).await?;
    match timeout(EXCHANGE, exchange(stream, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(AnnounceError::Timeout),
    }
}

async fn connect(host: &str, port: u16, bind: Option<IpAddr>) -> Result<TcpStream, AnnounceError> {
    let found = timeout(LOOKUP, lookup_host((host, port)))
        .await
        .map_err(|_| unreachable("its name was not resolved in time"))?;
    let mut problem = "its name has no address".to_owned();
    for addr in found.map_err(unreachable)?.take(MAX_ADDRESSES) {
        match timeout(CONNECT, outgoing::connect(addr, bind)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => problem = error.to_string(),
            Err(_) => problem = "no connection in time".to_owned(),
        }
    }
    Err(unreachable(problem))
}

async fn exchange(mut stream: TcpStream, request: &Request) -> Result<Reply, AnnounceError> {
    stream.write_all(&frame(&request.encode())).await.map_err(unreachable)?;
    let body = read_frame(&mut stream, MAX_REPLY).await.map_err(|error| match error {
        FrameError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            unreachable("it closed the connection without an answer")
        }
        FrameError::Io(error) => unreachable(error),
        error => AnnounceError::InvalidResponse(error.to_string()),
    })?;
    Reply::decode(&body).map_err(|error| {
        AnnounceError::InvalidResponse(format!("its answer is not valid: {error}"))
    })
}

fn unreachable(error: impl ToString) -> AnnounceError {
    AnnounceError::Unreachable(error.to_string())
}

//! One request to a `json-torrent` tracker, and its reply. When to ask, and what to do with the
//! reply, is the caller's decision.

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

use super::frames::{FrameError, read_frame};
use crate::outbound;

/// The time limit for the look-up of the tracker's name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for the connection to one of its addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit for the request and the reply.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of a name's addresses that are tried.
const MAX_ADDRESSES: usize = 4;

/// Sends a request to a tracker and waits for its reply: at most 10 s for the look-up of its name,
/// 5 s for the connection to each of its addresses, and 10 s for the exchange. The connection comes
/// from `bind`, because the tracker lists the address that it sees.
///
/// A refusal is a [`Reply`] too.
///
/// # Errors
/// When the tracker was not reached, or its reply is not valid.
pub async fn announce_json(
    host: &str,
    port: u16,
    bind: Option<IpAddr>,
    request: &Request,
) -> Result<Reply, AnnounceError> {
    let stream = connect(host, port, bind).await?;
    match timeout(EXCHANGE_TIMEOUT, exchange(stream, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(AnnounceError::Timeout),
    }
}

async fn connect(host: &str, port: u16, bind: Option<IpAddr>) -> Result<TcpStream, AnnounceError> {
    let found = timeout(LOOKUP_TIMEOUT, lookup_host((host, port)))
        .await
        .map_err(|_| unreachable("its name was not resolved in time"))?;
    let mut problem = "its name has no address".to_owned();
    for addr in found.map_err(unreachable)?.take(MAX_ADDRESSES) {
        match timeout(CONNECT_TIMEOUT, outbound::connect(addr, bind)).await {
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

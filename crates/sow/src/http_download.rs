//! Downloading a small resource over HTTP before a transfer: a .torrent, or an origin's index.
//! Every length and every wait has a limit.

use std::{net::IpAddr, time::Duration};

use reqwest::{StatusCode, Url};
use sow_node::{CLIENT_HEADER, http_client, http_error};
use tokio::time::timeout;

use crate::exit::{Exit, Failure};

/// How long a whole request may take; a .torrent has at most 64 MiB.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The parameters of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The acceptable content types.
    pub(crate) accept: &'a str,
    /// The maximum length of the answer in bytes.
    pub(crate) max_length: usize,
    /// How long the server may take until its answer begins.
    pub(crate) answer_timeout: Duration,
    /// The local address to connect from.
    pub(crate) bind: Option<IpAddr>,
}

/// Downloads what a URL names.
///
/// # Errors
/// [`Exit::Usage`] if the URL is malformed; [`Exit::Unreachable`] if the server does not answer or
/// reports a failure of its own; [`Exit::Failed`] if it does not have the resource, or the resource
/// is too long.
pub(crate) async fn download(url: &str, request: Request<'_>) -> Result<Vec<u8>, Failure> {
    let parsed = Url::parse(url)
        .map_err(|error| Failure::usage(format!("`{url}` is not a URL: {error}")))?;
    let failed = |reason: &str| {
        Failure::new(Exit::Unreachable, format!("cannot download {url}: {reason}"))
            .tip("check the address, and that this machine can reach it")
    };
    let unreachable = |error: reqwest::Error| failed(&http_error(&error));
    let client = http_client(&parsed, request.bind, REQUEST_TIMEOUT).map_err(unreachable)?;
    let sending = client
        .get(parsed)
        .header(reqwest::header::ACCEPT, request.accept)
        // An origin answers us under any name: see `sow_node::CLIENT_HEADER`.
        .header(CLIENT_HEADER, env!("CARGO_PKG_VERSION"))
        .send();
    let answer = timeout(request.answer_timeout, sending).await;
    let mut response = answer.map_err(|_| failed("no answer in time"))?.map_err(unreachable)?;
    check_status(url, response.status())?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > request.max_length {
            return Err(Failure::new(
                Exit::Failed,
                format!("{url} is longer than {} bytes", request.max_length),
            )
            .tip("this is not the address of a .torrent"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn check_status(url: &str, status: StatusCode) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let exit = if status.is_server_error() { Exit::Unreachable } else { Exit::Failed };
    Err(Failure::new(exit, format!("{url}: the server answers {status}")).tip("check the address"))
}

//! Small things that come over HTTP before a download: a .torrent, an origin's index. Every length
//! and wait is bounded.

use std::{net::IpAddr, time::Duration};

use reqwest::{StatusCode, Url};
use sow_node::{http_client, http_error};
use tokio::time::timeout;

use crate::exit::{Exit, Failure};

/// How long a request may take as a whole: a .torrent is 64 MiB at most.
const WHOLE: Duration = Duration::from_secs(60);

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The kinds of content that will do.
    pub(crate) accept: &'a str,
    /// Bytes at most.
    pub(crate) limit: usize,
    /// How long it may take until the answer begins.
    pub(crate) patience: Duration,
    /// The address to call from.
    pub(crate) bind: Option<IpAddr>,
}

/// Fetches what a URL names.
///
/// # Errors
/// [`Exit::Usage`] when the URL is none; [`Exit::Unreachable`] when the server does not answer, or
/// cannot at the moment; [`Exit::Failed`] when it does not have it, or it is too long.
pub(crate) async fn get(url: &str, wanted: Wanted<'_>) -> Result<Vec<u8>, Failure> {
    let parsed = Url::parse(url)
        .map_err(|error| Failure::usage(format!("`{url}` is not a URL: {error}")))?;
    let failed = |why: &str| {
        Failure::new(Exit::Unreachable, format!("cannot fetch {url}: {why}"))
            .tip("check the address, and that this machine can reach it")
    };
    let unreachable = |error: reqwest::Error| failed(&http_error(&error));
    let client = http_client(&parsed, wanted.bind, WHOLE).map_err(unreachable)?;
    let request = client.get(parsed).header(reqwest::header::ACCEPT, wanted.accept);
    let answer = timeout(wanted.patience, request.send()).await;
    let mut response = answer.map_err(|_| failed("no answer in time"))?.map_err(unreachable)?;
    check(url, response.status())?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > wanted.limit {
            return Err(Failure::new(
                Exit::Failed,
                format!("{url} is longer than {} bytes", wanted.limit),
            )
            .tip("this is not the address of a .torrent"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn check(url: &str, status: StatusCode) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let exit = if status.is_server_error() { Exit::Unreachable } else { Exit::Failed };
    Err(Failure::new(exit, format!("{url}: the server answers {status}")).tip("check the address"))
}

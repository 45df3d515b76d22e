//! Downloading a small resource over HTTP before a transfer: a .torrent, or an origin's index.
//! Every length and every wait has a limit.

use std::{net::IpAddr, time::Duration};

use reqwest::{StatusCode, Url};
use sow_node::{HttpError, HttpRequest, Purpose, http_get};

use crate::exit::{Exit, Failure};

/// How long a whole request may take; a .torrent has at most 64 MiB.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The parameters of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// What it is for, which decides where it may be redirected to.
    pub(crate) purpose: Purpose,
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
/// reports a failure of its own; [`Exit::Failed`] if it does not have the resource, it redirects to
/// where it must not, or the resource is too long.
pub(crate) async fn download(url: &str, request: Request<'_>) -> Result<Vec<u8>, Failure> {
    let parsed = Url::parse(url)
        .map_err(|error| Failure::usage(format!("`{url}` is not a URL: {error}")))?;
    let Request { purpose, accept, max_length, answer_timeout, bind } = request;
    let timeout = REQUEST_TIMEOUT;
    let request = HttpRequest { purpose, accept, bind, max_length, answer_timeout, timeout };
    let answer = http_get(parsed, request).await.map_err(|error| failure_of(url, &error))?;
    check_status(url, answer.status)?;
    Ok(answer.body)
}

fn failure_of(url: &str, error: &HttpError) -> Failure {
    let text = format!("cannot download {url}: {error}");
    match error {
        HttpError::TooLong(limit) => {
            Failure::new(Exit::Failed, format!("{url} is longer than {limit} bytes"))
                .tip("this is not the address of a .torrent")
        }
        HttpError::Forbidden(_) | HttpError::ForbiddenRedirect(_) => Failure::new(
            Exit::Failed,
            text,
        )
        .tip(
            "redirects are not followed there; if you trust it, use the address that the server \
             redirects to",
        ),
        _ => Failure::new(Exit::Unreachable, text)
            .tip("check the address, and that this machine can reach it"),
    }
}

fn check_status(url: &str, status: StatusCode) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let exit = if status.is_server_error() { Exit::Unreachable } else { Exit::Failed };
    Err(Failure::new(exit, format!("{url}: the server answers {status}")).tip("check the address"))
}

//! An announce over HTTP or HTTPS: one request, and an answer that is bounded in size and time.

use std::time::Duration;

use reqwest::{Response, Url};
use sow_engine::AnnounceError;
use sow_wire::{
    tracker::{AnnounceRequest, AnnounceResponse},
    tracker_http::{Announce, MAX_RESPONSE, ResponseError, decode_announce},
};

use super::{TrackerClient, remember, unreachable};
use crate::http::client::{http_client, http_error};

/// The time limit for a request as a whole, from the look-up of the name to the answer's last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

impl TrackerClient {
    /// Announces to one HTTP tracker. `name` is its URL as the torrent spells it.
    pub(super) async fn announce_http(
        &self,
        tracker: &Url,
        name: &str,
        request: AnnounceRequest,
    ) -> Result<AnnounceResponse, AnnounceError> {
        let tracker_id = self.with_memory(|memory| memory.tracker_ids.get(name).cloned());
        let url = Announce::new(request, tracker_id).url(tracker.as_str());
        let client = http_client(tracker, self.bind, REQUEST_TIMEOUT)
            .map_err(|error| request_error(&error))?;
        let mut response = client.get(url).send().await.map_err(|error| request_error(&error))?;
        let body = read_body(&mut response).await?;
        let answer = match decode_announce(&body) {
            // Many trackers refuse with a status other than 200 and a failure reason.
            Err(ResponseError::Failure(reason)) => return Err(AnnounceError::Refused(reason)),
            Err(_) if !response.status().is_success() => {
                return Err(AnnounceError::InvalidResponse(format!("HTTP {}", response.status())));
            }
            answer => answer.map_err(|error| AnnounceError::InvalidResponse(error.to_string()))?,
        };
        if let Some(id) = &answer.tracker_id {
            self.with_memory(|memory| {
                remember(&mut memory.tracker_ids, name.to_owned(), id.clone())
            });
        }
        Ok(answer)
    }
}

fn request_error(error: &reqwest::Error) -> AnnounceError {
    if error.is_timeout() { AnnounceError::Timeout } else { unreachable(http_error(error)) }
}

async fn read_body(response: &mut Response) -> Result<Vec<u8>, AnnounceError> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| request_error(&error))? {
        if body.len() + part.len() > MAX_RESPONSE {
            return Err(AnnounceError::InvalidResponse(ResponseError::TooLong.to_string()));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

//! An announce over HTTP or HTTPS: one request, and an answer that is bounded in size and time.

use std::{net::SocketAddr, time::Duration};

use reqwest::Url;
use sow_engine::AnnounceError;
use sow_wire::{
    tracker::{AnnounceRequest, AnnounceResponse},
    tracker_http::{Announce, MAX_RESPONSE, ResponseError, decode_announce},
};

use super::{TrackerClient, remember, unreachable};
use crate::http::{
    destination::Purpose,
    get::{HttpError, HttpRequest, http_get},
};

/// The time limit for a request as a whole, from the look-up of the name to the answer's last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

impl TrackerClient {
    /// Announces to one HTTP tracker. `name` is its URL as the torrent spells it.
    pub(super) async fn announce_http(
        &self,
        tracker: &Url,
        name: &str,
        request: AnnounceRequest,
    ) -> Result<(AnnounceResponse, SocketAddr), AnnounceError> {
        let tracker_id = self.with_memory(|memory| memory.tracker_ids.get(name).cloned());
        let is_typed = self.is_typed(name);
        let http_request = HttpRequest {
            purpose: if is_typed { Purpose::TypedTracker } else { Purpose::Tracker },
            accept: "*/*",
            bind: self.bind,
            max_length: MAX_RESPONSE,
            answer_timeout: REQUEST_TIMEOUT,
            timeout: REQUEST_TIMEOUT,
        };
        let url = Announce::new(request, tracker_id).url(tracker.as_str());
        let url = url.parse().map_err(|_| AnnounceError::InvalidUrl)?;
        let answered = http_get(url, http_request).await.map_err(request_error)?;
        let answer = match decode_announce(&answered.body) {
            // Many trackers refuse with a status other than 200 and a failure reason.
            Err(ResponseError::Failure(reason)) => return Err(AnnounceError::Refused(reason)),
            Err(_) if !answered.status.is_success() => {
                return Err(AnnounceError::InvalidResponse(format!("HTTP {}", answered.status)));
            }
            answer => answer.map_err(|error| AnnounceError::InvalidResponse(error.to_string()))?,
        };
        if let Some(id) = &answer.tracker_id {
            self.with_memory(|memory| {
                remember(&mut memory.tracker_ids, name.to_owned(), id.clone())
            });
        }
        Ok((answer, answered.from))
    }
}

fn request_error(error: HttpError) -> AnnounceError {
    match error {
        HttpError::Timeout => AnnounceError::Timeout,
        HttpError::Forbidden(forbidden) => AnnounceError::Forbidden(forbidden.0),
        HttpError::Failed(cause) => unreachable(cause),
        error => AnnounceError::InvalidResponse(error.to_string()),
    }
}

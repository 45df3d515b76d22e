//! `/status`: what the page shows, as JSON. `docs/json.md` describes it.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    state::{Web, refuse_foreign_page},
    wall_clock::unix_time,
};

/// Answers `/status`.
pub(super) async fn answer(State(web): State<Web>, headers: HeaderMap) -> Response {
    web.0.requests.status.inc();
    if let Some(refusal) = refuse_foreign_page(&headers) {
        return refusal;
    }
    let status = web.0.status.get(|| Bytes::from(web.status().to_string()));
    let head = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")];
    (head, status).into_response()
}

/// Answers `/-/shares`, for the page: every share in a few words.
pub(super) async fn answer_shares(State(web): State<Web>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refuse_foreign_page(&headers) {
        return refusal;
    }
    let shares = web.0.shares.get(|| {
        let mut boards = web.boards();
        boards.sort_by(|one, other| one.info().name.cmp(&other.info().name));
        let shares: Vec<Value> = boards.iter().map(|board| board.brief()).collect();
        Bytes::from(json!({ "shares": shares }).to_string())
    });
    let head = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")];
    (head, shares).into_response()
}

impl Web {
    fn status(&self) -> Value {
        let time = unix_time();
        let shares: Vec<Value> = self.boards().iter().map(|board| board.status()).collect();
        json!({
            "program": "sow",
            "version": env!("CARGO_PKG_VERSION"),
            "time": (time.as_secs_f64() * 1000.0).round() / 1000.0,
            "uptime": self.0.started.elapsed().as_secs(),
            "shares": shares,
        })
    }
}

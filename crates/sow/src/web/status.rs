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

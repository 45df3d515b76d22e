//! What the port of an origin answers to browsers and programs over HTTP, beside the index and the
//! trackers: a live page, `/status`, `/metrics`, `/healthz`. All of it is read-only.
//!
//! A [`Board`] holds what is shown of one share. The command that shares publishes to it; nothing
//! here knows a swarm.

mod assets;
mod board;
mod cached;
mod events;
mod history;
mod metrics;
mod process;
mod row;
mod state;
mod status;
mod wall_clock;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sow_node::{HostNames, index::index, only_for_own_names};

pub(crate) use self::{
    board::{Board, ShareInfo, Totals},
    row::ReceiverRow,
    state::Web,
};

impl Web {
    /// Answers everything but the trackers, under a name of this machine or one of `names`.
    pub(crate) fn router(&self, names: HostNames) -> Router {
        let live = Router::new()
            .route("/-/events", get(events::answer))
            .route("/-/shares", get(status::answer_shares))
            .route("/status", get(status::answer))
            .route("/metrics", get(metrics::answer))
            .route("/healthz", get(healthz))
            .route("/-/{asset}", get(assets::answer))
            .with_state(self.clone());
        let live = only_for_own_names(live, names.clone());
        live.merge(index(self.0.contents.clone(), names, assets::page))
    }
}

/// 200 while everything is shared rightly.
async fn healthz(State(web): State<Web>) -> Response {
    web.0.requests.health.inc();
    let boards = web.boards();
    let trouble = match boards.is_empty() {
        true => Some("nothing is shared yet: the content is still being hashed".to_owned()),
        false => boards.iter().find_map(|board| board.reason()),
    };
    let head = [(header::CACHE_CONTROL, "no-store")];
    match trouble {
        None => (head, "ok\n").into_response(),
        Some(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, head, format!("{reason}\n")).into_response()
        }
    }
}

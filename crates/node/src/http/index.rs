//! The HTTP index of what a node shares: a list as JSON, the same as a page, and the `.torrent`
//! files. It knows no swarm.

use std::{fmt::Write, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Json, Response},
    routing::get,
};
use bytes::Bytes;
use serde_json::{Value, json};
use sow_content::{InfoHash, untrusted::printable};

use super::own_names::{HostNames, require_own_name};

/// One entry of the index: content that is shared.
#[derive(Debug, Clone)]
pub struct SharedContent {
    /// Its name.
    pub name: String,
    /// The info-hash of its swarm.
    pub info_hash: InfoHash,
    /// Its length in bytes.
    pub length: u64,
    /// The number of its files.
    pub files: usize,
    /// Its ticket, the argument of `sow get`.
    pub ticket: String,
    /// Its magnet link, for other programs.
    pub magnet: String,
    /// The `.torrent` file.
    pub torrent: Bytes,
    /// The torrent file of `json-torrent`, if the node accepts that dialect too.
    pub json_torrent: Option<Bytes>,
}

/// Answers `GET /` with the list (a page for browsers, JSON for other clients), and
/// `GET /NAME.torrent` or `GET /INFO-HASH.torrent`. The torrent file of `json-torrent` is under
/// `/NAME.json.torrent`. If there is only one entry, it has any name.
///
/// A browser gets an answer only under a name of this machine, or one of `names`: see
/// [`CLIENT_HEADER`](crate::CLIENT_HEADER). Requests must carry a
/// `ConnectInfo<`[`ConnectionAddrs`](crate::ConnectionAddrs)`>`.
pub fn index(shared: Vec<SharedContent>, names: HostNames) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/{name}", get(torrent))
        .route_layer(middleware::from_fn_with_state(names, require_own_name))
        .with_state(Arc::from(shared))
}

async fn list(State(shared): State<Arc<[SharedContent]>>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains("text/html")) {
        Html(page(&shared)).into_response()
    } else {
        Json(
            json!({ "program": "sow", "shared": shared.iter().map(entry).collect::<Vec<Value>>() }),
        )
        .into_response()
    }
}

async fn torrent(State(shared): State<Arc<[SharedContent]>>, Path(name): Path<String>) -> Response {
    let Some(stem) = name.strip_suffix(".torrent") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (stem, is_json) = stem.strip_suffix(".json").map_or((stem, false), |stem| (stem, true));
    let named =
        |shared: &&SharedContent| shared.name == stem || stem.parse() == Ok(shared.info_hash);
    let found = match &*shared {
        [only] => Some(only),
        several => several.iter().find(named),
    };
    match found {
        Some(SharedContent { json_torrent: Some(torrent), .. }) if is_json => {
            ([(header::CONTENT_TYPE, "application/json")], torrent.clone()).into_response()
        }
        Some(_) if is_json => StatusCode::NOT_FOUND.into_response(),
        Some(found) => {
            let kind = [(header::CONTENT_TYPE, "application/x-bittorrent")];
            (kind, found.torrent.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn entry(shared: &SharedContent) -> Value {
    json!({
        "name": shared.name,
        "info_hash": shared.info_hash.to_string(),
        "length": shared.length,
        "files": shared.files,
        "ticket": shared.ticket,
        "magnet": shared.magnet,
        "torrent": format!("/{}.torrent", shared.info_hash),
    })
}

fn page(shared: &[SharedContent]) -> String {
    let mut page = String::from(
        "<!doctype html><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>sow</title>\n\
         <style>body{font:16px/1.5 system-ui;max-width:44rem;margin:2rem auto;padding:0 1rem}\
         code{background:#8882;padding:.2em .4em;overflow-wrap:anywhere}</style>\n\
         <h1>Shared here</h1>\n",
    );
    for shared in shared {
        let (name, ticket) = (escape(&shared.name), escape(&shared.ticket));
        let (hash, magnet, length) = (shared.info_hash, escape(&shared.magnet), shared.length);
        // Writing to a string does not fail.
        let _ = write!(
            page,
            "<h2>{name}</h2>\n<p>{length} bytes</p>\n<p><code>sow get {ticket}</code></p>\n\
             <p><a href=\"/{hash}.torrent\">.torrent</a> · <a href=\"{magnet}\">magnet</a></p>\n",
        );
    }
    page
}

fn escape(text: &str) -> String {
    let text = printable(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

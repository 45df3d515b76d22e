//! The HTTP index of what a node shares: a list as JSON, the same as a page, the `.torrent` files,
//! and the content itself. It knows no swarm.

use std::{fmt::Write, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Json, Response},
    routing::get,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use sow_content::{InfoHash, percent, untrusted::printable};

use super::{
    connection::ConnectionAddrs,
    content::{Client, DownloadSource, Page},
    own_names::{HostNames, is_foreign_page, only_for_own_names},
};
use crate::places::Activity;

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
    /// The content itself, if clients without a swarm may download it.
    pub download: Option<DownloadSource>,
}

/// The page that browsers get instead of the plain list.
pub type IndexPage = fn() -> Response;

/// First parts of paths that name something else than content.
const RESERVED: [&str; 6] = ["-", "announce", "healthz", "metrics", "scrape", "status"];

#[derive(Debug)]
struct Shared {
    entries: Vec<SharedContent>,
    page: Option<IndexPage>,
}

/// Answers `GET /` with the list (a page for browsers, JSON for other clients), and
/// `GET /NAME.torrent` or `GET /INFO-HASH.torrent`. The torrent file of `json-torrent` is under
/// `/NAME.json.torrent`. If there is only one entry, it has any name. The content itself is under
/// `/NAME` and `/INFO-HASH`, the files of a folder below.
///
/// A browser gets an answer only under a name of this machine, or one of `names`: see
/// [`CLIENT_HEADER`](crate::CLIENT_HEADER). Requests must carry a
/// `ConnectInfo<`[`ConnectionAddrs`]`>`.
pub fn index(shared: Vec<SharedContent>, names: HostNames) -> Router {
    with_page(shared, names, None)
}

/// The same with another page for browsers.
pub fn index_with_page(shared: Vec<SharedContent>, names: HostNames, page: IndexPage) -> Router {
    with_page(shared, names, Some(page))
}

/// Where the content with this name is.
pub fn content_path(name: &str, info_hash: InfoHash, is_folder: bool) -> String {
    let mut path = String::from("/");
    if RESERVED.contains(&name) || name.ends_with(".torrent") {
        path.push_str(&info_hash.to_string());
    } else {
        path.extend(percent::encode(name.as_bytes(), percent::COMPONENT));
    }
    if is_folder {
        path.push('/');
    }
    path
}

fn with_page(entries: Vec<SharedContent>, names: HostNames, page: Option<IndexPage>) -> Router {
    let router = Router::new()
        .route("/", get(list))
        .route("/{name}", get(named))
        .route("/{name}/", get(named))
        .route("/{name}/{*path}", get(named))
        .with_state(Arc::new(Shared { entries, page }));
    only_for_own_names(router, names)
}

async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let mut response = match (accepts_html(&headers), shared.page) {
        (true, Some(page)) => page(),
        (true, None) => Html(page(&shared.entries)).into_response(),
        (false, _) => {
            let entries: Vec<Value> = shared.entries.iter().map(entry).collect();
            Json(json!({ "program": "sow", "shared": entries })).into_response()
        }
    };
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(header::VARY, accept);
    response
}

/// Whether a client is a browser that shows a page.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepts.is_some_and(|accept| accept.contains("text/html"))
}

#[derive(Debug, Deserialize)]
struct PathParts {
    name: String,
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Paging {
    #[serde(default)]
    from: usize,
}

/// A `.torrent`, or content.
async fn named(
    State(shared): State<Arc<Shared>>,
    Path(PathParts { name, path }): Path<PathParts>,
    Query(Paging { from }): Query<Paging>,
    ConnectInfo(addrs): ConnectInfo<ConnectionAddrs>,
    request: Request,
) -> Response {
    let has_slash = request.uri().path().ends_with('/');
    if path.is_none() && !has_slash && name.ends_with(".torrent") {
        return torrent(&shared.entries, &name);
    }
    let is_named =
        |shared: &&SharedContent| shared.name == name || name.parse() == Ok(shared.info_hash);
    let found = shared.entries.iter().find(is_named);
    let Some(source) = found.and_then(|shared| shared.download.as_ref()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if is_foreign_page(request.headers()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let path = path.or_else(|| has_slash.then(String::new));
    let page = Page { has_slash, raw_path: request.uri().path(), from };
    let activity = request.extensions().get::<Arc<Activity>>().cloned();
    let client = Client { addr: addrs.remote.ip(), activity };
    source.answer(path.as_deref(), (request.method(), request.headers()), page, client)
}

fn torrent(shared: &[SharedContent], name: &str) -> Response {
    let Some(stem) = name.strip_suffix(".torrent") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (stem, is_json) = stem.strip_suffix(".json").map_or((stem, false), |stem| (stem, true));
    let named =
        |shared: &&SharedContent| shared.name == stem || stem.parse() == Ok(shared.info_hash);
    let found = match shared {
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
        "content": shared.download.as_ref().map(DownloadSource::path),
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

/// A text of unknown origin, for HTML.
pub(super) fn escape(text: &str) -> String {
    let text = printable(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

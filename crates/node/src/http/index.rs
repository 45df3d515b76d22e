//! The HTTP index of what a node shares: a list as JSON, a page that its owner gives, the
//! `.torrent` files, and the content itself. It knows no swarm.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{
    Router,
    extract::{ConnectInfo, Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Json, Response},
    routing::get,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use sow_content::InfoHash;

use super::{
    connection::ConnectionAddrs,
    content::{Client, DownloadSource, Page},
    html::accepts_html,
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

/// What a node shares, in the order in which it was added. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct SharedContents(Arc<RwLock<Vec<SharedContent>>>);

/// The page that browsers get instead of the list.
pub type IndexPage = fn() -> Response;

#[derive(Debug)]
struct Shared {
    contents: SharedContents,
    page: IndexPage,
}

/// Answers `GET /` with `page` for browsers, and the list as JSON for other clients, and
/// `GET /NAME.torrent` or `GET /INFO-HASH.torrent`. The torrent file of `json-torrent` is under
/// `/NAME.json.torrent`. If there is only one entry, it has any name. The content itself is under
/// `/NAME` and `/INFO-HASH`, the files of a folder below.
///
/// A browser gets an answer only under a name of this machine, or one of `names`: see
/// [`CLIENT_HEADER`](crate::CLIENT_HEADER). Requests must carry a
/// `ConnectInfo<`[`ConnectionAddrs`]`>`.
pub fn index(contents: SharedContents, names: HostNames, page: IndexPage) -> Router {
    let router = Router::new()
        .route("/", get(list))
        .route("/{name}", get(named))
        .route("/{name}/", get(named))
        .route("/{name}/{*path}", get(named))
        .with_state(Arc::new(Shared { contents, page }));
    only_for_own_names(router, names)
}

impl SharedContents {
    /// Adds content.
    pub fn add(&self, content: SharedContent) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(content);
    }

    /// Removes the content of a swarm.
    pub fn remove(&self, info_hash: InfoHash) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|content| content.info_hash != info_hash);
    }

    fn with<T>(&self, read: impl FnOnce(&[SharedContent]) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl FromIterator<SharedContent> for SharedContents {
    fn from_iter<T: IntoIterator<Item = SharedContent>>(contents: T) -> Self {
        Self(Arc::new(RwLock::new(contents.into_iter().collect())))
    }
}

async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let mut response = match accepts_html(&headers) {
        true => (shared.page)(),
        false => {
            let entries: Vec<Value> = shared.contents.with(|all| all.iter().map(entry).collect());
            Json(json!({ "program": "sow", "shared": entries })).into_response()
        }
    };
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(header::VARY, accept);
    response
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
        return shared.contents.with(|all| torrent(all, &name));
    }
    let is_named =
        |shared: &&SharedContent| shared.name == name || name.parse() == Ok(shared.info_hash);
    let found = shared.contents.with(|all| all.iter().find(is_named).cloned());
    let Some(source) = found.and_then(|shared| shared.download) else {
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

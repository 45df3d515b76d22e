//! The content itself over HTTP, for machines without `sow`: a file, or the files of a folder, with
//! ranges (RFC 9110). Which swarm it belongs to is not known here.

mod body;
mod condition;
mod disposition;
mod listing;
mod parts;
mod range;
mod tree;

use std::{
    net::IpAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use sow_content::{Info, InfoHash};
use sow_engine::network_of;
use sow_store::SharedStore;

pub use self::condition::ContentCondition;
pub(super) use self::listing::Page;
use self::{
    body::{FileReader, Section},
    parts::Parts,
    range::{Selection, is_current, is_matched, select},
    tree::{FileTree, Found},
};
use super::network_places::NetworkPlaces;
use crate::{
    places::Activity,
    throttle::{Flow, RateLimit, Service},
};

/// Downloads over HTTP of one content at a time. Each holds two parts of 256 KiB.
pub(crate) const MAX_DOWNLOADS: usize = 64;

/// Those of one network: three quarters, because many machines may share an address.
pub(crate) const MAX_DOWNLOADS_PER_NETWORK: usize = MAX_DOWNLOADS / 4 * 3;

/// How soon a client that found no place may try again, in seconds.
const RETRY_AFTER: &str = "5";

/// What the browser may do with the content: nothing. It is of unknown origin, and our page is on
/// the same site.
const CONTENT_POLICY: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";

/// Content that can be downloaded over HTTP.
#[derive(Debug, Clone)]
pub struct DownloadSource {
    store: SharedStore,
    tree: Arc<FileTree>,
    condition: ContentCondition,
    up_limit: RateLimit,
    places: NetworkPlaces,
    sent: Arc<AtomicU64>,
}

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) addr: IpAddr,
    pub(super) activity: Option<Arc<Activity>>,
}

/// A file that is sent.
#[derive(Debug, Clone)]
struct Sent {
    name: String,
    range: Range<u64>,
    etag: HeaderValue,
}

impl DownloadSource {
    /// The content `info` in `store`, which is served while `condition` allows it, under a limit.
    pub fn new(
        info: Arc<Info>,
        info_hash: InfoHash,
        store: impl Into<SharedStore>,
        condition: ContentCondition,
        up_limit: RateLimit,
    ) -> Self {
        let (store, tree) = (store.into(), Arc::new(FileTree::new(info, info_hash)));
        let places = NetworkPlaces::new(MAX_DOWNLOADS, MAX_DOWNLOADS_PER_NETWORK);
        Self { store, tree, condition, up_limit, places, sent: Arc::default() }
    }

    /// The same, at its info-hash, because other content has its name already.
    #[must_use]
    pub fn under_its_info_hash(self) -> Self {
        let tree = (*self.tree).clone().with_taken_name();
        Self { tree: Arc::new(tree), ..self }
    }

    /// The path of the content on this server.
    pub fn path(&self) -> String {
        self.tree.url_path()
    }

    /// The number of downloads in progress, and the bytes that all downloads have sent.
    pub fn usage(&self) -> (usize, u64) {
        (self.places.taken(), self.sent.load(Ordering::Relaxed))
    }

    /// Answers a request for the content, or for a path in its folder. `path`: `None` without a
    /// slash behind the name.
    pub(super) fn answer(
        &self,
        path: Option<&str>,
        (method, headers): (&Method, &HeaderMap),
        page: Page<'_>,
        client: Client,
    ) -> Response {
        if let Some((status, reason)) = self.condition.refusal() {
            return refusal(status, &reason);
        }
        match self.tree.find(path) {
            Some(Found::File { name, range, etag }) => {
                self.send(Sent { name, range, etag }, method, headers, client)
            }
            Some(Found::Folder { prefix }) if page.has_slash => {
                listing::answer(&self.tree, &prefix, headers, &page)
            }
            Some(Found::Folder { .. }) => page.redirect_to_folder(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn send(&self, file: Sent, method: &Method, headers: &HeaderMap, client: Client) -> Response {
        let length = file.range.end - file.range.start;
        let validators = [
            (header::ETAG, file.etag.clone()),
            // It may be another file under this name tomorrow.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        if !is_matched(headers, &file.etag) {
            return (StatusCode::PRECONDITION_FAILED, validators).into_response();
        }
        if is_current(headers, &file.etag) {
            return (StatusCode::NOT_MODIFIED, validators).into_response();
        }
        let selected = match *method {
            Method::GET => select(headers, &file.etag, length),
            _ => Selection::Whole,
        };
        let parts = match selected {
            Selection::Unsatisfiable => {
                let range = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
                let refused = StatusCode::RANGE_NOT_SATISFIABLE;
                return (refused, range, validators).into_response();
            }
            Selection::Whole => Parts::whole(length),
            Selection::Part(part) => Parts::one(part, length),
            Selection::Parts(parts) => Parts::several(&parts, length),
        };
        let body = if *method == Method::HEAD {
            Body::empty()
        } else {
            let sections = parts.sections.into_iter().map(|Section { head, range: part }| {
                let start = file.range.start;
                Section { head, range: start + part.start..start + part.end }
            });
            match self.body(sections.collect(), client) {
                Some(body) => body,
                None => return crowded(),
            }
        };
        let mut response = (parts.status, validators, body).into_response();
        let head = response.headers_mut();
        describe(head, &file.name, parts.length);
        for (name, value) in parts.headers {
            head.insert(name, value);
        }
        response
    }

    /// The bytes of sections; `None` when there is no place for another download.
    fn body(&self, sections: Vec<Section>, client: Client) -> Option<Body> {
        if sections.iter().all(|section| section.range.is_empty()) {
            return Some(Body::empty());
        }
        let place = self.places.take_for(client.addr, client.activity.clone())?;
        let network = network_of(client.addr);
        let flow = Flow { service: Service::ClientServer, network, rank: 0 };
        let bulk = client.activity.as_ref().map(|activity| activity.bulk());
        let limit = (Arc::clone(&self.up_limit.0), flow);
        let condition = self.condition.clone();
        let reader = FileReader::new(self.store.clone(), sections, condition, limit);
        Some(Body::from_stream(reader.into_stream(Arc::clone(&self.sent), (place, bulk))))
    }
}

/// The headers that describe a file or a part of it.
fn describe(head: &mut axum::http::HeaderMap, name: &str, length: u64) {
    let octets = HeaderValue::from_static("application/octet-stream");
    head.insert(header::CONTENT_TYPE, octets);
    head.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(header::CONTENT_DISPOSITION, disposition::attachment(name));
    head.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    let head = [
        (header::CACHE_CONTROL, "no-store"),
        (header::RETRY_AFTER, RETRY_AFTER),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    ];
    (status, head, format!("{reason}\n")).into_response()
}

fn crowded() -> Response {
    let reason = "As many downloads as this machine allows are in progress: try again, or use \
                  `sow get` or any BitTorrent program, which share the load.";
    refusal(StatusCode::SERVICE_UNAVAILABLE, reason)
}

//! What the answers of a port are made of, and what they have in common.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    extract::Query,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use sow_content::InfoHash;
use sow_node::{
    NetworkPlaces,
    index::{SharedContent, SharedContents},
    is_foreign_page,
};

use super::{
    board::{Board, ShareInfo},
    cached::Cached,
};

/// Pages that are updated at a time. The others ask for `/status` every few seconds.
const MAX_WATCHERS: usize = 64;

/// Those of one network, because a class may sit behind one address.
const MAX_WATCHERS_PER_NETWORK: usize = MAX_WATCHERS / 4 * 3;

/// What a port answers. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Web(pub(super) Arc<Shared>);

/// See [`Web`].
#[derive(Debug)]
pub(super) struct Shared {
    boards: RwLock<Vec<Arc<Board>>>,
    pub(super) contents: SharedContents,
    pub(super) started: Instant,
    pub(super) watchers: NetworkPlaces,
    pub(super) requests: RequestCounts,
    pub(super) status: Cached,
    pub(super) shares: Cached,
    pub(super) metrics: Cached,
}

/// Which share a request is about.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ShareQuery {
    /// The info-hash; the first share without it.
    share: Option<String>,
}

/// Requests by what they were for.
#[derive(Debug, Default)]
pub(super) struct RequestCounts {
    pub(super) events: Count,
    pub(super) health: Count,
    pub(super) metrics: Count,
    pub(super) status: Count,
}

/// A counter.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Web {
    /// Nothing is shared yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            boards: RwLock::default(),
            contents: SharedContents::default(),
            started: Instant::now(),
            watchers: NetworkPlaces::new(MAX_WATCHERS, MAX_WATCHERS_PER_NETWORK),
            requests: RequestCounts::default(),
            status: Cached::default(),
            shares: Cached::default(),
            metrics: Cached::default(),
        }))
    }

    /// Adds a share, and its entry in the index.
    pub(crate) fn add(&self, share: ShareInfo, entry: SharedContent) -> Arc<Board> {
        let board = Arc::new(Board::new(share));
        self.0.contents.add(entry);
        let mut boards = self.0.boards.write().unwrap_or_else(PoisonError::into_inner);
        boards.push(Arc::clone(&board));
        board
    }

    /// Whether a share has this name.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.boards().iter().any(|board| board.info().name == name)
    }

    /// Removes a share.
    pub(crate) fn remove(&self, info_hash: InfoHash) {
        self.0.contents.remove(info_hash);
        let mut boards = self.0.boards.write().unwrap_or_else(PoisonError::into_inner);
        boards.retain(|board| board.info().info_hash != info_hash);
    }

    pub(super) fn boards(&self) -> Vec<Arc<Board>> {
        self.0.boards.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The share that a request is about.
    pub(super) fn board(&self, query: &ShareQuery) -> Option<Arc<Board>> {
        let boards = self.boards();
        match &query.share {
            None => boards.into_iter().next(),
            Some(hash) => boards.into_iter().find(|board| board.info_hash() == *hash),
        }
    }
}

/// The refusal of a request that a page of another site makes.
pub(super) fn refuse_foreign_page(headers: &HeaderMap) -> Option<Response> {
    let text = "not for pages of other sites\n";
    is_foreign_page(headers).then(|| (StatusCode::FORBIDDEN, text).into_response())
}

/// The query parameters of a request, for handlers.
pub(super) type ShareParameter = Query<ShareQuery>;

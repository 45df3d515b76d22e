//! Whether the files that are shared are still what was hashed. Looking at them is cheap and done
//! often; when one looks different, the content that the store serves is hashed again, because a
//! file that was touched, linked or replaced by name may still be served rightly.

use std::{sync::Arc, time::Duration};

use sow_content::{
    Info,
    hash::{Md5, sha1},
};
use sow_node::ContentCondition;
use sow_store::{ContentPlan, Store, StoreError};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use crate::{exit::chain, report::Report};

/// The minimum interval between two checks whether the files have changed.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The minimum ratio of the interval between two checks to the duration of a check.
const FILE_CHECK_COST: u32 = 50;

/// The files that are shared, and how they are recognized.
#[derive(Clone)]
pub(crate) struct SharedFiles {
    pub(crate) plan: Arc<ContentPlan>,
    pub(crate) store: Arc<Store>,
    pub(crate) info: Arc<Info>,
    /// The MD5 of the content, where there are no piece hashes.
    pub(crate) md5: Option<[u8; 16]>,
    /// What is known of them, for clients of HTTP.
    pub(crate) condition: ContentCondition,
}

/// Shared content that is no longer right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentLost {
    /// For the user of this machine: the path, and what happened.
    pub(crate) message: String,
    /// For receivers: without the folders of the path.
    pub(crate) reason: String,
}

impl SharedFiles {
    /// Returns when the content that is served is no longer what was hashed.
    pub(super) async fn lost(self, report: &Report) -> ContentLost {
        let mut accepted = self.plan.stamps().clone();
        let mut interval = FILE_CHECK_INTERVAL;
        loop {
            sleep(interval).await;
            let began = Instant::now();
            let plan = Arc::clone(&self.plan);
            let stamps = blocking(move || plan.examine()).await;
            // Checking a million files takes long.
            interval = FILE_CHECK_INTERVAL.max(began.elapsed() * FILE_CHECK_COST);
            let Some((path, change)) = self.plan.first_difference(&accepted, &stamps) else {
                self.condition.confirm(began);
                continue;
            };
            self.condition.check();
            let files = self.clone();
            match blocking(move || files.is_right()).await {
                Ok(true) => {
                    self.condition.confirm(began);
                    report.warn(format_args!(
                        "{} {change}, but the bytes that are shared are still there; sharing \
                         continues",
                        path.display()
                    ));
                }
                Ok(false) => return ContentLost::new(&path, change),
                Err(error) => {
                    tracing::info!(error = chain(&error), "shared content cannot be read again");
                    return ContentLost::new(&path, change);
                }
            }
            accepted = stamps;
        }
    }

    /// Whether the store serves the content that was hashed. Blocks.
    pub(crate) fn is_right(&self) -> Result<bool, StoreError> {
        let geometry = self.info.geometry;
        // A file that was cut is noticed at once.
        if let Some(last) = geometry.total().checked_sub(1) {
            self.store.read(last..last + 1, &mut [0])?;
        }
        let (mut buffer, mut md5) = (Vec::new(), Md5::new());
        for piece in 0..geometry.pieces() {
            let range = geometry.range_of(piece);
            buffer.resize((range.end - range.start) as usize, 0);
            self.store.read(range, &mut buffer)?;
            match self.info.piece_hashes.get(piece as usize) {
                Some(hash) if sha1(&buffer) != *hash => return Ok(false),
                Some(_) => {}
                None => md5.update(&buffer),
            }
        }
        Ok(self.info.has_hashes() || self.md5 == Some(md5.finish()))
    }
}

impl ContentLost {
    /// What happened to a path, such as "was changed".
    pub(crate) fn new(path: &std::path::Path, change: &str) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self {
            message: format!("{} {change} while it was shared", path.display()),
            reason: format!("{name} {change} while it was shared"),
        }
    }

    /// Content that could not be read for a peer. The peers know that already.
    pub(super) fn unreadable(error: &StoreError) -> Self {
        let message = chain(error);
        Self { reason: message.clone(), message }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

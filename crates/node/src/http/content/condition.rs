//! Whether content may be served: what its owner knows about the files on the disk.

use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// How much older the times of files are than the clock at most: a tick of the kernel.
const FILE_TIME_LAG: Duration = Duration::from_millis(20);

/// How long a download waits for the next check of the files.
const CHECK_TIMEOUT: Duration = Duration::from_secs(120);

/// Whether the shared files are still what was hashed. Clones share the same knowledge.
#[derive(Debug, Clone)]
pub struct ContentCondition(watch::Sender<Knowledge>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Knowledge {
    state: State,
    /// When the last check began that found the files right.
    checked: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Right,
    Checking,
    Lost(String),
}

impl Default for ContentCondition {
    /// Files that are right at this moment.
    fn default() -> Self {
        Self(watch::Sender::new(Knowledge { state: State::Right, checked: Instant::now() }))
    }
}

impl ContentCondition {
    /// The files look different and are hashed again. Downloads wait.
    pub fn check(&self) {
        self.set(State::Checking, None);
    }

    /// The files are what was hashed: a check says so that began at this time.
    pub fn confirm(&self, began: Instant) {
        self.set(State::Right, Some(began));
    }

    /// The files are not what was hashed, for this reason. Downloads are cut off.
    pub fn withdraw(&self, reason: impl Into<String>) {
        self.set(State::Lost(reason.into()), None);
    }

    /// Why the content is not served at the moment.
    pub fn reason(&self) -> Option<String> {
        self.refusal().map(|(_, reason)| reason)
    }

    /// Whether the content is lost for good.
    pub fn is_lost(&self) -> bool {
        matches!(self.0.borrow().state, State::Lost(_))
    }

    /// The status and the reason of a refusal, if the content is not served at the moment.
    pub(super) fn refusal(&self) -> Option<(StatusCode, String)> {
        match &self.0.borrow().state {
            State::Right => None,
            State::Checking => Some((
                StatusCode::SERVICE_UNAVAILABLE,
                "The file was touched while it was shared, and is being checked.".to_owned(),
            )),
            State::Lost(reason) => {
                Some((StatusCode::GONE, format!("{reason}, so it is no longer shared.")))
            }
        }
    }

    /// Waits while the files are being checked. Returns whether they may be served.
    pub(super) async fn is_right(&self) -> bool {
        let mut known = self.0.subscribe();
        let settled = known.wait_for(|known| known.state != State::Checking).await;
        settled.is_ok_and(|known| known.state == State::Right)
    }

    /// The same for a file that was changed at this time, by the clock of its file system: if no
    /// check has seen the change, it waits for the next one.
    pub(super) async fn is_right_since(&self, changed: SystemTime) -> bool {
        let checked = self.0.borrow().checked;
        let checked = SystemTime::now().checked_sub(checked.elapsed());
        let is_seen = checked.zip(changed.checked_add(FILE_TIME_LAG));
        if is_seen.is_some_and(|(checked, changed)| changed < checked) {
            return self.is_right().await;
        }
        let now = Instant::now();
        let mut known = self.0.subscribe();
        let is_settled =
            |known: &Knowledge| known.checked >= now || matches!(known.state, State::Lost(_));
        let is_in_time = timeout(CHECK_TIMEOUT, known.wait_for(is_settled)).await.is_ok();
        is_in_time && self.is_right().await
    }

    /// A state that is lost stays so.
    fn set(&self, state: State, checked: Option<Instant>) {
        self.0.send_if_modified(|known| {
            let new = Knowledge { state, checked: checked.unwrap_or(known.checked) };
            let is_new = *known != new && !matches!(known.state, State::Lost(_));
            if is_new {
                *known = new;
            }
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lost_content_stays_lost() {
        let condition = ContentCondition::default();
        assert!(condition.is_right().await && condition.refusal().is_none());
        condition.check();
        assert_eq!(condition.refusal().unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
        condition.confirm(Instant::now());
        assert!(condition.is_right().await);
        condition.withdraw("a.iso has changed while it was shared");
        condition.confirm(Instant::now());
        assert!(condition.is_lost() && !condition.is_right().await);
        let (status, reason) = condition.refusal().unwrap();
        assert_eq!(status, StatusCode::GONE);
        assert!(reason.starts_with("a.iso has changed"), "{reason}");
    }

    #[tokio::test]
    async fn a_change_that_no_check_has_seen_is_waited_for() {
        let condition = ContentCondition::default();
        let old = SystemTime::now() - Duration::from_secs(60);
        assert!(condition.is_right_since(old).await);
        let waiting = |changed| {
            let condition = condition.clone();
            tokio::spawn(async move { condition.is_right_since(changed).await })
        };
        // The clock of another machine may be ahead by any time.
        for ahead in [0, 100_000] {
            let waiting = waiting(SystemTime::now() + Duration::from_secs(ahead));
            tokio::task::yield_now().await;
            condition.confirm(Instant::now() - Duration::from_secs(1));
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished(), "that check began too early");
            condition.confirm(Instant::now());
            assert!(waiting.await.unwrap());
        }
        let waiting = waiting(SystemTime::now());
        tokio::task::yield_now().await;
        condition.check();
        condition.withdraw("a.iso has changed");
        assert!(!waiting.await.unwrap());
    }
}

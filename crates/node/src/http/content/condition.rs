//! Whether content may be served: what its owner knows about the files on the disk.

use axum::http::StatusCode;
use tokio::sync::watch;

/// Whether the shared files are still what was hashed. Clones share the same state.
#[derive(Debug, Clone)]
pub struct ContentCondition(watch::Sender<State>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Right,
    Checking,
    Lost(String),
}

impl Default for ContentCondition {
    fn default() -> Self {
        Self(watch::Sender::new(State::Right))
    }
}

impl ContentCondition {
    /// The files look different and are hashed again. Downloads wait.
    pub fn check(&self) {
        self.set(State::Checking);
    }

    /// The files are what was hashed.
    pub fn confirm(&self) {
        self.set(State::Right);
    }

    /// The files are not what was hashed, for this reason. Downloads are cut off.
    pub fn withdraw(&self, reason: impl Into<String>) {
        self.set(State::Lost(reason.into()));
    }

    /// Why the content is not served at the moment.
    pub fn reason(&self) -> Option<String> {
        self.refusal().map(|(_, reason)| reason)
    }

    /// Whether the content is lost for good.
    pub fn is_lost(&self) -> bool {
        matches!(*self.0.borrow(), State::Lost(_))
    }

    /// The status and the reason of a refusal, if the content is not served at the moment.
    pub(super) fn refusal(&self) -> Option<(StatusCode, String)> {
        match &*self.0.borrow() {
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
        let mut state = self.0.subscribe();
        let settled = state.wait_for(|state| *state != State::Checking).await;
        settled.is_ok_and(|state| *state == State::Right)
    }

    /// A state that is lost stays so.
    fn set(&self, new: State) {
        self.0.send_if_modified(|state| {
            let is_new = *state != new && !matches!(state, State::Lost(_));
            if is_new {
                *state = new;
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
        condition.confirm();
        assert!(condition.is_right().await);
        condition.withdraw("a.iso has changed while it was shared");
        condition.confirm();
        assert!(condition.is_lost() && !condition.is_right().await);
        let (status, reason) = condition.refusal().unwrap();
        assert_eq!(status, StatusCode::GONE);
        assert!(reason.starts_with("a.iso has changed"), "{reason}");
    }
}

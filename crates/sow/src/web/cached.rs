//! An answer that is made at most a few times a second, however often it is asked for.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

/// How old an answer may be.
const MAX_AGE: Duration = Duration::from_millis(250);

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct Cached(Mutex<Option<(Instant, Bytes)>>);

impl Cached {
    /// The last answer, or a new one if that is too old. Others wait while it is made.
    pub(super) fn get(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((made, answer)) if made.elapsed() < MAX_AGE => answer.clone(),
            _ => {
                let began = Instant::now();
                let answer = make();
                *last = Some((began, answer.clone()));
                answer
            }
        }
    }

    /// Forgets the last answer.
    pub(super) fn clear(&mut self) {
        *self.0.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_made_once_for_many_requests() {
        let (mut cached, mut made) = (Cached::default(), 0);
        let mut get = |cached: &Cached| {
            cached.get(|| {
                made += 1;
                Bytes::from(made.to_string())
            })
        };
        let first = get(&cached);
        assert_eq!((&*get(&cached), &*get(&cached)), (&*first, &*first));
        cached.clear();
        assert_eq!(&*get(&cached), b"2");
    }
}

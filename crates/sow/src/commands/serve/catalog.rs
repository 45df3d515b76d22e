//! What is known of each path that is to be shared: how it looks, since when, and what of it is
//! shared. What was found goes in, what follows from it comes out; nothing is read or hashed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sow_content::InfoHash;
use sow_store::{ContentPlan, FileStamps};
use tokio::time::Instant;

use super::scanner::Round;

/// What is known of all paths.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// How its files look, and since when.
    seen: Option<(FileStamps, Instant)>,
    work: Work,
    /// What of it is shared.
    shared: Option<InfoHash>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    /// It was changed a moment ago.
    Settling,
    /// It is being recalled or hashed.
    Preparing,
    /// It is shared as it looks.
    Done,
    /// It is the same content as another path.
    SameAs(InfoHash),
    /// It cannot be shared, for this reason.
    Rejected(String),
}

/// What follows from a round.
#[derive(Debug)]
pub(super) enum Action {
    /// Recall or hash it.
    Prepare(Box<ContentPlan>),
    /// It is as it was hashed.
    Confirm(InfoHash),
    /// A file of it was changed, replaced or touched.
    Suspect(InfoHash, PathBuf, &'static str),
    /// It is shared no more: a file of it cannot be read any more, or its path is no longer named.
    Withdraw(InfoHash, PathBuf, &'static str),
    /// It is not there any more.
    Forget(PathBuf),
    /// Tell the user.
    Warn(String),
}

/// What follows from content that was recalled or hashed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has changed meanwhile, or is gone.
    Stale,
    /// Share it, in place of what was shared of the path before.
    Share { instead_of: Option<InfoHash> },
    /// It is the content that is shared already.
    Unchanged,
    /// Another path has the same content.
    SameAs(PathBuf),
}

/// How many paths are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CatalogCounts {
    pub(super) shared: usize,
    pub(super) preparing: usize,
    pub(super) settling: usize,
    pub(super) rejected: usize,
}

impl Catalog {
    /// Takes note of a round. Content is prepared when its files have not changed for the time
    /// `settle`.
    pub(super) fn observe(&mut self, round: Round, settle: Duration) -> Vec<Action> {
        let Round { found, unreadable, began, time } = round;
        let mut actions = Vec::new();
        let is_gone = |path: &PathBuf| {
            let is_unknown = path.parent().is_some_and(|folder| unreadable.contains_key(folder));
            !found.contains_key(path) && !is_unknown
        };
        let gone: Vec<PathBuf> =
            self.entries.keys().filter(|path| is_gone(path)).cloned().collect();
        for path in gone {
            if let Some(hash) = self.entries.remove(&path).and_then(|entry| entry.shared) {
                self.release(hash);
                let is_there = path.symlink_metadata().is_ok();
                let change = if is_there { "was taken off the list" } else { "was removed" };
                actions.push(Action::Withdraw(hash, path.clone(), change));
            }
            actions.push(Action::Forget(path));
        }
        for (path, found) in found {
            match found {
                Ok(plan) => self.on_found(path, plan, (began, time), settle, &mut actions),
                Err(reason) => self.on_rejected(path, reason, &mut actions),
            }
        }
        actions
    }

    fn on_found(
        &mut self,
        path: PathBuf,
        plan: ContentPlan,
        (began, time): (Instant, SystemTime),
        settle: Duration,
        actions: &mut Vec<Action>,
    ) {
        let entry = self.entries.entry(path).or_insert_with(Entry::new);
        let is_same = entry.seen.as_ref().is_some_and(|(stamps, _)| stamps == plan.stamps());
        if !is_same {
            if let (Some(hash), Some((before, _))) = (entry.shared, &entry.seen) {
                // A file that was added to a folder is no difference of the others.
                let difference = plan.first_difference(before, plan.stamps());
                let (path, change) =
                    difference.unwrap_or_else(|| (plan.path().to_owned(), "was changed"));
                actions.push(Action::Suspect(hash, path, change));
            }
            entry.seen = Some((plan.stamps().clone(), began));
            entry.work = Work::Settling;
        }
        let since = entry.seen.as_ref().map_or(began, |(_, since)| *since);
        let is_settled = began.duration_since(since) >= settle
            || plan.stamps().last_change().is_some_and(|last| last + settle <= time);
        match (&entry.work, entry.shared) {
            (Work::Settling, _) if is_settled => {
                entry.work = Work::Preparing;
                actions.push(Action::Prepare(Box::new(plan)));
            }
            (Work::Done, Some(hash)) => actions.push(Action::Confirm(hash)),
            _ => {}
        }
    }

    fn on_rejected(&mut self, path: PathBuf, reason: String, actions: &mut Vec<Action>) {
        let entry = self.entries.entry(path.clone()).or_insert_with(Entry::new);
        let work = Work::Rejected(reason.clone());
        if entry.work == work {
            return;
        }
        (entry.work, entry.seen) = (work, None);
        let shared = entry.shared.take();
        if let Some(hash) = shared {
            self.release(hash);
            actions.push(Action::Withdraw(hash, path, "cannot be read any more"));
        }
        actions.push(Action::Warn(reason));
    }

    /// Content of a path was recalled or hashed, as its files were in `plan`.
    pub(super) fn on_prepared(&mut self, plan: &ContentPlan, hash: InfoHash) -> Verdict {
        let holder = self.entries.iter().find(|(_, entry)| entry.shared == Some(hash));
        let holder = holder.map(|(path, _)| path.clone());
        let Some(entry) = self.entries.get_mut(plan.path()) else { return Verdict::Stale };
        if entry.work != Work::Preparing
            || entry.seen.as_ref().is_none_or(|(stamps, _)| stamps != plan.stamps())
        {
            return Verdict::Stale;
        }
        if entry.shared == Some(hash) {
            entry.work = Work::Done;
            return Verdict::Unchanged;
        }
        if let Some(other) = holder {
            entry.work = Work::SameAs(hash);
            return Verdict::SameAs(other);
        }
        entry.work = Work::Done;
        let instead_of = entry.shared.replace(hash);
        if let Some(old) = instead_of {
            self.release(old);
        }
        Verdict::Share { instead_of }
    }

    /// Content of a path could not be hashed. `reason` is `None` when it has changed meanwhile.
    /// Returns what was shared of the path before, if it cannot be shared any more.
    pub(super) fn on_unprepared(
        &mut self,
        path: &Path,
        reason: Option<String>,
    ) -> Option<InfoHash> {
        let entry = self.entries.get_mut(path)?;
        if entry.work != Work::Preparing {
            return None;
        }
        let Some(reason) = reason else {
            entry.work = Work::Settling;
            return None;
        };
        entry.work = Work::Rejected(reason);
        entry.shared
    }

    /// What is shared of a path is withdrawn. The path is prepared anew when it has settled.
    pub(super) fn on_withdrawn(&mut self, hash: InfoHash) {
        for entry in self.entries.values_mut().filter(|entry| entry.shared == Some(hash)) {
            entry.shared = None;
            if entry.work == Work::Done {
                entry.work = Work::Settling;
            }
        }
        self.release(hash);
    }

    /// Content is shared no more: another path that has it may be shared.
    fn release(&mut self, hash: InfoHash) {
        let same = self.entries.values_mut().filter(|entry| entry.work == Work::SameAs(hash));
        same.for_each(|entry| entry.work = Work::Settling);
    }

    /// How many paths are in which state.
    pub(super) fn counts(&self) -> CatalogCounts {
        let mut counts = CatalogCounts::default();
        for entry in self.entries.values() {
            counts.shared += usize::from(entry.shared.is_some());
            match entry.work {
                Work::Preparing => counts.preparing += 1,
                Work::Settling => counts.settling += 1,
                Work::Rejected(_) => counts.rejected += 1,
                Work::Done | Work::SameAs(_) => {}
            }
        }
        counts
    }
}

impl Entry {
    fn new() -> Self {
        Self { seen: None, work: Work::Settling, shared: None }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sow_store::scan;

    use super::*;

    const SETTLE: Duration = Duration::from_secs(2);

    /// A round at a time; the clock of the files is far behind, so that only what was observed
    /// proves that a file is quiet.
    fn round(paths: &[&Path], at: Instant) -> Round {
        let found = |path: &&Path| {
            let found = scan(path).map_err(|error| error.to_string());
            (path.to_path_buf(), found)
        };
        let found = paths.iter().filter(|path| path.exists()).map(found).collect();
        Round { found, unreadable: BTreeMap::new(), began: at, time: SystemTime::UNIX_EPOCH }
    }

    fn names(actions: &[Action]) -> Vec<&'static str> {
        let name = |action: &Action| match action {
            Action::Prepare(_) => "prepare",
            Action::Confirm(_) => "confirm",
            Action::Suspect(_, _, change) | Action::Withdraw(_, _, change) => *change,
            Action::Forget(_) => "forget",
            Action::Warn(_) => "warn",
        };
        actions.iter().map(name).collect()
    }

    const A: InfoHash = InfoHash([1; 20]);
    const B: InfoHash = InfoHash([2; 20]);

    #[test]
    fn a_file_is_prepared_when_it_is_quiet_and_shared_anew_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let (mut catalog, start) = (Catalog::default(), Instant::now());
        let look = |catalog: &mut Catalog, seconds| {
            let round = round(&[&path], start + Duration::from_secs(seconds));
            catalog.observe(round, SETTLE)
        };
        assert!(look(&mut catalog, 0).is_empty());
        fs::write(&path, "one, two").unwrap();
        assert!(look(&mut catalog, 2).is_empty(), "it is being written");
        assert!(look(&mut catalog, 3).is_empty());
        assert_eq!(names(&look(&mut catalog, 4)), ["prepare"]);
        assert!(look(&mut catalog, 5).is_empty(), "it is hashed once");
        let plan = scan(&path).unwrap();
        assert_eq!(catalog.on_prepared(&plan, A), Verdict::Share { instead_of: None });
        assert_eq!(names(&look(&mut catalog, 6)), ["confirm"]);
        fs::write(&path, "three").unwrap();
        assert_eq!(names(&look(&mut catalog, 7)), ["was changed"]);
        assert_eq!(catalog.on_prepared(&plan, A), Verdict::Stale);
        assert_eq!(names(&look(&mut catalog, 9)), ["prepare"]);
        let plan = scan(&path).unwrap();
        assert_eq!(catalog.on_prepared(&plan, B), Verdict::Share { instead_of: Some(A) });
        fs::remove_file(&path).unwrap();
        assert_eq!(names(&look(&mut catalog, 10)), ["was removed", "forget"]);
        assert_eq!(catalog.counts(), CatalogCounts::default());
    }

    #[test]
    fn a_file_with_an_old_change_is_prepared_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let mut catalog = Catalog::default();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        let round = Round { time, ..round(&[&path], Instant::now()) };
        assert_eq!(names(&catalog.observe(round, SETTLE)), ["prepare"]);
        assert_eq!(catalog.on_unprepared(&path, Some("no".to_owned())), None);
        assert_eq!(catalog.counts().rejected, 1);
    }

    #[test]
    fn the_second_path_with_the_same_content_takes_over() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&first, "same").unwrap();
        fs::write(&second, "same").unwrap();
        let (mut catalog, start) = (Catalog::default(), Instant::now());
        let look = |catalog: &mut Catalog, seconds| {
            let round = round(&[&first, &second], start + Duration::from_secs(seconds));
            catalog.observe(round, SETTLE)
        };
        look(&mut catalog, 0);
        assert_eq!(names(&look(&mut catalog, 2)), ["prepare", "prepare"]);
        let (one, two) = (scan(&first).unwrap(), scan(&second).unwrap());
        assert_eq!(catalog.on_prepared(&one, A), Verdict::Share { instead_of: None });
        assert_eq!(catalog.on_prepared(&two, A), Verdict::SameAs(first.clone()));
        assert_eq!(names(&look(&mut catalog, 3)), ["confirm"]);
        fs::remove_file(&first).unwrap();
        assert_eq!(names(&look(&mut catalog, 4)), ["was removed", "forget", "prepare"]);
        assert_eq!(catalog.on_prepared(&two, A), Verdict::Share { instead_of: None });
    }

    #[test]
    fn what_cannot_be_shared_is_said_once_and_an_unreadable_folder_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let (mut catalog, start) = (Catalog::default(), Instant::now());
        catalog.observe(round(&[&path], start), SETTLE);
        catalog.observe(round(&[&path], start + SETTLE), SETTLE);
        catalog.on_prepared(&scan(&path).unwrap(), A);
        let mut unreadable = round(&[], start + 2 * SETTLE);
        unreadable.unreadable.insert(folder.path().to_owned(), "no permission".to_owned());
        assert!(catalog.observe(unreadable, SETTLE).is_empty());
        let rejected = |catalog: &mut Catalog| {
            let mut round = round(&[], start + 3 * SETTLE);
            round.found.insert(path.clone(), Err("no permission".to_owned()));
            names(&catalog.observe(round, SETTLE))
        };
        assert_eq!(rejected(&mut catalog), ["cannot be read any more", "warn"]);
        assert!(rejected(&mut catalog).is_empty());
    }
}

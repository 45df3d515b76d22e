//! The store of content that is shared: kept open, or opened when it is read and closed when no
//! reader is left, so that any number of shares needs no open file. Nothing is hashed here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sow_content::Info;

use crate::{disk_store::DiskStore, error::StoreError, scan::ContentPlan, store::Store};

/// The store of content that is shared. Clones share it.
#[derive(Debug, Clone)]
pub struct SharedStore(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Open(Arc<Store>),
    OnDemand(Arc<OnDemand>),
}

#[derive(Debug)]
struct OnDemand {
    info: Arc<Info>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plan: ContentPlan,
    open: Weak<Store>,
}

impl SharedStore {
    /// Content on the disk that is open only while it is read. `plan` is how its files were found
    /// when they were hashed.
    pub fn on_demand(info: Arc<Info>, plan: ContentPlan) -> Self {
        let state = Mutex::new(State { plan, open: Weak::new() });
        Self(Kind::OnDemand(Arc::new(OnDemand { info, state })))
    }

    /// The files were hashed again, and have the same content: they are now as in `plan`.
    pub fn renew(&self, plan: ContentPlan) {
        if let Kind::OnDemand(on_demand) = &self.0 {
            // What is open may be a file that was replaced since.
            *on_demand.state() = State { plan, open: Weak::new() };
        }
    }

    /// The store. It stays open as long as it is held. Blocks.
    ///
    /// # Errors
    /// When the files cannot be opened, or are not as they were found.
    pub fn open(&self) -> Result<Arc<Store>, StoreError> {
        match &self.0 {
            Kind::Open(store) => Ok(Arc::clone(store)),
            Kind::OnDemand(on_demand) => on_demand.open(),
        }
    }
}

impl From<Arc<Store>> for SharedStore {
    fn from(store: Arc<Store>) -> Self {
        Self(Kind::Open(store))
    }
}

impl OnDemand {
    fn open(&self) -> Result<Arc<Store>, StoreError> {
        let mut state = self.state();
        if let Some(store) = state.open.upgrade() {
            return Ok(store);
        }
        let plan = &state.plan;
        let store = DiskStore::serve(&self.info, plan.path())?;
        // After opening, so that what is open is what was hashed.
        if let Some((path, _)) = plan.first_difference(plan.stamps(), &plan.examine()) {
            return Err(StoreError::Changed { path, expected: plan.total() });
        }
        let store = Arc::new(Store::from(store));
        state.open = Arc::downgrade(&store);
        Ok(store)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::atomic::AtomicBool};

    use sow_content::Geometry;

    use super::*;
    use crate::{hash_content, scan};

    fn open_files() -> usize {
        let folder = fs::read_dir("/proc/self/fd").unwrap();
        let paths = folder.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        paths.filter(|path| path.ends_with("on-demand.bin")).count()
    }

    #[test]
    fn files_are_open_while_they_are_read_and_only_as_they_were_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("on-demand.bin");
        fs::write(&path, [7; 50_000]).unwrap();
        let plan = scan(&path).unwrap();
        let never = AtomicBool::new(false);
        let hashes = hash_content(&plan, 16 << 10, 1, &|_| {}, &never).unwrap();
        let geometry = Geometry::new(plan.total(), 16 << 10).unwrap();
        let files = plan.files().clone();
        let info = Info::from_parts(plan.name(), geometry, files, hashes, false).unwrap();
        let shared = SharedStore::on_demand(Arc::new(info), plan);
        assert_eq!(open_files(), 0);
        let (first, second) = (shared.open().unwrap(), shared.clone().open().unwrap());
        assert!(Arc::ptr_eq(&first, &second) && open_files() == 1);
        drop((first, second));
        assert_eq!(open_files(), 0);
        fs::write(folder.path().join("other"), [8; 50_000]).unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(matches!(shared.open(), Err(StoreError::Changed { .. })));
        shared.renew(scan(&path).unwrap());
        assert!(shared.open().is_ok(), "as it was hashed again");
        fs::remove_file(&path).unwrap();
        assert!(shared.open().is_err());
        assert_eq!(open_files(), 0);
    }
}

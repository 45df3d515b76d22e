//! A cache of open files by number, which closes the least recently used file first. With it a
//! folder of any number of files works with a small limit of open files. It knows nothing of their
//! contents.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Resource, getrlimit};

/// Files that stay open for their next use. A file that the cache drops stays open as long as
/// another owner holds it.
#[derive(Debug)]
pub(crate) struct HandleCache {
    capacity: usize,
    open: Mutex<OpenFiles>,
}

#[derive(Debug, Default)]
struct OpenFiles {
    files: BTreeMap<usize, Handle>,
    /// Counts the uses of all files.
    uses: u64,
}

#[derive(Debug)]
struct Handle {
    file: Arc<File>,
    last_use: u64,
}

impl HandleCache {
    /// Keeps up to `capacity` files open, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), open: Mutex::default() }
    }

    /// Keeps a quarter of the files open that this process may open. The rest is for sockets and
    /// for files that are being sent.
    pub(crate) fn within_process_limit() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::new((limit / 4).clamp(4, 512) as usize)
    }

    /// File number `index`, which `open` opens when it is not open yet. When there are no more file
    /// descriptors, the cache drops all files and tries once more.
    pub(crate) fn get(
        &self,
        index: usize,
        open: impl Fn() -> io::Result<File>,
    ) -> io::Result<Arc<File>> {
        if let Some(file) = self.find(index) {
            return Ok(file);
        }
        // Opening may wait for the disk, so it happens without the lock.
        let file = match open() {
            Err(error) if is_out_of_descriptors(&error) => {
                self.lock().files.clear();
                open()?
            }
            opened => opened?,
        };
        Ok(self.insert(index, Arc::new(file)))
    }

    fn find(&self, index: usize) -> Option<Arc<File>> {
        let mut open = self.lock();
        open.uses += 1;
        let this_use = open.uses;
        let handle = open.files.get_mut(&index)?;
        handle.last_use = this_use;
        Some(handle.file.clone())
    }

    fn insert(&self, index: usize, file: Arc<File>) -> Arc<File> {
        let mut open = self.lock();
        while open.files.len() >= self.capacity {
            let Some(oldest) = open
                .files
                .iter()
                .min_by_key(|(_, handle)| handle.last_use)
                .map(|(index, _)| *index)
            else {
                break;
            };
            open.files.remove(&oldest);
        }
        let last_use = open.uses;
        open.files.insert(index, Handle { file: file.clone(), last_use });
        file
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenFiles> {
        // A panic leaves nothing half changed here.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(
        rustix::io::Errno::from_io_error(error),
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_least_recently_used_file_is_closed_first() {
        let opened = Cell::new(0);
        let open = || {
            opened.set(opened.get() + 1);
            File::open("/dev/null")
        };
        let handles = HandleCache::new(2);
        for index in [0, 1, 0, 0, 1] {
            handles.get(index, open).unwrap();
        }
        assert_eq!(opened.get(), 2);
        handles.get(2, open).unwrap(); // closes 0
        handles.get(1, open).unwrap();
        assert_eq!(opened.get(), 3);
        handles.get(0, open).unwrap(); // closes 2
        assert_eq!(opened.get(), 4);
        assert_eq!(handles.lock().files.keys().copied().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn idle_files_are_closed_when_descriptors_run_out() {
        let handles = HandleCache::new(8);
        handles.get(0, || File::open("/dev/null")).unwrap();
        let tries = Cell::new(0);
        let file = handles.get(1, || {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                Err(rustix::io::Errno::MFILE.into())
            } else {
                File::open("/dev/null")
            }
        });
        assert!(file.is_ok());
        assert_eq!(handles.lock().files.keys().copied().collect::<Vec<_>>(), [1]);
    }
}

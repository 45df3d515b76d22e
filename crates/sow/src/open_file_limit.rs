//! The limit on open files and sockets of this process.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit to the maximum: many connections and folders with many files need more than the
/// usual 1,024. If this fails, the program works with fewer connections.
pub(crate) fn raise_to_maximum() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "cannot raise the limit on open files");
    }
}

//! How many files and sockets this process may have open. Nothing else of the process's
//! surroundings.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Allows as many as the system lets us: a crowd and a folder of many files need more than the
/// usual 1,024. Without it there are fewer connections, and that is all.
pub(crate) fn allow_many() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "cannot raise the number of open files");
    }
}

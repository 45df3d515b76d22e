//! Results on standard output, and what a failed write to it means: a closed pipe ends the run in
//! good order, and any other error is a failure of the disk, with the path of the file.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use crate::exit::{Exit, Failure, chain};

/// Writes a result and flushes it.
///
/// # Errors
/// When standard output is closed or cannot be written to.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    try_write(bytes).map_err(|error| failure(&error))
}

/// As [`write()`], with the error of the system.
pub(crate) fn try_write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Why standard output cannot be written to.
pub(crate) fn failure(error: &io::Error) -> Failure {
    let name = name();
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(
            Exit::Failed,
            "the reader of standard output has closed it before everything was written",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::new(Exit::Disk, format!("the disk of {name} is full: {}", chain(error)))
                .tip("free some space, or direct standard output to another disk")
        }
        _ => Failure::new(Exit::Disk, format!("cannot write to {name}: {}", chain(error))),
    }
}

/// "standard output", with the path of its file if it has one.
fn name() -> String {
    let path: Option<PathBuf> = std::fs::read_link("/proc/self/fd/1").ok();
    // A pipe or a socket has a text such as `pipe:[1234]`.
    match path.filter(|path| path.is_absolute()) {
        Some(path) => format!("standard output ({})", path.display()),
        None => "standard output".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_but_a_closed_pipe_is_one_of_the_disk() {
        for kind in [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
            io::ErrorKind::Other,
        ] {
            let failure = failure(&kind.into());
            assert_eq!(failure.exit(), Exit::Disk, "{kind:?}");
            assert!(failure.message().contains("standard output"), "{failure}");
        }
        assert_eq!(failure(&io::ErrorKind::BrokenPipe.into()).exit(), Exit::Failed);
    }
}

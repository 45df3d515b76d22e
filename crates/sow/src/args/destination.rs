//! The destination of a download as `-o` names it. What exists at the destination is checked in
//! [`crate::target`].

use std::path::PathBuf;

use crate::exit::Failure;

/// Where the bytes of a download go, as far as the command line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Under the content's own name into this folder, which exists.
    Folder(PathBuf),
    /// To exactly this path; nothing, or a file, exists there now.
    Path(PathBuf),
    /// To standard output.
    Stdout,
    /// To memory: only size, time and MD5 are reported.
    Memory,
}

impl Destination {
    /// The destination of content whose name is known: without `-o`, the current folder.
    ///
    /// # Errors
    /// When OUT is in a folder that does not exist.
    pub(super) fn of_named(out: Option<PathBuf>) -> Result<Self, Failure> {
        out.map_or_else(|| Ok(Self::Folder(PathBuf::from("."))), Self::parse)
    }

    /// The destination of a file that `protocol` sends without its name: without `-o`, memory.
    ///
    /// # Errors
    /// When OUT is a folder, is in a folder that does not exist, or standard output is needed for
    /// JSON events.
    pub(super) fn of_unnamed(
        out: Option<PathBuf>,
        protocol: &str,
        is_json: bool,
    ) -> Result<Self, Failure> {
        match out.map_or(Ok(Self::Memory), Self::parse)? {
            Self::Stdout if is_json => Err(stdout_conflict()),
            Self::Folder(folder) => Err(Failure::usage(format!(
                "{} is a folder, and {protocol} does not send the file's name",
                folder.display()
            ))
            .tip("name the file with -o")),
            destination => Ok(destination),
        }
    }

    fn parse(path: PathBuf) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        if path.is_dir() {
            return Ok(Self::Folder(path));
        }
        let missing = if path.as_os_str().to_string_lossy().ends_with('/') {
            Some(path.as_path())
        } else {
            path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir())
        };
        match missing {
            Some(folder) => {
                Err(Failure::usage(format!("the folder {} does not exist", folder.display()))
                    .tip(format!("mkdir -p '{}'", folder.display())))
            }
            None => Ok(Self::Path(path)),
        }
    }
}

/// `--json` and `-o -` on one command line.
pub(crate) fn stdout_conflict() -> Failure {
    Failure::usage("--json and -o - both write to standard output")
        .tip("write to a file, or omit --json")
}

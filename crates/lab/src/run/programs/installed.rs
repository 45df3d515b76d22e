//! Which programs of others this machine has, and in which versions.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{record::Missing, scenario::Mode};

/// Where servers are that an ordinary user's PATH leaves out.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Debian's Python, which has Debian's modules; another `python3` may come first in PATH.
pub(super) const PYTHON: &str = "/usr/bin/python3";
/// How long a program may take to say its version, in seconds.
const PATIENCE: &str = "20";
/// The longest version that is kept.
const LONGEST: usize = 80;

/// The path of a program, or its bare name if it is not there.
pub(super) fn path_of(program: &str) -> PathBuf {
    located(program).unwrap_or_else(|| PathBuf::from(program))
}

/// The paths of all programs that a mode needs, each given with the package of Debian's that has
/// it.
///
/// # Errors
/// Which are missing, and their packages.
pub(super) fn find<const N: usize>(
    mode: Mode,
    wanted: [(&str, &str); N],
) -> Result<[PathBuf; N], Missing> {
    let lacking: Vec<_> = wanted.iter().filter(|(program, _)| located(program).is_none()).collect();
    if lacking.is_empty() {
        return Ok(wanted.map(|(program, _)| path_of(program)));
    }
    let programs: Vec<_> = lacking.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = lacking.iter().map(|(_, package)| *package).collect();
    Err(missing(mode, &programs.join(" + "), &packages.join(" ")))
}

fn located(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// That a mode cannot be had.
pub(super) fn missing(mode: Mode, program: &str, package: &str) -> Missing {
    Missing {
        mode: mode.name().to_owned(),
        program: program.to_owned(),
        hint: Some(format!("apt install {package}")),
    }
}

/// The first line of what a program says of its version, wherever it says it; `None` when it fails.
pub(super) fn version(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("timeout");
    let output =
        command.arg(PATIENCE).arg(program).args(arguments.iter().map(OsStr::new)).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&said)
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())?
        .to_owned();
    output
        .status
        .success()
        .then(|| line.chars().filter(|c| !c.is_control()).take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_with_its_package() {
        assert!(find(Mode::Aria2, [("sh", "dash")]).unwrap()[0].is_absolute());
        let missing =
            find(Mode::Aria2, [("no-such-program", "aria2"), ("sh", "dash")]).unwrap_err();
        assert_eq!((&*missing.mode, &*missing.program), ("aria2", "no-such-program"));
        assert_eq!(missing.hint.as_deref(), Some("apt install aria2"));
        let both =
            find(Mode::NginxCurl, [("no-such-program", "one"), ("nor-this", "two")]).unwrap_err();
        assert_eq!(&*both.program, "no-such-program + nor-this");
        assert_eq!(both.hint.as_deref(), Some("apt install one two"));
    }

    #[test]
    fn versions_are_one_line_from_either_output() {
        let shell = Path::new("/bin/sh");
        assert_eq!(version(shell, &["-c", "echo; echo one 1.0 >&2; echo two"]).unwrap(), "two");
        assert_eq!(version(shell, &["-c", "echo one 1.0 >&2"]).unwrap(), "one 1.0");
        assert_eq!(version(shell, &["-c", "echo one; exit 1"]), None);
        assert_eq!(version(Path::new("/no/such"), &[]), None);
    }
}

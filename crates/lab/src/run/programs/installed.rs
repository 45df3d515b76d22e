//! Finds programs of others on this machine and their versions. How they are run is decided by
//! their adapters.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{record::Missing, scenario::Mode};

/// Folders with servers that an ordinary user's PATH does not include.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Debian's Python, which has Debian's modules; PATH may name another `python3` first.
pub(super) const PYTHON: &str = "/usr/bin/python3";
/// The time that a program gets to print its version, in seconds, as an argument of timeout(1).
const VERSION_TIMEOUT_SECONDS: &str = "20";
/// The limit of a version in characters.
const MAX_VERSION_CHARS: usize = 80;

/// The path of a program, or its bare name if it is not installed.
pub(super) fn path_of(program: &str) -> PathBuf {
    locate(program).unwrap_or_else(|| PathBuf::from(program))
}

/// The paths of all programs that a mode needs. Each is given with its Debian package.
///
/// # Errors
/// The missing programs and their packages.
pub(super) fn find<const N: usize>(
    mode: Mode,
    wanted: [(&str, &str); N],
) -> Result<[PathBuf; N], Missing> {
    let lacking: Vec<_> = wanted.iter().filter(|(program, _)| locate(program).is_none()).collect();
    if lacking.is_empty() {
        return Ok(wanted.map(|(program, _)| path_of(program)));
    }
    let programs: Vec<_> = lacking.iter().map(|(program, _)| *program).collect();
    let mut packages: Vec<_> = lacking.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    Err(missing(mode, &programs.join(" + "), &packages.join(" ")))
}

fn locate(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The record of a mode whose program is not installed.
pub(super) fn missing(mode: Mode, program: &str, package: &str) -> Missing {
    Missing {
        mode: mode.id().to_owned(),
        program: program.to_owned(),
        hint: Some(format!("apt install {package}")),
    }
}

/// The version of a Debian package, for programs that do not print theirs; `None` when it is not
/// known.
pub(super) fn package_version(package: &str) -> Option<String> {
    version(Path::new("dpkg-query"), &["--show", "--showformat=${Version}\n", package])
}

/// The first line that a program prints about its version, on either output; `None` when it fails.
pub(super) fn version(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("timeout");
    let output = command
        .arg(VERSION_TIMEOUT_SECONDS)
        .arg(program)
        .args(arguments.iter().map(OsStr::new))
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text)
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())?
        .to_owned();
    output
        .status
        .success()
        .then(|| line.chars().filter(|c| !c.is_control()).take(MAX_VERSION_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
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
    fn a_version_is_one_line_from_either_output() {
        let shell = Path::new("/bin/sh");
        assert_eq!(version(shell, &["-c", "echo; echo one 1.0 >&2; echo two"]).unwrap(), "two");
        assert_eq!(version(shell, &["-c", "echo one 1.0 >&2"]).unwrap(), "one 1.0");
        assert_eq!(version(shell, &["-c", "echo one; exit 1"]), None);
        assert_eq!(version(Path::new("/no/such"), &[]), None);
    }
}

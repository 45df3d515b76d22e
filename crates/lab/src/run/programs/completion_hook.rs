//! A script for programs that run a command when a download is complete. It prints the event
//! `complete`, as `sow` does, on an output of the program.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::{ProgramContext, ProgramError, context::write_file};

/// Where the script prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookOutput {
    /// On its own output, which is that of the program.
    Inherited,
    /// On the standard error of its parent: the program closes the outputs of its commands.
    ErrorOfParent,
}

impl HookOutput {
    fn file_name(self) -> &'static str {
        match self {
            Self::Inherited => "on-complete",
            Self::ErrorOfParent => "on-complete-to-parent",
        }
    }

    /// The event begins with the end of a line, in the same write, because the program may have
    /// written a part of a line of its own before it.
    fn script(self) -> String {
        let target = match self {
            Self::Inherited => "",
            Self::ErrorOfParent => " >/proc/$PPID/fd/2",
        };
        format!("#!/bin/sh\nprintf '\\n{{\"event\":\"complete\"}}\\n'{target}\n")
    }
}

/// The path of the script. An existing script is left alone, because another program may be running
/// it.
///
/// # Errors
/// When the script cannot be written.
pub(super) fn completion_hook(
    context: &ProgramContext<'_>,
    output: HookOutput,
) -> Result<PathBuf, ProgramError> {
    let path = context.work.join(output.file_name());
    if !path.exists() {
        write_file(&path, &output.script())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(|source| ProgramError::File { path: path.clone(), source })?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _,
        process::Command,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::run::programs::process::Process;

    /// Whether the event of a program is seen that has begun a line when it runs the script.
    fn is_seen_within_a_line(output: HookOutput) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(output.file_name());
        fs::write(&path, output.script()).unwrap();
        let text = format!("exec 2>&1; printf '12:00: '; sh {}; echo words", path.display());
        let mut command = Command::new("sh");
        let process =
            Process::start("sh on h1".to_owned(), command.args(["-c", &text]).process_group(0))
                .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while process.ended_at().is_none() && Instant::now() < deadline {
            process.wait_for_change(Duration::from_millis(50));
        }
        let lines = process.last_lines();
        assert!(lines.contains("12:00:") && lines.contains("words"), "{lines}");
        process.first_event("complete").is_some()
    }

    #[test]
    fn the_event_is_seen_within_a_line_of_the_program() {
        assert!(is_seen_within_a_line(HookOutput::ErrorOfParent));
        assert!(is_seen_within_a_line(HookOutput::Inherited));
    }
}

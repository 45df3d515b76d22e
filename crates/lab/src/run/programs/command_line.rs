//! A program and its arguments, to be run on a host and to be shown in reports.

use std::{
    ffi::{OsStr, OsString},
    fmt,
};

/// A command line: a program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    words: Vec<OsString>,
}

impl CommandLine {
    /// A program, without arguments yet.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self { words: vec![program.as_ref().to_owned()] }
    }

    /// With one more argument.
    #[must_use]
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.words.push(argument.as_ref().to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// The program and its arguments.
    pub(crate) fn words(&self) -> &[OsString] {
        &self.words
    }
}

/// The line as it is typed in a shell.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            let word = word.to_string_lossy();
            let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%…".contains(c);
            if !word.is_empty() && word.chars().all(is_plain) {
                write!(f, "{gap}{word}")?;
            } else {
                write!(f, "{gap}'{}'", word.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_as_it_is_typed() {
        let line = CommandLine::new("sow")
            .args(["get", "10.0.0.1:52000/6hx2"])
            .arg("a b")
            .arg("")
            .arg("it's");
        assert_eq!(line.to_string(), r"sow get 10.0.0.1:52000/6hx2 'a b' '' 'it'\''s'");
    }
}

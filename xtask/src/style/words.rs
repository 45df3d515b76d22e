//! Words that do not occur in names, prose or texts, with a list of exceptions that each carry a
//! reason.
//!
//! `snake_case` and `CamelCase` names are split into words first, so a name is checked like prose.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::source::{Finding, SourceFile};

/// What must not occur, and the standard term.
const BANNED: &[(&str, &str)] = &[
    ("somebody", "name the thing: the peer, the receiver, the user"),
    ("nobody", "say that no peer, no receiver, no process does it"),
    ("whoever", "name the thing"),
    ("everybody", "say all peers, all receivers"),
    ("everyone", "say all peers, all receivers"),
    ("anybody", "say any peer, any process"),
    ("whom", "name the thing"),
    ("hung up", "disconnected"),
    ("hang up", "disconnect"),
    ("hangs up", "disconnects"),
    ("in vain", "say what failed"),
    ("turned away", "rejected"),
    ("turn away", "reject"),
    ("is to be had", "say that it is available"),
    ("without more ado", "leave it out"),
    ("whose sake", "say for which"),
    ("liar", "misbehaving peer, corrupt peer"),
    ("liars", "misbehaving peers, corrupt peers"),
    ("culprit", "suspect, misbehaving peer"),
    ("culprits", "suspects, misbehaving peers"),
    ("offender", "misbehaving peer"),
    ("offenders", "misbehaving peers"),
    ("patience", "timeout"),
    ("document 1", "the protocol's name; docs/ says where it comes from"),
    ("document 2", "the protocol's name; docs/ says where it comes from"),
    ("document 1 s", "the protocol's name; docs/ says where it comes from"),
    ("document 2 s", "the protocol's name; docs/ says where it comes from"),
];

/// The rule with its exceptions.
pub(super) struct Words {
    exceptions: Vec<Exception>,
    list: String,
}

#[derive(Deserialize)]
struct ExceptionFile {
    #[serde(default)]
    exception: Vec<Exception>,
}

/// A word that may occur in one file, or in all files below a folder whose name ends with `/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    path: String,
    word: String,
    reason: String,
    #[serde(skip)]
    is_used: bool,
}

impl Words {
    /// Reads the exceptions.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let list = "xtask/allowed-words.toml".to_owned();
        let file: ExceptionFile = toml::from_str(&text).with_context(|| list.clone())?;
        Ok(Self { exceptions: file.exception, list })
    }

    pub(super) fn check(&mut self, file: &SourceFile) -> Vec<Finding> {
        let mut findings = Vec::new();
        // The two files that name the words in order to ban them.
        if file.path == "xtask/src/style/words.rs" || file.path == self.list {
            return findings;
        }
        for (number, line) in (1..).zip(file.text.lines()) {
            let words = split(line);
            for (banned, instead) in BANNED {
                if words.contains(&format!(" {banned} ")) && !self.is_allowed(&file.path, banned) {
                    findings.push(Finding::new(file, number, format!("\"{banned}\": {instead}")));
                }
            }
        }
        findings
    }

    /// An exception that no longer applies, or that gives no reason, is a finding too.
    pub(super) fn unused_exceptions(&self) -> Vec<Finding> {
        let faulty = self.exceptions.iter().filter(|it| !it.is_used || it.reason.trim().is_empty());
        faulty
            .map(|exception| Finding {
                path: self.list.clone(),
                line: 1,
                message: format!(
                    "the exception for \"{}\" in {} is unused or has no reason",
                    exception.word, exception.path
                ),
            })
            .collect()
    }

    fn is_allowed(&mut self, path: &str, word: &str) -> bool {
        let mut applies = self.exceptions.iter_mut().filter(|exception| {
            let in_folder = exception.path.ends_with('/') && path.starts_with(&exception.path);
            exception.word == word && (in_folder || exception.path == path)
        });
        match applies.next() {
            Some(exception) => {
                exception.is_used = true;
                true
            }
            None => false,
        }
    }
}

/// The words of a line in lower case, each between single spaces.
fn split(line: &str) -> String {
    let mut words = String::from(" ");
    let mut previous_is_lower = false;
    for character in line.chars() {
        if character.is_alphanumeric() {
            if character.is_uppercase() && previous_is_lower {
                words.push(' ');
            }
            words.extend(character.to_lowercase());
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
        previous_is_lower = character.is_lowercase() || character.is_ascii_digit();
    }
    words.push(' ');
    words
}

#[cfg(test)]
mod tests {
    use super::{super::source::tests::file, *};

    fn words(exceptions: &[(&str, &str)]) -> Words {
        let exceptions = exceptions.iter().map(|(path, word)| Exception {
            path: path.to_string(),
            word: word.to_string(),
            reason: "test".to_owned(),
            is_used: false,
        });
        Words { exceptions: exceptions.collect(), list: "list.toml".to_owned() }
    }

    fn lines_found(words: &mut Words, path: &str, text: &str) -> Vec<usize> {
        words.check(&file(path, text)).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn words_are_found_in_prose_and_in_names() {
        let text = "Nobody.\nlet somebody_else = 1;\nstruct LastOffender;\nwhomever, vainly\n";
        assert_eq!(lines_found(&mut words(&[]), "a.rs", text), [1, 2, 3]);
        assert_eq!(lines_found(&mut words(&[]), "a.rs", "it is all\nin  vain\n"), [2]);
    }

    #[test]
    fn an_exception_holds_for_its_word_in_its_place() {
        let mut words = words(&[("docs/", "document 1"), ("a.rs", "liar")]);
        assert_eq!(lines_found(&mut words, "docs/x/y.md", "Document 1 says\nliar\n"), [2]);
        assert_eq!(lines_found(&mut words, "b.rs", "document 1\n"), [1]);
        let unused = words.unused_exceptions();
        assert_eq!(unused.len(), 1, "{unused:?}");
        assert!(unused[0].message.contains("liar"));
    }
}

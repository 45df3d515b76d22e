//! What pasting adds to a text: white space, quotes, the prompt and the command of a whole line.

use std::ffi::OsString;

use sow_content::untrusted::is_unprintable;

use crate::exit::Failure;

/// The last characters of usual prompts, as words of their own.
const PROMPTS: [&str; 7] = ["$", "#", "%", ">", "❯", "➜", "λ"];

/// Pairs of marks around a text.
const QUOTES: [(char, char); 8] = [
    ('\'', '\''),
    ('"', '"'),
    ('`', '`'),
    ('<', '>'),
    ('\u{2018}', '\u{2019}'),
    ('\u{201c}', '\u{201d}'),
    ('\u{201e}', '\u{201c}'),
    ('\u{ab}', '\u{bb}'),
];

/// The text without white space, invisible characters and quotes around it.
pub(super) fn unwrapped(text: &str) -> &str {
    let is_blank = |c: char| c.is_whitespace() || is_unprintable(c);
    let mut text = text.trim_matches(is_blank);
    while let Some(inner) =
        QUOTES.iter().find_map(|&(open, close)| text.strip_prefix(open)?.strip_suffix(close))
    {
        text = inner.trim_matches(is_blank);
    }
    text
}

/// The WHATs in the words after `sow get`, which may be a pasted line that contains `sow get`
/// itself, perhaps with a prompt, or in quotes.
///
/// # Errors
/// When the line has nothing but `sow get`, or has options in quotes.
pub(super) fn without_command(words: Vec<String>) -> Result<Vec<String>, Failure> {
    if let Some(rest) = after_command(&words) {
        return match rest {
            [] => Err(Failure::usage("`sow get` is there twice, and no WHAT")),
            rest => Ok(rest.to_vec()),
        };
    }
    let [line] = words.as_slice() else { return Ok(words) };
    let parts: Vec<String> = unwrapped(line).split_whitespace().map(str::to_owned).collect();
    let Some(rest) = after_command(&parts) else { return Ok(words) };
    if rest.is_empty() || rest.iter().any(|word| word.starts_with('-')) {
        return Err(Failure::usage(format!("`{line}` is a command line, not a WHAT"))
            .tip("run it without quotes, and without a second `sow get` before it"));
    }
    Ok(rest.to_vec())
}

/// A command line without a prompt, and without a second name of this program, before the command.
pub(super) fn without_prompt(mut line: Vec<OsString>) -> Vec<OsString> {
    let is_prompt = |word: &OsString| word.to_str().is_some_and(|word| PROMPTS.contains(&word));
    let is_program = |word: &OsString| word == "sow";
    while line.len() > 2 && (is_prompt(&line[1]) || is_program(&line[1])) {
        line.remove(1);
    }
    line
}

/// The words after `sow get`, if they begin with that, perhaps after a prompt.
fn after_command(words: &[String]) -> Option<&[String]> {
    let is_prompt = words.first().is_some_and(|word| PROMPTS.contains(&word.as_str()));
    match &words[usize::from(is_prompt)..] {
        [program, command, rest @ ..] if command == "get" => {
            let name = program.rsplit('/').next();
            (name == Some("sow")).then_some(rest)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_pasted_command_line_is_understood() {
        for line in [
            &["sow", "get", "h/x"][..],
            &["$", "sow", "get", "h/x"],
            &["./target/sow", "get", "h/x"],
            &["sow get h/x"],
            &[" $ sow get h/x\n"],
            &["'sow get  h/x'"],
        ] {
            assert_eq!(without_command(words(line)).unwrap(), ["h/x"], "{line:?}");
        }
        let several = without_command(words(&["sow", "get", "a", "b"])).unwrap();
        assert_eq!(several, ["a", "b"]);
        for line in [&["a"][..], &["get", "a"], &["a", "sow", "get"], &["two words"], &["sow"]] {
            assert_eq!(without_command(words(line)).unwrap(), words(line));
        }
        for line in [&["sow", "get"][..], &["sow get h/x -o out"], &["sow get"]] {
            assert_eq!(without_command(words(line)).unwrap_err().exit(), Exit::Usage, "{line:?}");
        }
    }

    #[test]
    fn a_prompt_before_the_command_is_ignored() {
        let line = |line: &[&str]| line.iter().map(OsString::from).collect::<Vec<_>>();
        let due = line(&["sow", "get", "x"]);
        assert_eq!(without_prompt(line(&["sow", "sow", "get", "x"])), due);
        assert_eq!(without_prompt(line(&["sow", "$", "sow", "get", "x"])), due);
        assert_eq!(without_prompt(due.clone()), due);
        assert_eq!(without_prompt(line(&["sow", "sow"])), line(&["sow", "sow"]));
    }
}

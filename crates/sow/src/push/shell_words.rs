//! Words as a POSIX shell reads and writes them: the command of `--ssh` is split, and what goes
//! into a script is quoted.

/// Splits a command as a shell does (POSIX, 2.2 Quoting): blanks separate words; single quotes,
/// double quotes and backslashes quote. Nothing is expanded.
///
/// # Errors
/// When a quote is not closed, the text ends in a backslash, or there is no word.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err(format!("a ' is not closed in `{text}`")),
                    }
                }
            }
            '"' => double_quoted(&mut chars, word.get_or_insert_default())
                .ok_or_else(|| format!("a \" is not closed in `{text}`"))?,
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(format!("`{text}` ends in a backslash")),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        return Err("it is empty".to_owned());
    }
    Ok(words)
}

/// The rest of a word in double quotes; `None` if they are not closed.
fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => match chars.next()? {
                '\n' => {}
                c @ ('$' | '`' | '"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

/// A word that a POSIX shell reads as exactly `text`.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_does() {
        let words = |text| split(text).unwrap();
        assert_eq!(words("ssh"), ["ssh"]);
        assert_eq!(words(" ssh\t-p  2222 "), ["ssh", "-p", "2222"]);
        assert_eq!(
            words(r#"ssh -i 'my key' -o "User=a b""#),
            ["ssh", "-i", "my key", "-o", "User=a b"]
        );
        assert_eq!(words(r#"a\ b "c\"d\e" ''"#), ["a b", r#"c"d\e"#, ""]);
        assert_eq!(words("a'b'\"c\"d"), ["abcd"]);
        for bad in ["", "  ", "''", "a 'b", "a \"b", "a\\", "\"\\"] {
            assert!(split(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was() {
        for text in
            ["", "a b", "it's", "''", "$HOME `x` \"y\" \\z !w", "a\nb", "-n", "ü*?[a]{b,c}~"]
        {
            let script = format!("printf '%s.' {}", quote(text));
            let printed = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), format!("{text}."));
            let command = format!("x {}", quote(text));
            assert_eq!(split(&command).unwrap(), ["x", text]);
        }
    }
}

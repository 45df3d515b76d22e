//! Why `ssh` failed, in a few words, from what it prints on standard error. Its texts are those of
//! OpenSSH; a text that is not known is shown as it is.

use sow_content::untrusted::short_name;

/// What a connection is that ended in between.
pub(super) const LOST: &str = "the connection was lost";

/// A part of a line, in lower case, and what it means. The first that is found counts.
const KNOWN: [(&str, &str); 22] = [
    ("remote host identification has changed", "its host key has changed"),
    ("host key is known", "its host key is unknown"),
    ("host key for", "its host key is unknown"),
    ("host key verification failed", "its host key is unknown"),
    ("could not resolve hostname", "its name does not resolve"),
    ("name or service not known", "its name does not resolve"),
    ("no route to host", "no route to it"),
    ("network is unreachable", "no route to it"),
    ("connection refused", "it refuses the connection: no ssh server there"),
    ("connection timed out", "it does not answer"),
    ("operation timed out", "it does not answer"),
    ("timed out during banner exchange", "its ssh server does not answer"),
    ("too many authentication failures", "it refuses the keys: too many were tried"),
    ("load key", "the key cannot be read"),
    ("permission denied", "it refuses the key"),
    ("kex_exchange_identification", "its ssh server closed the connection at once"),
    ("no matching", "its ssh server and this ssh have no method in common"),
    ("timeout, server", LOST),
    ("client_loop: send disconnect", LOST),
    ("connection reset by", LOST),
    ("connection closed", "it closed the connection"),
    ("closed by remote host", "it closed the connection"),
];

/// Why `ssh` failed. `lines` are the last ones of its standard error.
pub(super) fn reason(lines: &[String]) -> Option<String> {
    let lower: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
    for (part, meaning) in KNOWN {
        let Some(at) = lower.iter().position(|line| line.contains(part)) else { continue };
        // The methods that the server offers tell what is missing.
        let methods = lines[at].split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        return Some(match methods {
            Some((methods, _)) if part == "permission denied" => {
                format!("{meaning} ({})", short_name(methods))
            }
            _ => meaning.to_owned(),
        });
    }
    lines.iter().rev().find(|line| !is_notice(line)).map(|line| shortened(line))
}

/// Why a host that was reached ended the connection. What its programs print is on the same
/// standard error, so that a `Permission denied` is about a file there.
pub(super) fn reason_after_login(lines: &[String]) -> Option<String> {
    let is_lost = |line: &&String| {
        let lower = line.to_lowercase();
        KNOWN.iter().any(|(part, meaning)| *meaning == LOST && lower.contains(part))
    };
    match lines.iter().any(|line| is_lost(&line)) {
        true => Some(LOST.to_owned()),
        false => lines.iter().rev().find(|line| !is_notice(line)).map(|line| shortened(line)),
    }
}

/// Lines that are no errors.
fn is_notice(line: &str) -> bool {
    let line = line.trim();
    line.is_empty()
        || line.starts_with("Warning: Permanently added")
        || line.starts_with("debug")
        || line.starts_with('@')
}

/// A line as it fits into a table.
pub(super) fn shortened(line: &str) -> String {
    const MAX_CHARS: usize = 200;
    let line = line.trim();
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_openssh_are_told_in_a_few_words() {
        for (lines, due) in [
            (&["ssh: connect to host 10.0.0.9 port 22: No route to host"][..], "no route to it"),
            (
                &["ssh: connect to host h port 22: Connection refused"],
                "it refuses the connection: no ssh server there",
            ),
            (&["ssh: connect to host h port 22: Connection timed out"], "it does not answer"),
            (
                &["ssh: Could not resolve hostname nosuch: Name or service not known"],
                "its name does not resolve",
            ),
            (
                &["me@h: Permission denied (publickey,password)."],
                "it refuses the key (publickey,password)",
            ),
            (
                &[
                    "No ED25519 host key is known for h and you have requested strict checking.",
                    "Host key verification failed.",
                ],
                "its host key is unknown",
            ),
            (
                &[
                    "@  WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!  @",
                    "Host key verification failed.",
                ],
                "its host key has changed",
            ),
            (&["Timeout, server h not responding."], "the connection was lost"),
            (&["Connection to h closed by remote host."], "it closed the connection"),
            (
                &["Bad owner or permissions on /root/.ssh/config", ""],
                "Bad owner or permissions on /root/.ssh/config",
            ),
        ] {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(reason(&lines).as_deref(), Some(due), "{lines:?}");
        }
        let denied = ["sh: 1: cannot create x: Permission denied".to_owned()];
        assert_eq!(reason_after_login(&denied).as_deref(), Some(denied[0].as_str()));
        let reset = ["Read from remote host h: Connection reset by peer".to_owned(), String::new()];
        assert_eq!(reason_after_login(&reset).as_deref(), Some(LOST));
        assert_eq!(reason(&["Warning: Permanently added 'h' to the list.".to_owned()]), None);
        assert_eq!(reason(&["x".repeat(300)]).unwrap().chars().count(), 201);
    }
}

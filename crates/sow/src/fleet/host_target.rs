//! A host as it is named on the command line or in a host file: `[USER@]HOST[:DIR]` or
//! `ssh://[USER@]HOST[:PORT][/DIR]`. Names are not resolved here: that is the task of `ssh`, whose
//! configuration may define them.

use sow_content::untrusted::{excerpt, is_unprintable};

/// The limit of a host, in bytes: a name (RFC 1035), a user and a folder.
pub(super) const MAX_TARGET: usize = 1024;

/// A host, and the folder there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostTarget {
    /// As it was typed, for the next try.
    pub(crate) text: String,
    /// The name of the host without user, port and folder.
    pub(crate) host: String,
    /// What `ssh` is told: `[USER@]HOST` or `ssh://…`, without the folder.
    pub(crate) destination: String,
    /// The folder for the content, relative to the user's home; `None` for the home itself.
    pub(crate) folder: Option<String>,
}

impl HostTarget {
    /// Parses a host.
    ///
    /// # Errors
    /// When the host is missing, or has characters that no host name has.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("`{}` is not a host: {why}", excerpt(text));
        if text.len() > MAX_TARGET {
            return Err(bad("it is too long"));
        }
        if text.contains(is_unprintable) {
            return Err(bad("it has control characters"));
        }
        let (destination, host, folder) = match text.strip_prefix("ssh://") {
            Some(rest) => split_url(rest),
            None => split_scp(text),
        }
        .ok_or_else(|| bad("its brackets are not closed"))?;
        let is_bad = |c: char| c.is_whitespace() || "'\"`$\\;&|<>()*?!{}".contains(c);
        if host.is_empty() || destination.ends_with('@') {
            return Err(bad("it has no name"));
        }
        if destination.starts_with('-') || host.starts_with('-') || destination.contains("@-") {
            return Err(bad("a name does not start with -"));
        }
        if host.contains('/') {
            return Err(bad("a folder follows a colon, as in HOST:/DIR"));
        }
        if let Some(c) = destination.chars().find(|c| is_bad(*c)) {
            return Err(bad(&format!("`{c}` is in no name")));
        }
        Ok(Self {
            text: text.to_owned(),
            host: host.to_owned(),
            destination: destination.to_owned(),
            folder: folder.filter(|folder| !folder.is_empty()).map(str::to_owned),
        })
    }
}

type Parts<'a> = (String, &'a str, Option<&'a str>);

/// `[USER@]HOST[:DIR]`. An IPv6 address is in brackets, which `ssh` does not want, or is all there
/// is.
fn split_scp(text: &str) -> Option<Parts<'_>> {
    let path_start = text.find(['/', ':']).unwrap_or(text.len());
    let (user, rest) = match text[..path_start].rfind('@') {
        Some(at) => text.split_at(at + 1),
        None => ("", text),
    };
    if let Some(inner) = rest.strip_prefix('[') {
        let (host, after) = inner.split_once(']')?;
        let folder = after.strip_prefix(':');
        (after.is_empty() || folder.is_some()).then_some(())?;
        return Some((format!("{user}{host}"), host, folder));
    }
    let is_ipv6 = |text: &str| {
        let address = text.split_once('%').map_or(text, |(address, _)| address);
        address.parse::<std::net::Ipv6Addr>().is_ok()
    };
    match rest.split_once(':') {
        Some((host, folder)) if !is_ipv6(rest) => {
            Some((format!("{user}{host}"), host, Some(folder)))
        }
        _ => Some((format!("{user}{rest}"), rest, None)),
    }
}

/// What follows `ssh://`.
fn split_url(text: &str) -> Option<Parts<'_>> {
    let (authority, folder) = match text.find('/') {
        Some(slash) => (&text[..slash], Some(&text[slash..])),
        None => (text, None),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?.0,
        None => host.split_once(':').map_or(host, |(host, _)| host),
    };
    // `ssh://host/` names no folder.
    Some((format!("ssh://{authority}"), host, folder.filter(|folder| *folder != "/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_destination_and_a_folder() {
        for (text, destination, host, folder) in [
            ("web01", "web01", "web01", None),
            ("web01:", "web01", "web01", None),
            ("web01:/srv", "web01", "web01", Some("/srv")),
            ("web01:a:b c", "web01", "web01", Some("a:b c")),
            ("web01:~/isos", "web01", "web01", Some("~/isos")),
            ("me@web01.example.org:x@y", "me@web01.example.org", "web01.example.org", Some("x@y")),
            ("web01:/srv/a@b", "web01", "web01", Some("/srv/a@b")),
            ("a@b@web01", "a@b@web01", "web01", None),
            ("fd00::1", "fd00::1", "fd00::1", None),
            ("fe80::1%eth0", "fe80::1%eth0", "fe80::1%eth0", None),
            ("me@[fd00::1]:/srv", "me@fd00::1", "fd00::1", Some("/srv")),
            ("[fd00::1]", "fd00::1", "fd00::1", None),
            ("ssh://web01", "ssh://web01", "web01", None),
            ("ssh://web01/", "ssh://web01", "web01", None),
            ("ssh://me@web01:2222/srv", "ssh://me@web01:2222", "web01", Some("/srv")),
            ("ssh://[fd00::1]:22/srv", "ssh://[fd00::1]:22", "fd00::1", Some("/srv")),
        ] {
            let target = HostTarget::parse(text).unwrap();
            let parts = (&*target.destination, &*target.host, target.folder.as_deref());
            assert_eq!(parts, (destination, host, folder), "{text}");
            assert_eq!(target.text, text);
        }
    }

    #[test]
    fn what_ssh_could_take_for_an_option_or_a_shell_for_a_command_is_no_host() {
        let long = "x".repeat(MAX_TARGET + 1);
        for text in [
            "",
            ":",
            ":/srv",
            "me@",
            "me@:/srv",
            "-oProxyCommand=x",
            "me@-x",
            "ssh://-x",
            "ssh://",
            "ssh:///srv",
            "web01/srv",
            "b/",
            "a b",
            "a;b",
            "$(x)",
            "`x`",
            "a\nb",
            "a\u{1b}[2J",
            "[fd00::1",
            "[fd00::1]x",
            "ssh://[fd00::1",
            &long,
        ] {
            assert!(HostTarget::parse(text).is_err(), "{text:?}");
        }
    }
}

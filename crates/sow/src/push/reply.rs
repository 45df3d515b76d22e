//! What the scripts on the other end print. It comes from another machine, and a login shell may
//! print anything before it.

use std::net::IpAddr;

use super::remote_scripts::MARK;

/// A line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The shell has started.
    Begin,
    /// The kernel and the machine (`uname -s -m`).
    System(String),
    /// The addresses of the connection, as that host sees them.
    Connection(Connection),
    /// The folder is not there, or cannot be written to, for this reason.
    NoFolder(String),
    /// A `sow` of this protocol is there, at this path.
    Sow(String),
    /// The version of a `sow` that does not know this protocol.
    OldSow(String),
    /// The probe has ended.
    End,
    /// The program is expected on standard input.
    Ready,
    /// The program could not be put there, for this reason.
    NotInstalled(String),
    /// `sow get` has ended with this code.
    Exit(u8),
    /// A line of something else.
    Other(String),
}

/// Both ends of the `ssh` connection as the host sees them (`SSH_CONNECTION`). Behind a jump host
/// or a translated address the client is not this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) client: Option<IpAddr>,
    pub(super) server: Option<IpAddr>,
}

impl Reply {
    pub(super) fn parse(line: &str) -> Self {
        Self::marked(line).unwrap_or_else(|| Self::Other(line.to_owned()))
    }

    fn marked(line: &str) -> Option<Self> {
        let rest = line.strip_prefix(MARK)?;
        let (word, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let value = value.trim();
        Some(match word {
            "begin" => Self::Begin,
            "system" => Self::System(value.to_owned()),
            "client" => Self::Connection(Connection::parse(value)),
            "no-folder" => Self::NoFolder(value.to_owned()),
            "sow" => Self::Sow(value.to_owned()),
            "old" => Self::OldSow(value.to_owned()),
            "end" => Self::End,
            "ready" => Self::Ready,
            "not-installed" => Self::NotInstalled(value.to_owned()),
            "exit" => Self::Exit(value.parse().ok()?),
            _ => return None,
        })
    }
}

impl Connection {
    /// Parses `CLIENT PORT SERVER PORT`. Addresses that only that host can use (with a zone) count
    /// as unknown.
    fn parse(text: &str) -> Self {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let address = |at: usize| {
            let address: IpAddr = fields.get(at)?.parse().ok()?;
            Some(address.to_canonical())
        };
        Self { client: address(0), server: address(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_lines_are_replies_and_all_others_are_not() {
        assert_eq!(Reply::parse("sow-push begin"), Reply::Begin);
        assert_eq!(
            Reply::parse("sow-push system Linux x86_64"),
            Reply::System("Linux x86_64".to_owned())
        );
        assert_eq!(Reply::parse("sow-push sow /a b/sow"), Reply::Sow("/a b/sow".to_owned()));
        assert_eq!(Reply::parse("sow-push exit 137"), Reply::Exit(137));
        for other in
            ["", "Welcome!", "sow-push", "sow-push x", "sow-push exit 256", " sow-push end"]
        {
            assert_eq!(Reply::parse(other), Reply::Other(other.to_owned()), "{other:?}");
        }
    }

    #[test]
    fn the_ends_of_the_connection_are_addresses_or_unknown() {
        let parse = |text| {
            let Connection { client, server } = Connection::parse(text);
            (client.map(|it| it.to_string()), server.map(|it| it.to_string()))
        };
        let known = |client: &str, server: &str| (Some(client.to_owned()), Some(server.to_owned()));
        assert_eq!(parse("10.0.0.1 40000 10.0.0.2 22"), known("10.0.0.1", "10.0.0.2"));
        assert_eq!(parse("::ffff:10.0.0.1 1 fd00::2 22"), known("10.0.0.1", "fd00::2"));
        for unknown in ["", "UNKNOWN 65535 UNKNOWN 65535", "fe80::1%eth0 1 fe80::2%eth0 22"] {
            assert_eq!(parse(unknown), (None, None), "{unknown}");
        }
    }
}

//! The forms of a WHAT: parses what `sow get` is to download from its text. No network or file
//! contents are read here.

use std::path::{Path, PathBuf};

use sow_content::{
    magnet::Magnet,
    ticket::{Address, Ticket},
};

use crate::exit::{Failure, chain};

/// SourceArg `sow get` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceArg {
    /// `HOST[:PORT]/HASH`, as `sow send` prints it.
    Ticket(Ticket),
    /// `HOST[:PORT]`: the only content that the origin shares.
    Origin(Address),
    /// `magnet:…`.
    Magnet(Magnet),
    /// The path of a .torrent file.
    TorrentFile(PathBuf),
    /// The URL of a .torrent file.
    TorrentUrl(String),
    /// `raw://HOST[:PORT]`: the file of a `raw` server.
    Raw(Address),
    /// `framed://HOST[:PORT]`: the file of a `framed` server.
    Framed(Address),
    /// `chunk://HOST[:PORT]`: the file of a `chunk` server.
    Chunk(Address),
}

/// The default port of a `raw` server.
pub(crate) const RAW_PORT: u16 = 52000;

/// The default port of a `framed` server.
pub(crate) const FRAMED_PORT: u16 = 6666;

/// The default port of a `chunk` server.
const CHUNK_PORT: u16 = 52000;

const FORMS: &str = "\
WHAT is HOST[:PORT]/HASH (a ticket), HOST[:PORT], magnet:…, the path or URL of a .torrent, or \
raw://, framed:// or chunk://HOST[:PORT]; see `sow get --help`";

impl SourceArg {
    /// Parses a WHAT. A complete ticket has precedence; then an existing file has precedence over
    /// an address.
    ///
    /// # Errors
    /// When the text has no known form.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if starts_with_ignoring_case(text, "magnet:") {
            return text.parse().map(SourceArg::Magnet).map_err(|error| malformed(text, &error));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let address = |port| {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                Address::parse_or(rest, port).map_err(|error| malformed(text, &error))
            };
            return match scheme.to_ascii_lowercase().as_str() {
                "raw" => address(RAW_PORT).map(SourceArg::Raw),
                "framed" => address(FRAMED_PORT).map(SourceArg::Framed),
                "chunk" => address(CHUNK_PORT).map(SourceArg::Chunk),
                "http" | "https" => Ok(SourceArg::TorrentUrl(text.to_owned())),
                _ => {
                    Err(Failure::usage(format!("`{text}`: {scheme}:// is not supported"))
                        .tip(FORMS))
                }
            };
        }
        let ticket = text.parse::<Ticket>();
        if let Ok(ticket) = ticket {
            return Ok(SourceArg::Ticket(ticket));
        }
        if names_a_file(text) {
            return Ok(SourceArg::TorrentFile(PathBuf::from(text)));
        }
        if text.contains('/') {
            let error = ticket.err().map(|error| malformed(text, &error));
            return Err(error.unwrap_or_else(|| Failure::usage(FORMS)));
        }
        text.parse().map(SourceArg::Origin).map_err(|error| malformed(text, &error))
    }

    /// Whether the source tells the name of its content.
    pub(super) fn has_name(&self) -> bool {
        !matches!(self, SourceArg::Raw(_) | SourceArg::Framed(_) | SourceArg::Chunk(_))
    }

    /// Whether it names a machine that has the content.
    pub(super) fn names_peers(&self) -> bool {
        match self {
            SourceArg::Ticket(_)
            | SourceArg::Origin(_)
            | SourceArg::Raw(_)
            | SourceArg::Framed(_)
            | SourceArg::Chunk(_) => true,
            SourceArg::Magnet(magnet) => !magnet.peers.is_empty(),
            SourceArg::TorrentFile(_) | SourceArg::TorrentUrl(_) => false,
        }
    }
}

/// Whether a text is a path: it has the form of one, or such a file exists.
fn names_a_file(text: &str) -> bool {
    let path = Path::new(text);
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("torrent"))
        || ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start))
        || path.is_file()
}

fn starts_with_ignoring_case(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

fn malformed(text: &str, error: &dyn std::error::Error) -> Failure {
    Failure::usage(format!("`{text}`: {}", chain(error))).tip(FORMS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    const HASH: &str = "6hx2aaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn every_form_is_recognized() {
        let form = |text: &str| SourceArg::parse(text).unwrap();
        let ticket = form(&format!("10.0.0.1:52000/{HASH}"));
        assert!(matches!(ticket, SourceArg::Ticket(t) if t.port == 52000));
        let ticket = form(&format!("[fd00::2]:7000/{HASH}"));
        assert!(matches!(ticket, SourceArg::Ticket(t) if t.port == 7000));
        assert!(
            matches!(form(&format!("server/{HASH}")), SourceArg::Ticket(t) if t.host == "server")
        );
        assert!(matches!(form("10.0.0.1"), SourceArg::Origin(a) if a.port == 52000));
        assert!(matches!(form("server.example:7000"), SourceArg::Origin(a) if a.port == 7000));
        assert!(matches!(form(&format!("magnet:?xt=urn:btih:{HASH}")), SourceArg::Magnet(_)));
        assert!(matches!(form(&format!("MAGNET:?xt=urn:btih:{HASH}")), SourceArg::Magnet(_)));
        assert!(matches!(form("big.iso.torrent"), SourceArg::TorrentFile(_)));
        assert!(matches!(form("/etc/hostname"), SourceArg::TorrentFile(_)));
        assert!(matches!(form("./10.0.0.1"), SourceArg::TorrentFile(_)));
        assert!(matches!(form("http://10.0.0.1:52000/big.iso.torrent"), SourceArg::TorrentUrl(_)));
        assert!(matches!(form("HTTPS://example/x"), SourceArg::TorrentUrl(_)));
        assert!(matches!(form("raw://10.0.0.1"), SourceArg::Raw(a) if a.port == 52000));
        let address = Address { host: "server".to_owned(), port: 6666 };
        assert_eq!(form("framed://server/"), SourceArg::Framed(address));
        assert!(matches!(form("Framed://[::1]:7"), SourceArg::Framed(a) if a.port == 7));
        assert!(matches!(form("chunk://10.0.0.1:7000"), SourceArg::Chunk(a) if a.port == 7000));
    }

    #[test]
    fn other_forms_are_usage_errors() {
        for text in [
            "",
            "chunk://",
            "raw://10.0.0.1:0",
            "framed://10.0.0.1/x",
            "RAW://:52000",
            "ftp://x/y.torrent",
            "magnet:",
            "magnet:?dn=x",
            "10.0.0.1/tooshort",
            "10.0.0.1:99999",
            "10.0.0.1:0x10",
            ":52000",
            "two words",
        ] {
            let failure = SourceArg::parse(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{text}");
            assert!(failure.to_string().contains("tip:"), "{text}: {failure}");
        }
    }
}

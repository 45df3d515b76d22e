//! The forms in which people name what they want: tells a WHAT's form from its text. Nothing is
//! fetched here.

use std::path::{Path, PathBuf};

use sow_content::{
    magnet::Magnet,
    ticket::{Address, Ticket},
};

use crate::exit::Failure;

/// What `sow get` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// `HOST[:PORT]/HASH`, as `sow send` prints it.
    Ticket(Ticket),
    /// `HOST[:PORT]`: whatever that origin has.
    Origin(Address),
    /// `magnet:…`.
    Magnet(Magnet),
    /// The path of a .torrent file.
    TorrentFile(PathBuf),
    /// The URL of a .torrent file.
    TorrentUrl(String),
    /// `raw://HOST[:PORT]`: document 1's client/server.
    Raw(Address),
    /// `framed://HOST[:PORT]`: document 2's client/server.
    Framed(Address),
    /// `chunk://HOST[:PORT]`: document 1's P2P.
    Chunk(Address),
}

/// The port of document 1's servers, both of them.
pub(crate) const DOCUMENT_1_PORT: u16 = 52000;

/// The port of document 2's server.
pub(crate) const FRAMED_PORT: u16 = 6666;

const FORMS: &str = "WHAT is HOST[:PORT]/HASH (a ticket), HOST[:PORT], magnet:…, the path or URL of a .torrent, or raw://, framed:// or chunk://HOST[:PORT]; see `sow get --help`";

impl What {
    /// Tells the form. A text that is a whole ticket is a ticket; after that, a file that exists
    /// goes before an address.
    ///
    /// # Errors
    /// When the text is of no known form.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if starts_with_ignoring_case(text, "magnet:") {
            return text.parse().map(What::Magnet).map_err(|error| wrong(text, &error));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let address = |port| {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                Address::parse_or(rest, port).map_err(|error| wrong(text, &error))
            };
            return match scheme.to_ascii_lowercase().as_str() {
                "raw" => address(DOCUMENT_1_PORT).map(What::Raw),
                "framed" => address(FRAMED_PORT).map(What::Framed),
                "chunk" => address(DOCUMENT_1_PORT).map(What::Chunk),
                "http" | "https" => Ok(What::TorrentUrl(text.to_owned())),
                _ => Err(Failure::usage(format!(
                    "`{text}`: {scheme}:// is not a form that this program knows"
                ))
                .tip(FORMS)),
            };
        }
        let ticket = text.parse::<Ticket>();
        if let Ok(ticket) = ticket {
            return Ok(What::Ticket(ticket));
        }
        if names_a_file(text) {
            return Ok(What::TorrentFile(PathBuf::from(text)));
        }
        if text.contains('/') {
            let error = ticket.err().map(|error| wrong(text, &error));
            return Err(error.unwrap_or_else(|| Failure::usage(FORMS)));
        }
        text.parse().map(What::Origin).map_err(|error| wrong(text, &error))
    }

    /// Whether it names a machine that has the content.
    pub(crate) fn names_peers(&self) -> bool {
        match self {
            What::Ticket(_) | What::Origin(_) | What::Raw(_) | What::Framed(_) | What::Chunk(_) => {
                true
            }
            What::Magnet(magnet) => !magnet.peers.is_empty(),
            What::TorrentFile(_) | What::TorrentUrl(_) => false,
        }
    }
}

/// Whether a text is meant as a path: it looks like one, or there is such a file.
fn names_a_file(text: &str) -> bool {
    let path = Path::new(text);
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("torrent"))
        || ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start))
        || path.is_file()
}

fn starts_with_ignoring_case(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

fn wrong(text: &str, error: &dyn std::error::Error) -> Failure {
    Failure::usage(format!("`{text}`: {}", crate::exit::chain(error))).tip(FORMS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    const HASH: &str = "6hx2aaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn each_form_is_told() {
        let form = |text: &str| What::parse(text).unwrap();
        assert!(
            matches!(form(&format!("10.0.0.1:52000/{HASH}")), What::Ticket(t) if t.port == 52000)
        );
        assert!(
            matches!(form(&format!("[fd00::2]:7000/{HASH}")), What::Ticket(t) if t.port == 7000)
        );
        assert!(matches!(form(&format!("server/{HASH}")), What::Ticket(t) if t.host == "server"));
        assert!(matches!(form("10.0.0.1"), What::Origin(a) if a.port == 52000));
        assert!(matches!(form("server.example:7000"), What::Origin(a) if a.port == 7000));
        assert!(matches!(form(&format!("magnet:?xt=urn:btih:{HASH}")), What::Magnet(_)));
        assert!(matches!(form(&format!("MAGNET:?xt=urn:btih:{HASH}")), What::Magnet(_)));
        assert!(matches!(form("big.iso.torrent"), What::TorrentFile(_)));
        assert!(matches!(form("/etc/hostname"), What::TorrentFile(_)));
        assert!(matches!(form("./10.0.0.1"), What::TorrentFile(_)));
        assert!(matches!(form("http://10.0.0.1:52000/big.iso.torrent"), What::TorrentUrl(_)));
        assert!(matches!(form("HTTPS://example/x"), What::TorrentUrl(_)));
        assert!(matches!(form("raw://10.0.0.1"), What::Raw(a) if a.port == 52000));
        assert!(
            matches!(form("framed://server/"), What::Framed(a) if a.port == 6666 && a.host == "server")
        );
        assert!(matches!(form("Framed://[::1]:7"), What::Framed(a) if a.port == 7));
        assert!(matches!(form("chunk://10.0.0.1:7000"), What::Chunk(a) if a.port == 7000));
    }

    #[test]
    fn other_forms_are_wrong_usage() {
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
            let failure = What::parse(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{text}");
            assert!(failure.to_string().contains("tip:"), "{text}: {failure}");
        }
    }
}

//! The forms of a WHAT: parses what `sow get` is to download from its text. What pasting adds to a
//! text is removed in [`super::pasted`]. No network or file contents are read here.

use std::path::{Path, PathBuf};

use sow_content::{
    InfoHash,
    magnet::Magnet,
    ticket::{Address, Ticket},
    untrusted::short_name,
};

use super::pasted::unwrapped;
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

/// The default port of HTTP (RFC 9110).
const HTTP_PORT: u16 = 80;

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
        if Path::new(text).is_file() && !text.contains("://") && text.parse::<Ticket>().is_err() {
            return Ok(SourceArg::TorrentFile(PathBuf::from(text)));
        }
        let text = unwrapped(text);
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
                "http" => {
                    Ok(of_http(rest).unwrap_or_else(|| SourceArg::TorrentUrl(text.to_owned())))
                }
                "https" => Ok(SourceArg::TorrentUrl(text.to_owned())),
                _ => {
                    Err(Failure::usage(format!("`{text}`: {scheme}:// is not supported"))
                        .tip(FORMS))
                }
            };
        }
        // A long line may have been broken where it was copied.
        let ticket = text.split_whitespace().collect::<String>().parse::<Ticket>();
        if let Ok(ticket) = ticket {
            return Ok(SourceArg::Ticket(ticket));
        }
        if let Some(hash) = bare_hash(text) {
            return Err(missing_origin(hash));
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

/// What `http://…` names if it is an origin: its page, or a ticket with `http://` before it.
fn of_http(rest: &str) -> Option<SourceArg> {
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = Address::parse_or(address, HTTP_PORT).ok()?;
    if path.is_empty() {
        return Some(SourceArg::Origin(address));
    }
    let info_hash = path.parse::<InfoHash>().ok()?;
    Some(SourceArg::Ticket(Ticket { host: address.host, port: address.port, info_hash }))
}

/// A text that is an info-hash (of BitTorrent v1 or v2) and nothing more.
fn bare_hash(text: &str) -> Option<&str> {
    let hash = text.trim_start_matches('/');
    let hash = ["xt=", "urn:", "btih:", "btmh:"]
        .iter()
        .fold(hash, |hash, start| hash.strip_prefix(start).unwrap_or(hash));
    let is_v2 = matches!(hash.len(), 64 | 68) && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_v2 || hash.parse::<InfoHash>().is_ok()).then_some(hash)
}

/// The failure because of an info-hash without a way into its swarm.
fn missing_origin(hash: &str) -> Failure {
    if hash.len() > 40 {
        return Failure::usage(format!("`{hash}` is an info-hash of BitTorrent v2"))
            .tip("only v1 is supported: use a v1 or hybrid torrent, or a ticket HOST[:PORT]/HASH");
    }
    Failure::usage(format!("`{hash}` is an info-hash; the machine that has the content is missing"))
        .tip(format!(
            "name the origin before it: HOST[:PORT]/{hash}; or a tracker: \
             'magnet:?xt=urn:btih:{hash}&tr=URL'"
        ))
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
    Failure::usage(format!("`{}`: {}", short_name(text), chain(error))).tip(FORMS)
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
        assert!(matches!(form("http://10.0.0.1:52001/"), SourceArg::Origin(a) if a.port == 52001));
        assert!(matches!(form("HTTP://[::1]:52001"), SourceArg::Origin(a) if a.port == 52001));
        assert!(matches!(form("http://origin/"), SourceArg::Origin(a) if a.port == 80));
        let ticket = form(&format!("http://10.0.0.1:52001/{HASH}"));
        assert!(matches!(ticket, SourceArg::Ticket(t) if t.port == 52001));
        assert!(matches!(form("HTTPS://example/x"), SourceArg::TorrentUrl(_)));
        assert!(matches!(form("raw://10.0.0.1"), SourceArg::Raw(a) if a.port == 52000));
        let address = Address { host: "server".to_owned(), port: 6666 };
        assert_eq!(form("framed://server/"), SourceArg::Framed(address));
        assert!(matches!(form("Framed://[::1]:7"), SourceArg::Framed(a) if a.port == 7));
        assert!(matches!(form("chunk://10.0.0.1:7000"), SourceArg::Chunk(a) if a.port == 7000));
    }

    #[test]
    fn what_pasting_adds_is_ignored() {
        let ticket = SourceArg::parse(&format!("10.0.0.1/{HASH}")).unwrap();
        for text in [
            format!(" 10.0.0.1/{HASH}\n"),
            format!("'10.0.0.1/{HASH}'"),
            format!("\u{201c}10.0.0.1/{HASH}\u{201d}"),
            format!("\u{feff}`10.0.0.1/{HASH}` "),
            format!("<10.0.0.1/{HASH}>"),
            format!("10.0.0.1/{}\n  {}", &HASH[..20], &HASH[20..]),
        ] {
            assert_eq!(SourceArg::parse(&text), Ok(ticket.clone()), "{text:?}");
        }
        let magnet = format!("\t\"magnet:?xt=urn:btih:{}\n{}\"", &HASH[..9], &HASH[9..]);
        assert!(matches!(SourceArg::parse(&magnet), Ok(SourceArg::Magnet(_))));
        assert!(matches!(SourceArg::parse(" 10.0.0.1 "), Ok(SourceArg::Origin(_))));
        assert!(matches!(SourceArg::parse(" 'a b.torrent' "), Ok(SourceArg::TorrentFile(_))));
    }

    #[test]
    fn a_bare_info_hash_is_not_taken_for_a_host() {
        let hex = "cc8cd75203af35dfa0a7961537daa3cd66e3264f";
        for text in
            [hex, HASH, &hex.to_uppercase(), &format!("urn:btih:{hex}"), &format!("/{HASH}")]
        {
            let failure = SourceArg::parse(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{text}");
            let failure = failure.to_string();
            assert!(failure.contains("is missing") && failure.contains("magnet:?xt="), "{failure}");
        }
        let v2 = SourceArg::parse(&"ab".repeat(32)).unwrap_err().to_string();
        assert!(v2.contains("BitTorrent v2"), "{v2}");
        assert!(matches!(SourceArg::parse(&hex[..39]), Ok(SourceArg::Origin(_))));
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

//! Where a request may go that a torrent, a magnet link or a redirect names, so that none of them
//! makes this machine use a service of its own or of its network (server-side request forgery,
//! libtorrent's `ssrf_mitigation`). What the user typed is not restricted. No requests here.

use std::net::IpAddr;

use reqwest::Url;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An announce to a tracker that the user typed.
    TypedTracker,
    /// An announce to a tracker that a torrent or a link names.
    Tracker,
    /// A .torrent at a URL that the user typed.
    Download,
    /// The index of an origin that the user typed. No other machine can stand in for it.
    Index,
}

/// How far an address reaches, from this machine alone to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Loopback,
    LinkLocal,
    Private,
    Global,
}

impl Scope {
    pub(crate) fn of(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        // Linux connects the unspecified address to the machine itself.
        if ip.is_loopback() || ip.is_unspecified() {
            return Self::Loopback;
        }
        let (is_link_local, is_private) = match ip {
            IpAddr::V4(ip) => {
                // 100.64.0.0/10 (RFC 6598), which overlay networks use.
                let [a, b, ..] = ip.octets();
                (ip.is_link_local(), ip.is_private() || (a == 100 && b & 0xc0 == 64))
            }
            IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.is_unique_local()),
        };
        match (is_link_local, is_private) {
            (true, _) => Self::LinkLocal,
            (_, true) => Self::Private,
            _ => Self::Global,
        }
    }
}

/// Where the request went that was answered with a redirect.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    pub(crate) url: Url,
    pub(crate) scope: Scope,
}

/// A request that must not be made, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub &'static str);

/// What one request may do: the first one, or one that a redirect led to.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) purpose: Purpose,
    /// `None` for the first request.
    pub(crate) redirected_from: Option<Hop>,
}

impl Rules {
    fn is_typed(&self) -> bool {
        self.redirected_from.is_none() && self.purpose != Purpose::Tracker
    }

    /// Checks a URL before its host is looked up.
    pub(crate) fn check_url(&self, url: &Url) -> Result<(), Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden("a redirect to something other than HTTP"));
        }
        if let Some(hop) = &self.redirected_from
            && self.purpose == Purpose::Index
            && !is_same_server(&hop.url, url)
        {
            return Err(Forbidden("a redirect to another server"));
        }
        if !self.is_typed() && url.port_or_known_default().is_none_or(is_service_port) {
            return Err(Forbidden("a port that belongs to another service"));
        }
        match literal_host(url) {
            Some(ip) => self.check_addr(url, ip),
            None => Ok(()),
        }
    }

    /// Checks an address of a URL's host. Every address is checked when it is used, so that a name
    /// that resolves to another one at another time gains nothing.
    pub(crate) fn check_addr(&self, url: &Url, ip: IpAddr) -> Result<(), Forbidden> {
        let scope = Scope::of(ip);
        if self.is_typed() || scope == Scope::Global {
            return Ok(());
        }
        let is_announce = matches!(self.purpose, Purpose::Tracker | Purpose::TypedTracker);
        match &self.redirected_from {
            Some(hop) if scope < hop.scope => {
                return Err(Forbidden("a redirect into the local network"));
            }
            Some(hop) if !is_announce && !is_same_server(&hop.url, url) => {
                return Err(Forbidden("a redirect to another server in the local network"));
            }
            _ => {}
        }
        if is_announce && !(is_announce_path(url.path()) && is_announce_query(url)) {
            return Err(Forbidden(
                "a server in the local network, with a path or a query that no tracker has",
            ));
        }
        Ok(())
    }
}

/// The IP address in a URL, if its host is one.
pub(crate) fn literal_host(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_same_server(a: &Url, b: &Url) -> bool {
    a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether a path is one of a tracker: its first or its last part begins with `announce` (BEP 48
/// has the convention), and it has nothing that a server could take for another path.
fn is_announce_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    path.bytes().all(is_plain)
        && !path.contains("..")
        && [parts.first(), parts.last()].into_iter().flatten().any(|p| p.starts_with("announce"))
}

/// Whether a query has the parameters of an announce, or of a tracker's account, and no others.
fn is_announce_query(url: &Url) -> bool {
    const NAMES: &[&str] = &[
        "info_hash",
        "peer_id",
        "port",
        "uploaded",
        "downloaded",
        "left",
        "compact",
        "no_peer_id",
        "numwant",
        "key",
        "event",
        "trackerid",
        "corrupt",
        "supportcrypto",
        "passkey",
        "authkey",
        "torrent_pass",
        "auth",
        "pid",
        "uk",
        "uid",
        "user",
    ];
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let mut parameters = url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parameters.all(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        NAMES.contains(&name) && value.len() <= 256 && value.bytes().all(is_plain)
    })
}

/// Whether a port is known for a service that is neither a web server nor a tracker: those that
/// browsers block (the Fetch standard), and those of services over UDP that answer any datagram.
pub(crate) fn is_service_port(port: u16) -> bool {
    const TCP: &[u16] = &[
        0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95,
        101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179,
        389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
        636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
        6665, 6667, 6668, 6697, 10080,
    ];
    const UDP: &[u16] = &[67, 138, 500, 520, 623, 1900, 3702, 5353, 5683, 11211];
    TCP.contains(&port) || UDP.contains(&port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        purpose: Purpose,
        from: Option<(&str, &str)>,
        url: &str,
        ip: &str,
    ) -> Result<(), Forbidden> {
        let redirected_from = from.map(|(url, ip)| Hop {
            url: url.parse().unwrap(),
            scope: Scope::of(ip.parse().unwrap()),
        });
        let rules = Rules { purpose, redirected_from };
        let url = url.parse().unwrap();
        rules.check_url(&url).and_then(|()| rules.check_addr(&url, ip.parse().unwrap()))
    }

    #[test]
    fn addresses_have_scopes() {
        for (ip, scope) in [
            ("127.0.0.9", Scope::Loopback),
            ("0.0.0.0", Scope::Loopback),
            ("::1", Scope::Loopback),
            ("::", Scope::Loopback),
            ("::ffff:127.0.0.1", Scope::Loopback),
            ("169.254.169.254", Scope::LinkLocal),
            ("fe80::1", Scope::LinkLocal),
            ("10.0.0.1", Scope::Private),
            ("192.168.1.1", Scope::Private),
            ("172.16.0.1", Scope::Private),
            ("100.64.0.1", Scope::Private),
            ("fd00::1", Scope::Private),
            ("100.128.0.1", Scope::Global),
            ("8.8.8.8", Scope::Global),
            ("2001:db8::1", Scope::Global),
        ] {
            assert_eq!(Scope::of(ip.parse().unwrap()), scope, "{ip}");
        }
    }

    #[test]
    fn a_torrent_reaches_only_trackers_in_the_local_network() {
        for (url, ip, allowed) in [
            ("http://127.0.0.1:9000/announce", "127.0.0.1", true),
            ("http://127.0.0.1:9000/announce.php?passkey=a1", "127.0.0.1", true),
            ("http://[::1]:9000/a1b2/announce", "::1", true),
            ("http://localhost:9000/announce/a1b2", "127.0.0.1", true),
            ("http://127.0.0.1:9000/admin/delete?x=1&y=", "127.0.0.1", false),
            ("http://127.0.0.1:9000/announce?x=1", "127.0.0.1", false),
            ("http://127.0.0.1:9000/announce?key=%0aDEL", "127.0.0.1", true),
            ("http://127.0.0.1:9000/announce?key=<x>", "127.0.0.1", true),
            ("http://127.0.0.1:9000/announce/../admin", "127.0.0.1", false),
            ("http://127.0.0.1:9000/announce/%2e%2e%2fadmin", "127.0.0.1", false),
            ("http://127.0.0.1:9000/unannounced", "127.0.0.1", false),
            ("http://router.example/reboot", "192.168.1.1", false),
            ("http://innocent.example/latest/meta-data", "169.254.169.254", false),
            ("http://innocent.example/", "0.0.0.0", false),
            ("http://tracker.example/any?thing=1", "8.8.8.8", true),
            ("http://tracker.example:25/announce", "8.8.8.8", false),
            ("https://tracker.example/announce", "8.8.8.8", true),
            ("udp://tracker.example:80", "8.8.8.8", false),
        ] {
            assert_eq!(check(Purpose::Tracker, None, url, ip).is_ok(), allowed, "{url}");
        }
        assert!(check(Purpose::TypedTracker, None, "http://a:25/x?y", "127.0.0.1").is_ok());
    }

    #[test]
    fn a_redirect_does_not_lead_into_the_local_network() {
        let (web, local) = (("http://a.example/x", "8.8.8.8"), ("http://127.0.0.1:8000/x", "::1"));
        let lan = ("http://10.0.0.1/x", "10.0.0.1");
        for (purpose, from, url, ip, allowed) in [
            (Purpose::Download, web, "https://b.example/y?z", "9.9.9.9", true),
            (Purpose::Download, web, "http://b.example/y", "10.0.0.1", false),
            (Purpose::Download, web, "http://a.example/y", "127.0.0.1", false),
            (Purpose::Download, local, "http://127.0.0.1:9000/y", "127.0.0.1", false),
            (Purpose::Download, local, "http://127.0.0.1:8000/y?z", "127.0.0.1", true),
            (Purpose::Download, lan, "http://10.0.0.2/x", "10.0.0.2", false),
            (Purpose::Download, lan, "http://b.example/y", "9.9.9.9", true),
            (Purpose::Download, web, "http://b.example:22/y", "9.9.9.9", false),
            (Purpose::Download, web, "file:///etc/passwd", "9.9.9.9", false),
            (Purpose::Index, web, "http://b.example/", "9.9.9.9", false),
            (Purpose::Index, local, "http://127.0.0.1:9000/", "127.0.0.1", false),
            (Purpose::Index, local, "http://127.0.0.1:8000/index", "127.0.0.1", true),
            (Purpose::Tracker, web, "http://b.example/announce", "127.0.0.1", false),
            (Purpose::Tracker, local, "http://127.0.0.1:9000/announce?port=1", "127.0.0.1", true),
            (Purpose::Tracker, local, "http://127.0.0.1:9000/admin?yes=1", "127.0.0.1", false),
            (Purpose::TypedTracker, local, "http://127.0.0.1:9000/admin", "127.0.0.1", false),
            (Purpose::Tracker, lan, "http://localhost/announce", "127.0.0.1", false),
        ] {
            let result = check(purpose, Some(from), url, ip);
            assert_eq!(result.is_ok(), allowed, "{purpose:?} {url}: {result:?}");
        }
    }
}

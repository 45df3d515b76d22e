//! Whether the `Host` of a request names this node. A web page of another site can make its own
//! name resolve to our address ("DNS rebinding") and would then read our answers as its own: but
//! its browser sends its name as the `Host`.
//!
//! A name that we cannot know may still be right: a DNS name that a user typed. The user of this
//! machine can say which ones are ([`HostNames`]), and our own client sends [`CLIENT_HEADER`],
//! which no page can set on any request, not even on one to its own site: names that begin with
//! `Sec-` are forbidden to scripts (Fetch standard, "forbidden request-header").

use std::{
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

use super::connection::ConnectionAddrs;

/// A header that our own client sends, and that no web page can.
pub const CLIENT_HEADER: &str = "sec-sow-client";

/// The maximum length of a host name and of a part of it between dots (RFC 1035).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The name of this machine, in lower case.
static MACHINE: LazyLock<String> = LazyLock::new(|| {
    rustix::system::uname().nodename().to_string_lossy().trim_end_matches('.').to_ascii_lowercase()
});

/// A name or an address at which this node is reached too, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

/// The names and addresses that a node cannot know by itself, such as its name in the DNS.
#[derive(Debug, Clone, Default)]
pub struct HostNames(Arc<[HostName]>);

/// A text that is neither the name of a host nor an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a host: letters, digits, `-`, `_` and dots, without a port")]
pub struct NotAHostName;

impl FromStr for HostName {
    type Err = NotAHostName;

    fn from_str(text: &str) -> Result<Self, NotAHostName> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self(ip.to_canonical().to_string()));
        }
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let is_label = |label: &str| {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !label.is_empty() && label.len() <= MAX_LABEL && label.chars().all(is_allowed)
        };
        if name.len() <= MAX_NAME && name.split('.').all(is_label) {
            Ok(Self(name))
        } else {
            Err(NotAHostName)
        }
    }
}

impl FromIterator<HostName> for HostNames {
    fn from_iter<T: IntoIterator<Item = HostName>>(names: T) -> Self {
        Self(names.into_iter().collect())
    }
}

impl HostNames {
    /// Whether the host of a request is one of them.
    fn contains(&self, host: &str) -> bool {
        let host = without_port(host);
        !self.0.is_empty() && host.parse().is_ok_and(|host: HostName| self.0.contains(&host))
    }
}

/// The routes of a router that answer under a name of this machine only, or one of `names`.
pub fn only_for_own_names(router: Router, names: HostNames) -> Router {
    router.route_layer(middleware::from_fn_with_state(names, require_own_name))
}

/// Lets a request through if it is for this node, or comes from a program and not from a page.
pub(super) async fn require_own_name(
    State(names): State<HostNames>,
    ConnectInfo(addrs): ConnectInfo<ConnectionAddrs>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if headers.contains_key(CLIENT_HEADER)
        || is_for_us(request.uri(), headers, addrs.local.ip(), &names)
    {
        return next.run(request).await;
    }
    let text = format!(
        "This is not a name of this machine. Its address works: http://{}/\nSharing with \
         `--host-name NAME` adds a name.\n",
        addrs.local
    );
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// Whether a request comes from a web page: browsers say where from, other programs do not.
pub(super) fn is_from_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// Whether a request is one that a page of another site makes for itself, as far as the browser
/// tells. A link that a user followed is none.
pub fn is_foreign_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_foreign = text("sec-fetch-site")
        .is_some_and(|site| !matches!(site, "same-origin" | "none"))
        && text("sec-fetch-mode") != Some("navigate");
    let host = text("host").unwrap_or_default();
    let is_own = |origin: &str| origin.strip_prefix("http://") == Some(host);
    is_foreign
        || headers.get_all(header::ORIGIN).iter().any(|origin| !origin.to_str().is_ok_and(is_own))
}

/// Whether every host that a request names is ours. A request of HTTP/1.0 names none; browsers do
/// not send such ones.
fn is_for_us(uri: &Uri, headers: &HeaderMap, local: IpAddr, names: &HostNames) -> bool {
    let hosts = headers.get_all(header::HOST);
    let hosts = hosts.iter().map(|host| host.to_str().unwrap_or(""));
    hosts
        .chain(uri.authority().map(|authority| authority.as_str()))
        .all(|host| names.contains(host) || is_own_host(host, local, &MACHINE))
}

/// Whether a `Host` names this node, which was reached at `local` and is called `machine`.
fn is_own_host(host: &str, local: IpAddr, machine: &str) -> bool {
    let host = without_port(host).trim_end_matches('.').to_ascii_lowercase();
    if let Ok(ip) = host.parse::<IpAddr>() {
        return is_own_address(ip.to_canonical(), local.to_canonical());
    }
    let short = machine.split('.').next().unwrap_or(machine);
    let is_machine = |name: &str| !name.is_empty() && (name == machine || name == short);
    host == "localhost"
        || host.ends_with(".localhost")
        || is_machine(&host)
        || host.strip_suffix(".local").is_some_and(is_machine)
}

/// Whether an address in a `Host` can be ours. An address translator may stand before a machine
/// with a private address; other addresses are the ones that were connected to.
fn is_own_address(named: IpAddr, local: IpAddr) -> bool {
    named == local || named.is_loopback() && local.is_loopback() || is_private(local)
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether an address is in 100.64.0.0/10 (RFC 6598), which carriers and overlay networks use.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && b & 0xc0 == 64
}

/// A host without its port and brackets, and without a zone.
fn without_port(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        let inner = bracketed.split(']').next().unwrap_or(bracketed);
        return inner.split('%').next().unwrap_or(inner);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own(host: &str, local: &str) -> bool {
        is_own_host(host, local.parse().unwrap(), "build-7.example.net")
    }

    #[test]
    fn a_node_knows_its_addresses_and_its_names() {
        for (host, local) in [
            ("127.0.0.1:52000", "127.0.0.1"),
            ("[::1]:52000", "::1"),
            ("[::1]", "127.0.0.1"),
            ("localhost", "127.0.0.1"),
            ("LocalHost.:80", "::1"),
            ("app.localhost:1", "127.0.0.1"),
            ("198.51.100.7:52000", "198.51.100.7"),
            ("[::ffff:198.51.100.7]:1", "198.51.100.7"),
            ("[2001:db8::7]:52000", "2001:db8::7"),
            ("[fe80::1%25eth0]:52000", "fe80::1"),
            ("build-7:52000", "198.51.100.7"),
            ("BUILD-7.example.net.", "198.51.100.7"),
            ("build-7.local:52000", "10.0.0.7"),
            // An address translator forwards the port.
            ("203.0.113.9:52000", "192.168.1.4"),
        ] {
            assert!(is_own(host, local), "{host} at {local}");
        }
    }

    #[test]
    fn names_of_other_sites_are_not_ours() {
        for (host, local) in [
            ("evil.example", "127.0.0.1"),
            ("evil.example:52000", "10.0.0.7"),
            ("localhost.evil.example", "127.0.0.1"),
            ("build-7.evil.example", "10.0.0.7"),
            ("notlocalhost", "127.0.0.1"),
            ("203.0.113.9:52000", "198.51.100.7"),
            ("203.0.113.9:52000", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.7"),
            ("127.0.0.1.evil.example", "127.0.0.1"),
            ("127.0.0.1@evil.example", "127.0.0.1"),
            ("x", "127.0.0.1"),
            ("", "127.0.0.1"),
            (".local", "127.0.0.1"),
            (":52000", "127.0.0.1"),
            ("[::1", "198.51.100.7"),
        ] {
            assert!(!is_own(host, local), "{host} at {local}");
        }
        assert!(!is_own_host("", "127.0.0.1".parse().unwrap(), ""));
    }

    #[test]
    fn every_host_of_a_request_must_be_ours() {
        let local = "127.0.0.1".parse().unwrap();
        let check = |uri: &str, hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, header::HeaderValue::from_static(host));
            }
            is_for_us(&uri.parse().unwrap(), &headers, local, &HostNames::default())
        };
        assert!(check("/", &["127.0.0.1"]) && check("http://127.0.0.1:1/", &["localhost"]));
        assert!(check("/", &[]), "HTTP/1.0");
        assert!(!check("/", &["evil.example"]) && !check("/", &["127.0.0.1", "evil.example"]));
        assert!(!check("http://evil.example/", &["127.0.0.1"]));
        assert!(!check("http://evil.example/", &[]));
    }

    #[test]
    fn requests_of_other_pages_are_told_from_links() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                let name = header::HeaderName::from_static(name);
                (name, header::HeaderValue::from_static(value))
            });
            is_foreign_page(&pairs.collect())
        };
        let host = ("host", "10.0.0.1:52000");
        for own in [
            &[host][..],
            &[host, ("origin", "http://10.0.0.1:52000"), ("sec-fetch-site", "same-origin")],
            &[host, ("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
            &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
        ] {
            assert!(!check(own), "{own:?}");
        }
        for foreign in [
            &[host, ("origin", "http://10.0.0.1:8080")][..],
            &[host, ("origin", "null")],
            &[host, ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")],
            &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")],
        ] {
            assert!(check(foreign), "{foreign:?}");
        }
    }

    #[test]
    fn names_that_the_user_adds_are_ours_in_any_spelling() {
        let added = ["Files.Example.NET", "203.0.113.9", "2001:db8::9", "intranet"];
        let names: HostNames = added.iter().map(|name| name.parse().unwrap()).collect();
        for host in [
            "files.example.net",
            "FILES.example.net.:52000",
            "203.0.113.9:80",
            "[2001:DB8::9]:52000",
            "[::ffff:203.0.113.9]",
            "intranet:1",
        ] {
            assert!(names.contains(host), "{host}");
        }
        for host in [
            "example.net",
            "x.files.example.net",
            "files.example.net.evil.example",
            "files.example.net@evil.example",
            "203.0.113.8",
            "",
            ":80",
            "[",
        ] {
            assert!(!names.contains(host), "{host}");
        }
        assert!(!HostNames::default().contains("intranet"));
    }

    #[test]
    fn what_is_no_name_of_a_host_is_rejected() {
        let long = format!("{}.{}", "a".repeat(63), "b".repeat(64));
        let longer = ["a"; 200].join(".");
        let bad =
            ["", ".", "a..b", "http://a", "a:80", "a/b", "a b", "*.a", "\u{fc}", &long, &longer];
        for name in bad {
            assert_eq!(name.parse::<HostName>(), Err(NotAHostName), "{name}");
        }
    }
}

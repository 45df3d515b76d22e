//! Whether the `Host` of a request names this node. A web page of another site can make its own
//! name resolve to our address ("DNS rebinding") and would then read our answers as its own: but
//! its browser sends its name as the `Host`.
//!
//! A name that we cannot know may still be right: a DNS name that a user typed. Our own client
//! therefore sends [`CLIENT_HEADER`], which no page can set on any request, not even on one to its
//! own site: names that begin with `Sec-` are forbidden to scripts (Fetch standard, "forbidden
//! request-header").

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::LazyLock,
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::connection::ConnectionAddrs;

/// A header that our own client sends, and that no web page can.
pub const CLIENT_HEADER: &str = "sec-sow-client";

/// The name of this machine, in lower case.
static MACHINE: LazyLock<String> = LazyLock::new(|| {
    rustix::system::uname().nodename().to_string_lossy().trim_end_matches('.').to_ascii_lowercase()
});

/// Lets a request through if it is for this node, or comes from a program and not from a page.
pub(super) async fn require_own_name(
    ConnectInfo(addrs): ConnectInfo<ConnectionAddrs>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if headers.contains_key(CLIENT_HEADER) || is_for_us(request.uri(), headers, addrs.local.ip()) {
        return next.run(request).await;
    }
    let text =
        format!("This is not a name of this machine. Its address works: http://{}/\n", addrs.local);
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// Whether a request comes from a web page: browsers say where from, other programs do not.
pub(super) fn is_from_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// Whether every host that a request names is ours. A request of HTTP/1.0 names none; browsers do
/// not send such ones.
fn is_for_us(uri: &Uri, headers: &HeaderMap, local: IpAddr) -> bool {
    let hosts = headers.get_all(header::HOST);
    let hosts = hosts.iter().map(|host| host.to_str().unwrap_or(""));
    hosts
        .chain(uri.authority().map(|authority| authority.as_str()))
        .all(|host| is_own_host(host, local, &MACHINE))
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
            is_for_us(&uri.parse().unwrap(), &headers, local)
        };
        assert!(check("/", &["127.0.0.1"]) && check("http://127.0.0.1:1/", &["localhost"]));
        assert!(check("/", &[]), "HTTP/1.0");
        assert!(!check("/", &["evil.example"]) && !check("/", &["127.0.0.1", "evil.example"]));
        assert!(!check("http://evil.example/", &["127.0.0.1"]));
        assert!(!check("http://evil.example/", &[]));
    }
}

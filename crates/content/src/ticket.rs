//! Tickets, the line that `sow send` prints and `sow get` takes: `HOST:PORT/HASH`, the origin's
//! address and the info-hash. An IPv6 address is in brackets.
//!
//! Host names are not resolved here.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use crate::{InfoHash, untrusted::excerpt};

/// The port of an address without one.
pub const DEFAULT_PORT: u16 = 52000;

/// The longest host name, in bytes (RFC 1035).
const MAX_HOST: usize = 253;

/// A host name or IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

/// The address of an origin and the swarm to join there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The origin's host, as in [`Address::host`].
    pub host: String,
    /// The origin's port, never 0.
    pub port: u16,
    /// The swarm.
    pub info_hash: InfoHash,
}

/// Why a text is not an address or not a ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The host is missing or has characters that no host name has.
    #[error("`{0}` is not a host name or an IP address")]
    Host(String),
    /// The port is not a number from 1 to 65535.
    #[error("`{0}` is not a port; a port is a number from 1 to 65535")]
    Port(String),
    /// There is no `/`, and so no hash.
    #[error("`{0}` has no `/HASH` at its end")]
    NoHash(String),
    /// The text after the `/` is not an info-hash.
    #[error("`{0}` is not a hash: 32 base-32 characters, or 40 hexadecimal digits")]
    Hash(String),
}

impl Ticket {
    /// The origin's address.
    pub fn address(&self) -> Address {
        Address { host: self.host.clone(), port: self.port }
    }
}

impl Address {
    /// Parses `HOST[:PORT]`; the port defaults to `default_port`.
    ///
    /// # Errors
    /// When the host or the port is not valid.
    pub fn parse_or(text: &str, default_port: u16) -> Result<Self, TicketError> {
        let (host, port) = split_port(text)?;
        let port = match port {
            None => default_port,
            Some(digits) => {
                port_number(digits).ok_or_else(|| TicketError::Port(excerpt(digits)))?
            }
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl FromStr for Address {
    type Err = TicketError;

    /// Parses `HOST[:PORT]`; the port defaults to [`DEFAULT_PORT`]. An IPv6 address needs brackets
    /// when a port follows.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        Self::parse_or(text, DEFAULT_PORT)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Parses `HOST[:PORT]/HASH`, with the hash in base 32 or hexadecimal.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let (address, hash) =
            text.split_once('/').ok_or_else(|| TicketError::NoHash(excerpt(text)))?;
        let Address { host, port } = address.parse()?;
        let info_hash = hash.parse().map_err(|_| TicketError::Hash(excerpt(hash)))?;
        Ok(Self { host, port, info_hash })
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.info_hash.to_base32())
    }
}

/// The host without brackets, and the text after its colon.
fn split_port(text: &str) -> Result<(&str, Option<&str>), TicketError> {
    let bad_host = || TicketError::Host(excerpt(text));
    if is_ipv6(text) {
        return Ok((text, None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) =
            rest.split_once(']').filter(|(host, _)| is_ipv6(host)).ok_or_else(bad_host)?;
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if port.is_empty() => Ok((host, None)),
            None => Err(TicketError::Port(excerpt(port))),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_host_char = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty()
        || host.len() > MAX_HOST
        || !host.chars().all(is_host_char)
        || host.starts_with('-')
    {
        return Err(bad_host());
    }
    Ok((host, port))
}

/// Whether a text is an IPv6 address, with or without a zone (`fe80::1%eth0`).
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let is_zone_char = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    address.parse::<Ipv6Addr>().is_ok()
        && (1..=15).contains(&zone.len())
        && zone.chars().all(is_zone_char)
}

fn port_number(digits: &str) -> Option<u16> {
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&port| only_digits && port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_with_and_without_a_port() {
        for (text, host, port) in [
            ("10.0.0.1", "10.0.0.1", 52000),
            ("10.0.0.1:81", "10.0.0.1", 81),
            ("build-7.example_x.org:6969", "build-7.example_x.org", 6969),
            ("::1", "::1", 52000),
            ("[::1]", "::1", 52000),
            ("[fe80::1%eth0]:9", "fe80::1%eth0", 9),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        let error = |text: &str| text.parse::<Address>().unwrap_err().to_string();
        assert_eq!(error(""), "`` is not a host name or an IP address");
        assert_eq!(error("a b"), "`a b` is not a host name or an IP address");
        assert_eq!(error("-v"), "`-v` is not a host name or an IP address");
        assert_eq!(error("[::1"), "`[::1` is not a host name or an IP address");
        assert_eq!(error("a:0"), "`0` is not a port; a port is a number from 1 to 65535");
        assert_eq!(error("a:+5"), "`+5` is not a port; a port is a number from 1 to 65535");
        assert_eq!(error("a:"), "`` is not a port; a port is a number from 1 to 65535");
        assert_eq!(error("a:65536"), "`65536` is not a port; a port is a number from 1 to 65535");
        assert_eq!(error("[::1]x"), "`x` is not a port; a port is a number from 1 to 65535");
        let error = |text: &str| text.parse::<Ticket>().unwrap_err().to_string();
        assert_eq!(error("host:5"), "`host:5` has no `/HASH` at its end");
        assert!(error("host:5/abc").starts_with("`abc` is not a hash"));
    }

    #[test]
    fn tickets_round_trip() {
        let info_hash = InfoHash(std::array::from_fn(|at| at as u8 * 11));
        for host in ["10.0.0.1", "origin", "2001:db8::7"] {
            let ticket = Ticket { host: host.into(), port: 52001, info_hash };
            assert_eq!(ticket.to_string().parse(), Ok(ticket));
        }
        let ticket = Ticket { host: "10.0.0.1".into(), port: 52000, info_hash };
        assert_eq!(format!("10.0.0.1/{info_hash}").parse(), Ok(ticket.clone()));
        assert!(
            ticket
                .to_string()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:/".contains(&byte))
        );
    }
}

//! Names and addresses of everything in a lab. All of them follow from the lab's name and the
//! host's number; nothing is looked up.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{LabName, host_number};

/// The environment variable that marks every process of a lab: `NAME/h1`, `NAME/relay`.
pub(super) const MEMBER_VARIABLE: &str = "SOW_LAB_MEMBER";

/// The namespace of a host.
pub(super) fn host_namespace(name: &LabName, host: usize) -> String {
    format!("sow-{name}-h{host}")
}

/// The namespace of the switches.
pub(super) fn switch_namespace(name: &LabName) -> String {
    format!("sow-{name}-s")
}

/// Whether a namespace of that name is part of the lab: `sow-a-h1` is part of `a`, `sow-a-b-h1`
/// only of `a-b`.
pub(super) fn is_namespace_of(name: &LabName, namespace: &str) -> bool {
    let part = namespace.strip_prefix("sow-").and_then(|rest| rest.strip_prefix(name.as_str()));
    part.and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|part| part == "s" || host_number(part).is_some())
}

/// The name of the lab that a namespace belongs to.
pub(super) fn lab_of(namespace: &str) -> Option<LabName> {
    let (name, _) = namespace.strip_prefix("sow-")?.rsplit_once('-')?;
    let name = name.parse().ok()?;
    is_namespace_of(&name, namespace).then_some(name)
}

/// 10.0.0.1 for h1. Each 10.0.x.0 has 254 hosts, so that no address looks like a network address or
/// a broadcast address.
pub(super) fn ipv4(host: usize) -> Ipv4Addr {
    let (third, fourth) = split(host);
    Ipv4Addr::new(10, 0, third, fourth)
}

/// fd00:10::1 for h1, a unique local address (RFC 4193).
pub(super) fn ipv6(host: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, u16::try_from(host).unwrap_or(u16::MAX))
}

/// A locally administered address.
pub(super) fn mac(host: usize) -> String {
    let (third, fourth) = split(host);
    format!("02:00:0a:00:{third:02x}:{fourth:02x}")
}

fn split(host: usize) -> (u8, u8) {
    let number = host - 1;
    let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    (byte(number / 254), byte(number % 254 + 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn addresses_are_distinct_and_valid() {
        assert_eq!(ipv4(1), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(ipv4(254), Ipv4Addr::new(10, 0, 0, 254));
        assert_eq!(ipv4(255), Ipv4Addr::new(10, 0, 1, 1));
        assert_eq!(ipv6(1000).to_string(), "fd00:10::3e8");
        assert_eq!(mac(255), "02:00:0a:00:01:01");
        let all: BTreeSet<_> = (1..=1000).map(|host| (ipv4(host), ipv6(host), mac(host))).collect();
        assert_eq!(all.len(), 1000);
        assert!((1..=1000).all(|host| !matches!(ipv4(host).octets()[3], 0 | 255)));
    }

    #[test]
    fn a_lab_recognizes_only_its_own_namespaces() {
        let [a, ab] = ["a", "a-b"].map(|name| name.parse::<LabName>().unwrap());
        assert!(is_namespace_of(&a, &host_namespace(&a, 12)));
        assert!(is_namespace_of(&a, &switch_namespace(&a)));
        assert!(is_namespace_of(&ab, &host_namespace(&ab, 1)));
        for other in [
            "sow-a-b-h1",
            "sow-a-b-s",
            "sow-ab-h1",
            "sow-a-h01",
            "sow-a-h",
            "sow-a-",
            "sow-a",
            "a-h1",
            "h1",
        ] {
            assert!(!is_namespace_of(&a, other), "{other}");
        }
        assert_eq!(lab_of("sow-a-b-h1"), Some(ab));
        assert_eq!(lab_of("sow-a-s"), Some(a));
        for other in ["sow-s", "sow-h1", "sow-A-h1", "sow-bench-12-3", "h1", "sow--h1"] {
            assert_eq!(lab_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_lab_named_like_a_host_is_not_confused_with_one() {
        let [a, ah1] = ["a", "a-h1"].map(|name| name.parse::<LabName>().unwrap());
        assert!(!is_namespace_of(&a, &switch_namespace(&ah1)));
        assert!(!is_namespace_of(&a, &host_namespace(&ah1, 1)));
        assert!(!is_namespace_of(&ah1, &host_namespace(&a, 1)));
    }
}

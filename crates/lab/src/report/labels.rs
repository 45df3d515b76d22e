//! Short texts for numbers and hosts, the same in tables, pictures and captions.

/// The limit of host names in a list.
const MAX_LISTED_HOSTS: usize = 6;

/// `5 users`.
pub(crate) fn users_label(users: u32) -> String {
    if users == 1 { "1 user".to_owned() } else { format!("{users} users") }
}

/// `5 receivers`.
pub(crate) fn receivers_label(users: u32) -> String {
    if users == 1 { "1 receiver".to_owned() } else { format!("{users} receivers") }
}

/// A number with at max two decimal places and without trailing zeros.
pub(crate) fn decimals(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A length such as `10 MB` or `1 GiB`: with the unit that gives the shortest number.
pub(crate) fn size_label(bytes: u64) -> String {
    let units = [
        (1_u64 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1000, "kB"),
    ];
    let whole = units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match whole.or_else(|| units.iter().find(|(unit, name)| bytes >= *unit && !name.contains('i')))
    {
        Some((unit, name)) => format!("{} {name}", decimals(bytes as f64 / *unit as f64)),
        None => format!("{bytes} bytes"),
    }
}

/// A number such as `10 485 760`, with non-breaking spaces.
pub(crate) fn grouped_digits(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// `h1 to h6` for consecutive numbers; otherwise all names, or the first of more than six.
pub(crate) fn host_list(names: &[&str]) -> String {
    let parts: Vec<_> = names.iter().map(|name| natural_key(name)).collect();
    let run = parts
        .windows(2)
        .all(|pair| pair[0].0 == pair[1].0 && pair[0].1.checked_add(1) == Some(pair[1].1));
    match names {
        [first, _, .., last] if run => format!("{first} to {last}"),
        [first, ..] if names.len() > MAX_LISTED_HOSTS => {
            format!("{first} and {} more", names.len() - 1)
        }
        _ => names.join(", "),
    }
}

/// The sort key of a host name: `h10` is split into `h` and 10, so that it follows `h9`.
pub(crate) fn natural_key(name: &str) -> (&str, u64) {
    let end = name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    name[end..].parse().map_or((name, 0), |number| (&name[..end], number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_listed_briefly() {
        assert_eq!(host_list(&["h1", "h2", "h3"]), "h1 to h3");
        assert_eq!(host_list(&["h1", "h3"]), "h1, h3");
        assert_eq!(host_list(&["h9", "h10", "h11"]), "h9 to h11");
        assert_eq!(host_list(&["a", "b", "c", "d", "e", "f", "g"]), "a and 6 more");
        assert_eq!(host_list(&[]), "");
    }

    #[test]
    fn lengths_have_the_unit_that_fits() {
        let lengths = [999, 10_000_000, 10 << 20, 1 << 30, 12_345_678, 1_500_000_000];
        assert_eq!(
            lengths.map(size_label),
            ["999 bytes", "10 MB", "10 MiB", "1 GiB", "12.35 MB", "1500 MB"]
        );
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped_digits(1), "1");
        assert_eq!(grouped_digits(10_485_760), "10\u{a0}485\u{a0}760");
    }
}

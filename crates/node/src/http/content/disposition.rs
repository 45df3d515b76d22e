//! The name under which a browser saves a file (RFC 6266).

use std::fmt::Write;

use axum::http::HeaderValue;
use sow_content::percent;

/// `attachment` with a name: as it is in UTF-8 (RFC 8187), and in ASCII for old programs, where any
/// other character and what would end the quoted string is `_`.
pub(super) fn attachment(name: &str) -> HeaderValue {
    let plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '%');
    let ascii: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut value = format!("attachment; filename=\"{ascii}\"");
    if ascii != name {
        let encoded = percent::encode(name.as_bytes(), percent::COMPONENT);
        // Writing to a string does not fail.
        let _ = write!(value, "; filename*=UTF-8''{encoded}");
    }
    HeaderValue::try_from(value).expect("visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_given_whole_and_in_ascii() {
        for (name, expected) in [
            ("big.iso", r#"attachment; filename="big.iso""#),
            ("a b; c='d'.txt", r#"attachment; filename="a b; c='d'.txt""#),
            ("a\"b\\c", r#"attachment; filename="a_b_c"; filename*=UTF-8''a%22b%5Cc"#),
            ("50%.bin", r#"attachment; filename="50_.bin"; filename*=UTF-8''50%25.bin"#),
            (
                "größe\r\nX: y",
                "attachment; filename=\"gr__e__X: y\"; \
                 filename*=UTF-8''gr%C3%B6%C3%9Fe%0D%0AX%3A%20y",
            ),
            ("日本", "attachment; filename=\"__\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC"),
        ] {
            assert_eq!(attachment(name), expected, "{name}");
        }
    }
}

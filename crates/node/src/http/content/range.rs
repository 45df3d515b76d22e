//! Conditional and partial requests (RFC 9110, 13 and 14): what a request asks for of a file whose
//! bytes its `ETag` names. All of our tags are strong.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The part of a file that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    Whole,
    /// A range of bytes, not empty.
    Part(Range<u64>),
    /// Several ranges in the order of the request, not empty and without overlaps.
    Parts(Vec<Range<u64>>),
    /// A range that the file does not have.
    Unsatisfiable,
}

/// Whether the client has the file as it is: `If-None-Match` names it.
pub(super) fn is_current(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    tags(headers, header::IF_NONE_MATCH).any(|tag| {
        // This comparison is the weak one.
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
    })
}

/// Whether the file is what the client expects: `If-Match` is absent or names it.
pub(super) fn is_matched(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    !headers.contains_key(header::IF_MATCH)
        || tags(headers, header::IF_MATCH)
            .any(|tag| tag == "*" || tag.as_bytes() == etag.as_bytes())
}

/// The maximum number of ranges that are sent one by one. Real clients ask for a few.
const MAX_PARTS: usize = 16;

/// What a request asks for of a file of `length` bytes. Many ranges, and ranges that overlap, count
/// as the whole file, which a server may send for any range; so does a range in another unit, or of
/// another state of the file (`If-Range`).
pub(super) fn select(headers: &HeaderMap, etag: &HeaderValue, length: u64) -> Selection {
    let same = |tag: &HeaderValue| tag.as_bytes().trim_ascii() == etag.as_bytes();
    if !headers.get(header::IF_RANGE).is_none_or(same) {
        return Selection::Whole;
    }
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let range = range.and_then(|range| range.split_once('='));
    match range {
        Some((unit, range)) if unit.trim().eq_ignore_ascii_case("bytes") => {
            parse_all(range, length)
        }
        _ => Selection::Whole,
    }
}

/// A list of ranges, as it is behind `bytes=`. Those that the file does not have are left out.
fn parse_all(ranges: &str, length: u64) -> Selection {
    let mut parts: Vec<Range<u64>> = Vec::new();
    let ranges = ranges.split(',').map(str::trim).filter(|range| !range.is_empty());
    let mut is_any = false;
    for (at, range) in ranges.enumerate() {
        is_any = true;
        match parse(range, length) {
            Selection::Part(part) if at < MAX_PARTS => parts.push(part),
            Selection::Unsatisfiable if at < MAX_PARTS => {}
            _ => return Selection::Whole,
        }
    }
    let overlap = |(at, one): (usize, &Range<u64>)| {
        parts[..at].iter().any(|other| one.start < other.end && other.start < one.end)
    };
    match parts.as_slice() {
        [] if is_any => Selection::Unsatisfiable,
        [] => Selection::Whole,
        [only] => Selection::Part(only.clone()),
        several if several.iter().enumerate().any(overlap) => Selection::Whole,
        _ => Selection::Parts(parts),
    }
}

/// One range, as it is behind `bytes=`.
fn parse(range: &str, length: u64) -> Selection {
    let Some((first, last)) = range.split_once('-') else { return Selection::Whole };
    let (first, last) = (number(first), number(last));
    match (first, last) {
        (Some(Some(first)), Some(last)) => {
            let end = last.map_or(length, |last| last.saturating_add(1).min(length));
            match last.is_some_and(|last| last < first) {
                true => Selection::Whole,
                false if first >= length => Selection::Unsatisfiable,
                false => Selection::Part(first..end),
            }
        }
        (Some(None), Some(Some(suffix))) => match suffix.min(length) {
            0 => Selection::Unsatisfiable,
            suffix => Selection::Part(length - suffix..length),
        },
        _ => Selection::Whole,
    }
}

/// Digits, or nothing (`Some(None)`); `None` for anything else. A number that is too large counts
/// as the largest.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    match (text.is_empty(), text.bytes().all(|byte| byte.is_ascii_digit())) {
        (true, _) => Some(None),
        (_, true) => Some(Some(text.parse().unwrap_or(u64::MAX))),
        (_, false) => None,
    }
}

/// The entity tags of a header. Ours contain no comma.
fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: HeaderValue = HeaderValue::from_static("\"abc\"");

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn ranges_are_selected_and_senseless_ones_are_the_whole() {
        use Selection::{Part, Parts, Unsatisfiable, Whole};
        let many = (0..17).map(|at| format!("{}-{}", 2 * at, 2 * at)).collect::<Vec<_>>();
        let many = format!("bytes={}", many.join(","));
        for (range, expected) in [
            ("bytes=0-0", Part(0..1)),
            ("bytes=5-", Part(5..100)),
            ("Bytes = 5-1000", Part(5..100)),
            ("bytes=-7", Part(93..100)),
            ("bytes=-700", Part(0..100)),
            ("bytes=99-99", Part(99..100)),
            ("bytes=0-99999999999999999999999", Part(0..100)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=7-5", Whole),
            ("bytes=0-1,5-6", Parts(vec![0..2, 5..7])),
            ("bytes=-5 , ,0-0,200-300", Parts(vec![95..100, 0..1])),
            ("bytes=200-, 3-3", Part(3..4)),
            ("bytes=200-, 300-", Unsatisfiable),
            ("bytes=0-5,5-6", Whole),
            ("bytes=0-,0-,0-,0-", Whole),
            ("bytes=0-1,x", Whole),
            ("bytes=,", Whole),
            (&many, Whole),
            ("bytes=-", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1", Whole),
            ("lines=1-2", Whole),
            ("", Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_str(range).unwrap());
            assert_eq!(select(&headers, &ETAG, 100), expected, "{range}");
        }
        let first = headers(&[(header::RANGE, "bytes=0-0")]);
        assert_eq!(select(&first, &ETAG, 0), Unsatisfiable);
    }

    #[test]
    fn a_range_of_another_state_of_the_file_is_the_whole() {
        for (tag, expected) in [
            ("\"abc\"", Selection::Part(3..4)),
            ("W/\"abc\"", Selection::Whole),
            ("\"abd\"", Selection::Whole),
            ("Sun, 29 Nov 2026 02:00:00 GMT", Selection::Whole),
        ] {
            let headers = headers(&[(header::RANGE, "bytes=3-3"), (header::IF_RANGE, tag)]);
            assert_eq!(select(&headers, &ETAG, 100), expected, "{tag}");
        }
    }

    #[test]
    fn conditions_compare_tags() {
        for (value, current, matched) in [
            ("\"abc\"", true, true),
            ("W/\"abc\"", true, false),
            ("\"x\", \"abc\"", true, true),
            ("*", true, true),
            ("\"x\"", false, false),
            ("", false, false),
        ] {
            let of = |name| headers(&[(name, value)]);
            assert_eq!(is_current(&of(header::IF_NONE_MATCH), &ETAG), current, "{value}");
            assert_eq!(is_matched(&of(header::IF_MATCH), &ETAG), matched, "{value}");
        }
        assert!(!is_current(&HeaderMap::new(), &ETAG) && is_matched(&HeaderMap::new(), &ETAG));
    }
}

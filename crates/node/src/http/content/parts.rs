//! What an answer sends of a file: all of it, a range, or several ranges (RFC 9110, 14.6).

use std::ops::Range;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;

use super::body::Section;

/// The parts of a file in an answer.
#[derive(Debug)]
pub(super) struct Parts {
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// The length of its body in bytes.
    pub(super) length: u64,
    /// The body. Ranges are within the file.
    pub(super) sections: Vec<Section>,
    /// Headers that only these parts have.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Parts {
    /// A whole file of `length` bytes.
    pub(super) fn whole(length: u64) -> Self {
        let sections = vec![Section { head: Bytes::new(), range: 0..length }];
        Self { status: StatusCode::OK, length, sections, headers: Vec::new() }
    }

    /// A range of a file of `length` bytes.
    pub(super) fn one(part: Range<u64>, length: u64) -> Self {
        let headers = vec![(header::CONTENT_RANGE, ascii(content_range(&part, length)))];
        let (status, count) = (StatusCode::PARTIAL_CONTENT, part.end - part.start);
        let sections = vec![Section { head: Bytes::new(), range: part }];
        Self { status, length: count, sections, headers }
    }

    /// Ranges of a file of `length` bytes, each behind a head of its own.
    pub(super) fn several(parts: &[Range<u64>], length: u64) -> Self {
        let boundary = format!("sow-{:032x}", fastrand::u128(..));
        let mut sections: Vec<Section> = parts
            .iter()
            .map(|part| {
                let range = content_range(part, length);
                let head = format!(
                    "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
                     Content-Range: {range}\r\n\r\n"
                );
                Section { head: Bytes::from(head), range: part.clone() }
            })
            .collect();
        let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        sections.push(Section { head: end, range: 0..0 });
        let size = |one: &Section| one.head.len() as u64 + one.range.end - one.range.start;
        let kind = ascii(format!("multipart/byteranges; boundary={boundary}"));
        Self {
            status: StatusCode::PARTIAL_CONTENT,
            length: sections.iter().map(size).sum(),
            sections,
            headers: vec![(header::CONTENT_TYPE, kind)],
        }
    }
}

fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_ranges_have_heads_of_their_own() {
        let parts = Parts::several(&[5..7, 0..1], 100);
        let kind = parts.headers[0].1.to_str().unwrap();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        assert!(boundary.len() <= 70, "RFC 2046");
        let text: Vec<_> =
            parts.sections.iter().map(|one| String::from_utf8_lossy(&one.head)).collect();
        assert!(text[0].starts_with(&format!("\r\n--{boundary}\r\n")), "{text:?}");
        assert!(text[0].ends_with("Content-Range: bytes 5-6/100\r\n\r\n"), "{text:?}");
        assert_eq!(text[2], format!("\r\n--{boundary}--\r\n"));
        let heads: usize = text.iter().map(|text| text.len()).sum();
        assert_eq!(parts.length, heads as u64 + 3);
    }
}

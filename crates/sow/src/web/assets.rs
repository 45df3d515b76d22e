//! The page and its parts, which are in the binary. Browsers keep them until they change.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use sow_content::hash::sha1;

/// The page may load its own parts and talk to its own port, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const PAGE: &str = include_str!("page/index.html");

/// The name, the type and the text of each part.
const PARTS: [(&str, &str, &str); 5] = [
    ("page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("plot.js", "text/javascript; charset=utf-8", include_str!("page/plot.js")),
    ("shares.js", "text/javascript; charset=utf-8", include_str!("page/shares.js")),
    ("page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

/// A tag for each part, in the same order.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |text: &str| {
        let hash = sha1(text.as_bytes());
        let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        HeaderValue::try_from(format!("\"{digits}\"")).expect("ASCII")
    };
    PARTS.iter().map(|(_, _, text)| tag(text)).collect()
});

/// The page.
pub(super) fn page() -> Response {
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (head, PAGE).into_response()
}

/// Answers `/-/NAME`.
pub(super) async fn answer(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(index) = PARTS.iter().position(|(part, ..)| *part == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (_, kind, text) = PARTS[index];
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, TAGS[index].clone()),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'")),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&TAGS[index]) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, Bytes::from_static(text.as_bytes())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_uses_nothing_from_elsewhere() {
        for text in PARTS.map(|(_, _, text)| text).into_iter().chain([PAGE]) {
            // The name of the SVG namespace is no address.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for outside in ["http://", "https://", "//cdn", "@import", "innerHTML", "eval("] {
                assert!(!text.contains(outside), "{outside}");
            }
        }
        assert!(!PAGE.contains("style=") && !PAGE.contains("onclick"), "the policy forbids it");
        let script = PARTS[0].2;
        for (name, ..) in PARTS {
            let part = format!("/-/{name}");
            assert!(PAGE.contains(&part) || script.contains(&part), "{name}");
        }
    }
}

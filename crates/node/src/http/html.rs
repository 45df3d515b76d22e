//! HTML for browsers: whether a client takes it, and texts of unknown origin in it.

use axum::http::{HeaderMap, header};
use sow_content::untrusted::printable;

/// Whether a client is a browser that shows a page.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepts.is_some_and(|accept| accept.contains("text/html"))
}

/// A text of unknown origin, for HTML.
pub(super) fn escape(text: &str) -> String {
    let text = printable(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

//! The listing of a folder: a page for browsers, JSON for other clients. Long ones have several
//! pages.

use std::fmt::Write;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Json, Response},
};
use serde_json::{Value, json};
use sow_content::percent;

use super::{
    super::{
        html::{accepts_html, escape},
        protection::AnswerCost,
    },
    tree::{Child, FileTree},
};

/// The maximum number of entries on a page.
const MAX_ENTRIES: usize = 2000;

/// Entries that are as much work as one request.
const ENTRIES_PER_REQUEST: usize = 100;

/// What a request says about the page of a folder.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Page<'a> {
    /// The request ends with a slash, so that links are relative to the folder.
    pub(in crate::http) has_slash: bool,
    /// The path of the request, still encoded.
    pub(in crate::http) raw_path: &'a str,
    /// The number of entries before those of this page.
    pub(in crate::http) from: usize,
}

impl Page<'_> {
    /// A relative redirect to the same path with a slash.
    pub(super) fn redirect_to_folder(&self) -> Response {
        let last = self.raw_path.rsplit('/').next().unwrap_or_default();
        // `./` in front, because a name may contain a colon.
        match HeaderValue::try_from(format!("./{last}/")) {
            Ok(target) => {
                (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, target)]).into_response()
            }
            Err(_) => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

/// The listing of the folder with this prefix.
pub(super) fn answer(
    tree: &FileTree,
    prefix: &str,
    headers: &HeaderMap,
    page: &Page<'_>,
) -> Response {
    let (mut response, entries) = list(tree, prefix, headers, page);
    // Those before the page are counted, too.
    let entries = entries + page.from.min(tree.file_count());
    response.extensions_mut().insert(AnswerCost(entries / ENTRIES_PER_REQUEST));
    response
}

/// The answer, and the number of its entries.
fn list(tree: &FileTree, prefix: &str, headers: &HeaderMap, page: &Page<'_>) -> (Response, usize) {
    let mut entries: Vec<Child<'_>> =
        tree.children(prefix, page.from).take(MAX_ENTRIES + 1).collect();
    let next = (entries.len() > MAX_ENTRIES).then_some(page.from + MAX_ENTRIES);
    entries.truncate(MAX_ENTRIES);
    let count = entries.len();
    let title = format!("{}/{prefix}", tree.name());
    if accepts_html(headers) {
        return (Html(html(&title, !prefix.is_empty(), &entries, next)).into_response(), count);
    }
    let entries: Vec<Value> = entries.iter().map(entry).collect();
    let next = next.map(|next| format!("?from={next}"));
    (Json(json!({ "folder": title, "entries": entries, "next": next })).into_response(), count)
}

fn entry(child: &Child<'_>) -> Value {
    match child {
        Child::Folder(name) => json!({ "name": name, "type": "folder" }),
        Child::File(name, length) => json!({ "name": name, "type": "file", "length": length }),
    }
}

fn html(title: &str, has_parent: bool, entries: &[Child<'_>], next: Option<usize>) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>{title}</title>\n\
         <style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui;max-width:44rem;\
         margin:2rem auto;padding:0 1rem}}td{{padding:0 1rem 0 0;overflow-wrap:anywhere}}\
         td+td{{text-align:right;white-space:nowrap}}</style>\n<h1>{title}</h1>\n<table>\n"
    );
    // Writing to a string does not fail.
    if has_parent {
        let _ = page.write_str("<tr><td><a href=\"../\">..</a><td>\n");
    }
    for child in entries {
        let (name, slash, length) = match child {
            Child::Folder(name) => (name, "/", String::new()),
            Child::File(name, length) => (name, "", format!("{length} bytes")),
        };
        let href = percent::encode(name.as_bytes(), percent::COMPONENT);
        let name = escape(name);
        let _ = writeln!(page, "<tr><td><a href=\"./{href}{slash}\">{name}{slash}</a><td>{length}");
    }
    page.push_str("</table>\n");
    if let Some(next) = next {
        let _ = writeln!(page, "<p><a href=\"?from={next}\">more</a></p>");
    }
    page
}

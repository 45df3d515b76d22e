//! The file of this program over HTTP, for machines that `sow push` reaches and that have no `sow`
//! yet. They check its SHA-256.

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use tokio::sync::OnceCell;

/// The path of the program on a port that serves it.
pub const PROGRAM_PATH: &str = "/.sow/program";

/// This program, also after its file was replaced.
pub const OWN_FILE: &str = "/proc/self/exe";

/// The bytes of the file: one copy for all requests, read for the first of them.
static BYTES: OnceCell<Bytes> = OnceCell::const_new();

/// Answers `GET` for [`PROGRAM_PATH`].
pub fn program_file() -> Router {
    Router::new().route(PROGRAM_PATH, get(program))
}

async fn program() -> Response {
    let read = || async { tokio::fs::read(OWN_FILE).await.map(Bytes::from) };
    match BYTES.get_or_try_init(read).await {
        Ok(bytes) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (kind, bytes.clone()).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

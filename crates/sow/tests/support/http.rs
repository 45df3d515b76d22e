//! A client for one HTTP request, without a library, so that a test sees every byte of an answer.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::TEST_TIMEOUT;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, by name in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `GET path` with more headers, each `Name: value`.
pub fn get(address: &str, path: &str, headers: &[&str]) -> Answer {
    request(address, "GET", path, headers)
}

/// A request with any method. The `Host` is the address, unless the headers name one.
pub fn request(address: &str, method: &str, path: &str, headers: &[&str]) -> Answer {
    answer(send(address, method, path, headers), path)
}

/// The whole answer to the request for `path` that was sent.
pub fn answer(mut stream: TcpStream, path: &str) -> Answer {
    let mut bytes = Vec::new();
    // A connection that is closed early is reset behind its answer.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("{path}: {}", String::from_utf8_lossy(&bytes)));
    let body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap();
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let headers = rest.lines().filter_map(|line| line.split_once(": "));
    let mut known = BTreeMap::new();
    for (name, value) in headers {
        let before = known.insert(name.to_ascii_lowercase(), value.to_owned());
        assert_eq!(before, None, "{path}: two headers {name}");
    }
    Answer { status, headers: known, body }
}

/// Sends a request. The connection ends with its answer.
pub fn send(address: &str, method: &str, path: &str, headers: &[&str]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT.min(Duration::from_secs(30)))).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    stream
}

//! One GET request, with the redirects that it may follow. Each hop is checked against
//! `destination`, by the address that is really used; the answer is limited in length and time, and
//! decompressed.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, LOCATION},
};
use tokio::time::{Instant, timeout_at};

use super::{
    client::{http_client, http_error},
    content_encoding::{self, EncodingError},
    destination::{Forbidden, Hop, Purpose, Rules, Scope, literal_host},
    own_names::CLIENT_HEADER,
    resolver::CheckedResolver,
};

/// The maximum number of redirects that are followed.
const MAX_REDIRECTS: usize = 3;

/// What a request asks for, and its limits.
#[derive(Debug, Clone, Copy)]
pub struct HttpRequest<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The acceptable content types.
    pub accept: &'a str,
    /// The local address to connect from.
    pub bind: Option<IpAddr>,
    /// The maximum length of the answer in bytes, also of what it decompresses to.
    pub max_length: usize,
    /// How long it may take until the answer begins, over all redirects.
    pub answer_timeout: Duration,
    /// How long everything may take.
    pub timeout: Duration,
}

/// An answer.
#[derive(Debug)]
pub struct HttpAnswer {
    /// Its status, which is no redirect.
    pub status: StatusCode,
    /// Its body, decompressed.
    pub body: Vec<u8>,
    /// The address of the server. Behind a proxy, an address that is none.
    pub from: SocketAddr,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The request must not be made.
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
    /// The server redirects to where no request must be made.
    #[error("it redirects to where it must not: {0}")]
    ForbiddenRedirect(Forbidden),
    /// The server redirects too often.
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    /// A redirect without a usable URL.
    #[error("a redirect to something that is not a URL")]
    InvalidRedirect,
    /// The answer is longer than allowed.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer did not arrive in time.
    #[error("no answer in time")]
    Timeout,
    /// The answer cannot be decompressed.
    #[error("{0}")]
    Encoding(String),
    /// The request failed. The text does not contain the URL, which may hold a passkey.
    #[error("{0}")]
    Failed(String),
}

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            if let Some(forbidden) = deeper.downcast_ref::<Forbidden>() {
                return Self::Forbidden(*forbidden);
            }
            cause = deeper;
        }
        Self::Failed(http_error(&error))
    }
}

/// Requests what is at a URL.
///
/// # Errors
/// When the URL or a redirect is not allowed, the server cannot be reached, or its answer is too
/// long or too late.
pub async fn http_get(url: Url, options: HttpRequest<'_>) -> Result<HttpAnswer, HttpError> {
    let begun = Instant::now();
    let answered = follow(url, &options);
    let answer_due = begun + options.answer_timeout.min(options.timeout);
    let answer = timeout_at(answer_due, answered).await.map_err(|_| HttpError::Timeout)?;
    let (mut response, from) = answer?;
    let encoding = response.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let encoding = encoding.unwrap_or_default().to_owned();
    let reading = read_body(&mut response, options.max_length);
    let body = timeout_at(begun + options.timeout, reading).await;
    let body = body.map_err(|_| HttpError::Timeout)??;
    let body = content_encoding::decode(&encoding, body, options.max_length);
    let body = body.map_err(|error| match error {
        EncodingError::TooLong => HttpError::TooLong(options.max_length),
        error => HttpError::Encoding(error.to_string()),
    })?;
    Ok(HttpAnswer { status: response.status(), body, from })
}

/// Sends the request and follows redirects. The answer, and the address that it came from.
async fn follow(
    mut url: Url,
    options: &HttpRequest<'_>,
) -> Result<(Response, SocketAddr), HttpError> {
    let mut rules = Rules { purpose: options.purpose, redirected_from: None };
    for hop in 0..=MAX_REDIRECTS {
        let refused = |error: HttpError| match error {
            HttpError::Forbidden(reason) if hop > 0 => HttpError::ForbiddenRedirect(reason),
            error => error,
        };
        rules.check_url(&url).map_err(|reason| refused(reason.into()))?;
        let resolver = Arc::new(CheckedResolver::new(url.clone(), rules.clone()));
        let client = client(&url, options, &resolver)?;
        let request = client.get(url.clone()).header(ACCEPT, options.accept);
        let mut request = request.header(ACCEPT_ENCODING, "gzip, deflate");
        if matches!(options.purpose, Purpose::Index | Purpose::Download) {
            // An origin answers us under any name.
            request = request.header(CLIENT_HEADER, env!("CARGO_PKG_VERSION"));
        }
        let response = request.send().await.map_err(|error| refused(error.into()))?;
        let scope = literal_host(&url).map(Scope::of).or(resolver.scope());
        if !is_redirect(response.status()) {
            let proxied = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let from = response.remote_addr().filter(|_| scope.is_some()).unwrap_or(proxied);
            return Ok((response, from));
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| url.join(location).ok());
        let next = next.ok_or(HttpError::InvalidRedirect)?;
        // What a proxy reaches is as far as this machine can tell.
        let scope = scope.unwrap_or(Scope::Global);
        rules.redirected_from = Some(Hop { url, scope });
        url = next;
    }
    Err(HttpError::TooManyRedirects)
}

fn client(
    url: &Url,
    options: &HttpRequest<'_>,
    resolver: &Arc<CheckedResolver>,
) -> Result<Client, reqwest::Error> {
    http_client(url, options.bind, options.timeout, Arc::clone(resolver))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

async fn read_body(response: &mut Response, max_length: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_length {
            return Err(HttpError::TooLong(max_length));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    /// A server on loopback that gives every request the same answer, and how often it was asked.
    fn server(answer: impl Fn(u16) -> Vec<u8> + Send + 'static) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let answer_one = move |mut stream: TcpStream| {
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer(port));
        };
        thread::spawn(move || listener.incoming().flatten().for_each(answer_one));
        (port, asked)
    }

    fn redirect_to(url: &str) -> Vec<u8> {
        format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    }

    fn options(purpose: Purpose) -> HttpRequest<'static> {
        HttpRequest {
            purpose,
            accept: "*/*",
            bind: None,
            max_length: 1000,
            answer_timeout: Duration::from_secs(20),
            timeout: Duration::from_secs(20),
        }
    }

    async fn get(purpose: Purpose, url: &str) -> Result<HttpAnswer, HttpError> {
        http_get(url.parse().unwrap(), options(purpose)).await
    }

    fn ok() -> Vec<u8> {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    }

    #[tokio::test]
    async fn nothing_redirects_to_a_service_of_this_machine() {
        let (internal, asked) = server(|_| ok());
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let target = format!("http://{host}:{internal}/admin/reboot?yes=1");
            let (port, _) = server(move |_| redirect_to(&target));
            for purpose in
                [Purpose::Tracker, Purpose::TypedTracker, Purpose::Download, Purpose::Index]
            {
                let answer = get(purpose, &format!("http://127.0.0.1:{port}/announce")).await;
                let is_refused = matches!(answer, Err(HttpError::ForbiddenRedirect(_)));
                assert!(is_refused, "{purpose:?} {answer:?}");
            }
        }
        let direct = format!("http://localhost:{internal}/admin/delete?x=1");
        let answer = get(Purpose::Tracker, &direct).await;
        assert!(matches!(answer, Err(HttpError::Forbidden(_))), "{answer:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        let announce = format!("http://localhost:{internal}/announce");
        let answer = get(Purpose::Tracker, &announce).await.unwrap();
        assert_eq!((answer.body, answer.from.port()), (b"ok".to_vec(), internal));
        assert!(answer.from.ip().is_loopback());
    }

    #[tokio::test]
    async fn redirects_on_the_same_server_are_followed_a_few_times() {
        let (port, asked) = server(|port| redirect_to(&format!("http://127.0.0.1:{port}/again")));
        let answer = get(Purpose::Index, &format!("http://127.0.0.1:{port}/")).await;
        assert!(matches!(answer, Err(HttpError::TooManyRedirects)), "{answer:?}");
        assert_eq!(asked.load(Ordering::Relaxed), MAX_REDIRECTS + 1);
    }

    #[tokio::test]
    async fn errors_name_the_cause_and_not_the_url() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let url: Url = format!("http://127.0.0.1:{port}/announce?passkey=secret").parse().unwrap();
        let hasty = HttpRequest { timeout: Duration::from_millis(200), ..options(Purpose::Index) };
        let silent = http_get(url.clone(), hasty).await.unwrap_err();
        assert_eq!(silent.to_string(), "no answer in time");
        drop(listener);
        let refused = http_get(url, options(Purpose::Index)).await.unwrap_err().to_string();
        assert!(refused.contains("refused") && !refused.contains("secret"), "{refused}");
    }

    #[tokio::test]
    async fn an_answer_is_limited_in_length() {
        let long = |_| [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 1001]].concat();
        let (port, _) = server(long);
        let answer = get(Purpose::Download, &format!("http://127.0.0.1:{port}/")).await;
        assert!(matches!(answer, Err(HttpError::TooLong(1000))), "{answer:?}");
    }
}

//! HTTP clients, set up for the URL that they are for: with a proxy and with certificate
//! authorities only where those are useful. No request is made here.

use std::{error::Error, net::IpAddr, sync::Arc, time::Duration};

use reqwest::{Client, Url, redirect};

use super::{
    destination::{Scope, literal_host},
    resolver::{CheckedResolver, SharedResolver},
};

/// A client for one URL. It connects from `bind` if that is given; `timeout` is the time limit for
/// a request as a whole.
///
/// The proxy that the environment names is not used for hosts of the local network. A machine
/// without certificate authorities can still fetch `http` URLs. Redirects are not followed.
///
/// # Errors
/// When the URL is `https` and the machine has no certificate authorities.
pub(super) fn http_client(
    url: &Url,
    bind: Option<IpAddr>,
    timeout: Duration,
    resolver: Arc<CheckedResolver>,
) -> Result<Client, reqwest::Error> {
    let is_local = is_local(url);
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("sow/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            .dns_resolver(Arc::new(SharedResolver(Arc::clone(&resolver))))
            .referer(false)
            .local_address(bind)
            // The next request, if there is one, comes half a minute later: no connection is kept
            // open for it.
            .pool_max_idle_per_host(0);
        if is_local { builder.no_proxy() } else { builder }
    };
    let without_authorities = || builder().tls_certs_only([]).build();
    match url.scheme() {
        "http" if is_local => without_authorities(),
        "http" => builder().build().or_else(|_| without_authorities()),
        _ => builder().build(),
    }
}

/// The cause of a failed request in a few words, without the URL, which may hold a passkey.
pub(super) fn http_error(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.source().is_none() { "the request failed".to_owned() } else { cause.to_string() }
}

/// Whether the server is this machine or in its local network, as far as the URL tells.
fn is_local(url: &Url) -> bool {
    match literal_host(url) {
        Some(ip) => Scope::of(ip) < Scope::Global,
        None => !url.host_str().unwrap_or_default().contains('.'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_local_network_are_recognized() {
        for (url, expected) in [
            ("http://127.0.0.1:1/", true),
            ("http://localhost/", true),
            ("http://10.1.2.3/", true),
            ("http://192.168.0.1/", true),
            ("http://100.100.0.1/", true),
            ("http://100.128.0.1/", false),
            ("http://build-7:6969/announce", true),
            ("http://[::1]:80/", true),
            ("http://[fd00::1]/", true),
            ("http://[::ffff:10.0.0.1]/", true),
            ("http://8.8.8.8/", false),
            ("http://[2001:db8::1]/", false),
            ("https://tracker.example/announce", false),
        ] {
            assert_eq!(is_local(&url.parse().unwrap()), expected, "{url}");
        }
    }
}

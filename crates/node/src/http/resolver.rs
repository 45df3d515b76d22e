//! The look-up of a host for one request of ours: addresses that the request must not use are left
//! out. What is allowed is decided in `destination`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tokio::net::lookup_host;

use super::destination::{Forbidden, Rules, Scope};

/// Looks up the host of one request, and leaves out the addresses that it must not use. The
/// connection is made to one of the others.
#[derive(Debug)]
pub(super) struct CheckedResolver {
    url: Url,
    rules: Rules,
    scope: Mutex<Option<Scope>>,
}

impl CheckedResolver {
    /// A resolver for one request.
    pub(super) fn new(url: Url, rules: Rules) -> Self {
        Self { url, rules, scope: Mutex::default() }
    }

    /// The least scope of the addresses that were found; `None` before that, and behind a proxy.
    pub(super) fn scope(&self) -> Option<Scope> {
        *self.scope.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
        let mut refused = None;
        let mut allowed = found;
        allowed.retain(|addr| match self.rules.check_addr(&self.url, addr.ip()) {
            Ok(()) => true,
            Err(error) => {
                refused = Some(error);
                false
            }
        });
        if let (true, Some(error)) = (allowed.is_empty(), refused) {
            return Err(error);
        }
        let scope = allowed.iter().map(|addr| Scope::of(addr.ip())).min();
        *self.scope.lock().unwrap_or_else(PoisonError::into_inner) = scope;
        Ok(allowed)
    }
}

/// The resolver as `reqwest` takes it.
#[derive(Debug, Clone)]
pub(super) struct SharedResolver(pub(super) Arc<CheckedResolver>);

impl Resolve for SharedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            // Any other name is that of a proxy.
            let allowed = if resolver.url.host_str() == Some(name.as_str()) {
                resolver.check(found)?
            } else {
                found
            };
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

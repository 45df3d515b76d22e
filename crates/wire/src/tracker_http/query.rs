//! Query strings with binary values, and their place in a tracker's URL. What the values mean is
//! said elsewhere.

use sow_content::percent;

/// The longest query string that is read, in bytes: a scrape of the most swarms fits, each byte of
/// their hashes escaped.
pub const MAX_QUERY: usize = 8192;

/// What is wrong with a query string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It is longer than [`MAX_QUERY`].
    #[error("the query is longer than {MAX_QUERY} bytes")]
    TooLong,
    /// A parameter that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A parameter that cannot be read.
    #[error("{0} is malformed")]
    Malformed(&'static str),
}

/// A name and its value.
type Parameter = (Vec<u8>, Vec<u8>);

/// The names and values of a query string, unescaped. `+` is a plus sign: in a query that carries
/// binary values nobody writes a space with it.
pub(super) fn parameters(
    query: &str,
) -> Result<impl Iterator<Item = Result<Parameter, QueryError>>, QueryError> {
    if query.len() > MAX_QUERY {
        return Err(QueryError::TooLong);
    }
    let unescape =
        |text: &str| percent::decode(text.as_bytes()).ok_or(QueryError::Malformed("an escape"));
    Ok(query.split('&').filter(|part| !part.is_empty()).map(move |part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((unescape(name)?, unescape(value)?))
    }))
}

/// Exactly twenty bytes.
pub(super) fn twenty(value: &[u8], name: &'static str) -> Result<[u8; 20], QueryError> {
    value.try_into().map_err(|_| QueryError::Malformed(name))
}

/// Appends `name=value`, the value escaped, after a separator where something stands before it.
pub(super) fn push(query: &mut String, name: &str, value: &[u8]) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(name);
    query.push('=');
    query.extend(percent::encode(value, percent::COMPONENT));
}

/// Puts a query into a tracker's URL, behind the query that the URL may have (a passkey, say). A
/// fragment goes.
pub(super) fn append(url: &str, query: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let separator = match url.find('?') {
        None => "?",
        Some(at) if at + 1 == url.len() || url.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{url}{separator}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_split() {
        let all: Result<Vec<_>, _> = parameters("&a=%31&&b=%3D=+&c&=d").unwrap().collect();
        let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        assert_eq!(
            all.unwrap(),
            [pair(b"a", b"1"), pair(b"b", b"==+"), pair(b"c", b""), pair(b"", b"d")]
        );
        let broken = parameters("a=%3").unwrap().next();
        assert_eq!(broken, Some(Err(QueryError::Malformed("an escape"))));
        assert_eq!(parameters(&"a".repeat(MAX_QUERY + 1)).err(), Some(QueryError::TooLong));
    }

    #[test]
    fn a_query_goes_behind_the_one_that_is_there() {
        for (url, want) in [
            ("http://t/announce", "http://t/announce?a=1"),
            ("http://t/announce?", "http://t/announce?a=1"),
            ("http://t/announce?passkey=x", "http://t/announce?passkey=x&a=1"),
            ("http://t/announce?passkey=x&", "http://t/announce?passkey=x&a=1"),
            ("http://t/announce#top", "http://t/announce?a=1"),
        ] {
            assert_eq!(append(url, "a=1"), want);
        }
    }
}

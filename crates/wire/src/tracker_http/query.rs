//! Query strings with binary values, and how they are appended to a tracker's URL. The meaning of
//! the parameters is not known here.

use sow_content::percent;

/// The longest accepted query string, in bytes. A scrape of [`MAX_SCRAPE`] swarms fits when every
/// byte of the info-hashes is escaped.
///
/// [`MAX_SCRAPE`]: crate::tracker::MAX_SCRAPE
pub const MAX_QUERY: usize = 8192;

/// Why a query string is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The query is longer than [`MAX_QUERY`].
    #[error("the query is longer than {MAX_QUERY} bytes")]
    TooLong,
    /// A required parameter is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A parameter is malformed.
    #[error("{0} is malformed")]
    Malformed(&'static str),
}

/// A name and its value.
type Parameter = (Vec<u8>, Vec<u8>);

/// The decoded names and values of a query string. `+` stays a plus sign: queries with binary
/// values do not encode a space as `+`.
pub(super) fn parameters(
    query: &str,
) -> Result<impl Iterator<Item = Result<Parameter, QueryError>>, QueryError> {
    if query.len() > MAX_QUERY {
        return Err(QueryError::TooLong);
    }
    let decode =
        |text: &str| percent::decode(text.as_bytes()).ok_or(QueryError::Malformed("an escape"));
    Ok(query.split('&').filter(|part| !part.is_empty()).map(move |part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((decode(name)?, decode(value)?))
    }))
}

/// A value of exactly 20 bytes: an info-hash or a peer id.
pub(super) fn twenty_bytes(value: &[u8], name: &'static str) -> Result<[u8; 20], QueryError> {
    value.try_into().map_err(|_| QueryError::Malformed(name))
}

/// Appends `name=value` with the value encoded, and `&` before it if the query is not empty.
pub(super) fn push_parameter(query: &mut String, name: &str, value: &[u8]) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(name);
    query.push('=');
    query.extend(percent::encode(value, percent::COMPONENT));
}

/// Appends a query to a tracker's URL, after the query that the URL may already have, such as a
/// passkey. A fragment is removed.
pub(super) fn append_query(url: &str, query: &str) -> String {
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
    fn parameters_are_split_and_decoded() {
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
    fn a_query_is_appended_to_the_one_of_the_url() {
        for (url, want) in [
            ("http://t/announce", "http://t/announce?a=1"),
            ("http://t/announce?", "http://t/announce?a=1"),
            ("http://t/announce?passkey=x", "http://t/announce?passkey=x&a=1"),
            ("http://t/announce?passkey=x&", "http://t/announce?passkey=x&a=1"),
            ("http://t/announce#top", "http://t/announce?a=1"),
        ] {
            assert_eq!(append_query(url, "a=1"), want);
        }
    }
}

//! Trackers over HTTP: what stands in the URL (BEP 3, 7, 23, 48), and the bencoded answers. No
//! sockets, no HTTP either: only the query string and the body.

mod query;
mod request;
mod response;
mod scrape;

pub use query::{MAX_QUERY, QueryError};
pub use request::Announce;
pub use response::{MAX_RESPONSE, ResponseError, decode_announce, encode_announce, encode_failure};
pub use scrape::{
    ScrapedSwarm, decode_scrape, encode_scrape, parse_scrape, scrape_request, scrape_url,
};

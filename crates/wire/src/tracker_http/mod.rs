//! Trackers over HTTP (BEP 3, 7, 23, 48): the query string of a request and the bencoded body of a
//! response. No sockets, and no HTTP around them.

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

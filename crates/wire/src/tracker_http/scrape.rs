//! Scrapes: the counters of swarms, without joining them (BEP 48).

use sow_content::{
    InfoHash,
    bencode::{BencodeError, Encoder},
};

use super::{
    query::{QueryError, append_query, parameters, push_parameter, twenty_bytes},
    response::{ResponseError, bounded_reader, count},
};
use crate::tracker::{MAX_SCRAPE, SwarmCount, printable_text};

/// A swarm and its counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapedSwarm {
    /// The swarm.
    pub info_hash: InfoHash,
    /// Its counters.
    pub count: SwarmCount,
}

/// The scrape URL of a tracker: `announce` right after the last slash of its announce URL becomes
/// `scrape`. `None` when the tracker has no scrape URL (BEP 48).
pub fn scrape_url(announce: &str) -> Option<String> {
    let (head, tail) = announce.rsplit_once('/')?;
    tail.strip_prefix("announce").map(|tail| format!("{head}/scrape{tail}"))
}

/// The URL of a scrape of at most [`MAX_SCRAPE`] swarms.
pub fn scrape_request(scrape: &str, info_hashes: &[InfoHash]) -> String {
    let mut query = String::new();
    for hash in info_hashes.iter().take(MAX_SCRAPE) {
        push_parameter(&mut query, "info_hash", &hash.0);
    }
    append_query(scrape, &query)
}

/// Parses the query string of a scrape into at most [`MAX_SCRAPE`] swarms. An empty list asks for
/// all swarms.
///
/// # Errors
/// When the query is too long, or a hash does not have 20 bytes.
pub fn parse_scrape(query: &str) -> Result<Vec<InfoHash>, QueryError> {
    let mut info_hashes = Vec::new();
    for parameter in parameters(query)? {
        let (name, value) = parameter?;
        if name == b"info_hash" && info_hashes.len() < MAX_SCRAPE {
            info_hashes.push(InfoHash(twenty_bytes(&value, "info_hash")?));
        }
    }
    Ok(info_hashes)
}

/// The body of a response.
pub fn encode_scrape(swarms: &[ScrapedSwarm]) -> Vec<u8> {
    let mut sorted = swarms.to_vec();
    sorted.sort_by_key(|swarm| swarm.info_hash);
    sorted.dedup_by_key(|swarm| swarm.info_hash);
    let mut out = Encoder::new();
    out.dict(|dict| {
        dict.entry(b"files", |out| {
            out.dict(|files| {
                for ScrapedSwarm { info_hash, count } in &sorted {
                    files.entry(&info_hash.0, |out| {
                        out.dict(|dict| {
                            dict.int(b"complete", count.complete.into());
                            dict.int(b"downloaded", count.downloaded.into());
                            dict.int(b"incomplete", count.incomplete.into());
                        });
                    });
                }
            });
        });
    });
    out.finish()
}

/// Decodes the body of a response into at most [`MAX_SCRAPE`] swarms.
///
/// # Errors
/// When the body is too long or not valid, or has a failure reason.
pub fn decode_scrape(body: &[u8]) -> Result<Vec<ScrapedSwarm>, ResponseError> {
    let mut swarms = Vec::new();
    let mut failure = None;
    bounded_reader(body)?.dict(|key, value| {
        match key {
            b"failure reason" => failure = Some(printable_text(value.bytes()?)),
            b"files" => value.dict(|hash, value| {
                if let (Ok(hash), true) = (hash.try_into(), swarms.len() < MAX_SCRAPE) {
                    let mut swarm =
                        ScrapedSwarm { info_hash: InfoHash(hash), count: SwarmCount::default() };
                    value.dict(|key, value| {
                        let field = match key {
                            b"complete" => &mut swarm.count.complete,
                            b"downloaded" => &mut swarm.count.downloaded,
                            b"incomplete" => &mut swarm.count.incomplete,
                            _ => return Ok(()),
                        };
                        *field = count(value.int()?).unwrap_or(0);
                        Ok::<_, BencodeError>(())
                    })?;
                    swarms.push(swarm);
                }
                Ok::<_, BencodeError>(())
            })?,
            _ => {}
        }
        Ok::<_, BencodeError>(())
    })?;
    failure.map_or(Ok(swarms), |reason| Err(ResponseError::Failure(reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrape_url_follows_bep_48() {
        for (announce, scrape) in [
            ("http://example.com/announce", Some("http://example.com/scrape")),
            ("http://example.com/x/announce", Some("http://example.com/x/scrape")),
            ("http://example.com/announce.php", Some("http://example.com/scrape.php")),
            ("http://example.com/announce?x=2%0644", Some("http://example.com/scrape?x=2%0644")),
            ("http://example.com/a", None),
            ("http://example.com/announce?x=2/4", None),
            ("http://example.com/x%064announce", None),
            ("announce", None),
        ] {
            assert_eq!(scrape_url(announce).as_deref(), scrape, "{announce}");
        }
    }

    #[test]
    fn a_scrape_has_at_most_74_swarms() {
        let hashes: Vec<_> = (0..100).map(|at| InfoHash([at; 20])).collect();
        let url = scrape_request("http://t/scrape?key=1", &hashes);
        let query = url.strip_prefix("http://t/scrape?key=1&").unwrap();
        assert_eq!(parse_scrape(query).unwrap(), hashes[..MAX_SCRAPE]);
        let flood = ["info_hash=aaaaaaaaaaaaaaaaaaaa"; 200].join("&");
        assert_eq!(parse_scrape(&flood).unwrap().len(), MAX_SCRAPE);
        assert_eq!(parse_scrape(""), Ok(vec![]));
        assert_eq!(parse_scrape("info_hash=abc"), Err(QueryError::Malformed("info_hash")));
    }

    #[test]
    fn a_response_has_each_swarm_once() {
        let count = SwarmCount { complete: 1, downloaded: 2, incomplete: 3 };
        let swarm = |byte| ScrapedSwarm { info_hash: InfoHash([byte; 20]), count };
        let body = encode_scrape(&[swarm(b'b'), swarm(b'a'), swarm(b'b')]);
        let one = "d8:completei1e10:downloadedi2e10:incompletei3ee";
        let (a, b) = ("a".repeat(20), "b".repeat(20));
        assert_eq!(body, format!("d5:filesd20:{a}{one}20:{b}{one}ee").into_bytes());
        assert_eq!(decode_scrape(&body), Ok(vec![swarm(b'a'), swarm(b'b')]));
    }

    #[test]
    fn unusual_responses_are_decoded_and_invalid_ones_rejected() {
        let failure = decode_scrape(b"d14:failure reason2:noe");
        assert_eq!(failure, Err(ResponseError::Failure("no".into())));
        assert_eq!(decode_scrape(b"d5:filesd3:abcdeee"), Ok(vec![]));
        assert!(decode_scrape(b"d5:filesi1ee").is_err());
        let mut many = Encoder::new();
        many.dict(|dict| {
            dict.entry(b"files", |out| {
                out.dict(|files| {
                    (0..=255).for_each(|byte| files.entry(&[byte; 20], |out| out.dict(|_| {})))
                });
            });
        });
        assert_eq!(decode_scrape(&many.finish()).unwrap().len(), MAX_SCRAPE);
    }
}

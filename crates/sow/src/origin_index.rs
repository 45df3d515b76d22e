//! What an origin says it shares: the index on its HTTP port.

use std::{net::IpAddr, time::Duration};

use serde::Deserialize;
use sow_content::{
    InfoHash,
    ticket::{Address, Ticket},
    untrusted::excerpt,
};
use sow_node::Purpose;
use tokio::time::{Instant, sleep};

use crate::{
    exit::{Exit, Failure},
    http_download::{Request, download},
    quantity::{Size, Span},
    report::Report,
};

/// How long a machine may take to answer, and how long trackers are retried that do not.
pub(crate) const UNREACHABLE_AFTER: Duration = Duration::from_secs(5);

/// The interval between two requests for an index.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The maximum length of an index, in bytes.
const MAX_INDEX_LENGTH: usize = 1 << 20;

/// The number of offers that a failure lists.
const MAX_LISTED_OFFERS: usize = 50;

/// An entry of an origin's index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Offer {
    /// Its name; not checked as a file name.
    pub(crate) name: String,
    /// Its swarm, 40 hexadecimal digits.
    pub(crate) info_hash: String,
    /// Its size in bytes.
    pub(crate) length: u64,
}

/// An origin's index.
#[derive(Debug, Deserialize)]
struct Index {
    shared: Vec<Offer>,
}

/// The ticket and the printable name of the only content that an origin shares.
///
/// # Errors
/// When the origin cannot be reached until `origin_timeout`, or shares nothing or several things.
pub(crate) async fn ask_origin(
    address: Address,
    bind: Option<IpAddr>,
    origin_timeout: Duration,
    report: &Report,
) -> Result<(Ticket, String), Failure> {
    let since = Instant::now();
    let meter = report.meter(address.to_string());
    let offers = loop {
        let may_retry = since.elapsed() < origin_timeout;
        match request_offers(&address, bind).await {
            // It may still be hashing.
            Ok(offers) if offers.is_empty() && may_retry => {}
            Err(failure) if failure.exit() == Exit::Unreachable && may_retry => {}
            ended => break ended?,
        }
        meter.set_without_total(|| waiting_text(&address.to_string(), since.elapsed()));
        sleep(RETRY_INTERVAL).await;
    };
    drop(meter);
    let offer = only_offer(&address, &offers)?;
    let info_hash = offer.info_hash.parse().map_err(|_| {
        Failure::new(Exit::Failed, format!("{address} offers content with a malformed hash"))
    })?;
    let name = excerpt(&offer.name);
    let ticket = Ticket { host: address.host.clone(), port: address.port, info_hash };
    let size = Size(offer.length);
    report.note(format_args!("trusting {address} for what to get: {name} ({size}), {ticket}"));
    Ok((ticket, name))
}

/// What is shown while an origin does not answer.
pub(crate) fn waiting_text(origin: &str, since: Duration) -> String {
    format!("waiting for {origin} since {}", Span(Duration::from_secs(since.as_secs())))
}

/// Requests an origin's index.
///
/// # Errors
/// When the machine cannot be reached, or does not answer with an index.
pub(crate) async fn request_offers(
    address: &Address,
    bind: Option<IpAddr>,
) -> Result<Vec<Offer>, Failure> {
    let request = Request {
        purpose: Purpose::Index,
        accept: "application/json",
        max_length: MAX_INDEX_LENGTH,
        answer_timeout: UNREACHABLE_AFTER,
        bind,
    };
    let bytes = download(&format!("http://{address}/"), request).await?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|_| {
        Failure::new(
            Exit::Failed,
            format!("{address} answers, but not as an origin that can tell what it shares"),
        )
        .tip("use a ticket, a magnet link or a .torrent")
    })?;
    Ok(index.shared)
}

/// The failure with a line for each of the first offers.
pub(crate) fn list_offers(failure: Failure, address: &Address, offers: &[Offer]) -> Failure {
    let shown = offers.iter().take(MAX_LISTED_OFFERS);
    let failure = shown.fold(failure, |failure, offer| failure.line(offer_line(address, offer)));
    match offers.len().saturating_sub(MAX_LISTED_OFFERS) {
        0 => failure,
        more => failure.line(format!("and {more} more")),
    }
}

/// A line with the ticket of an offer.
fn offer_line(address: &Address, offer: &Offer) -> String {
    let hash =
        offer.info_hash.parse::<InfoHash>().map_or_else(|_| "?".to_owned(), InfoHash::to_base32);
    format!("sow get {address}/{hash}    {} ({})", excerpt(&offer.name), Size(offer.length))
}

fn only_offer<'a>(address: &Address, offers: &'a [Offer]) -> Result<&'a Offer, Failure> {
    match offers {
        [offer] => Ok(offer),
        [] => {
            Err(Failure::new(Exit::Unfinished, format!("{address} shares nothing at the moment"))
                .tip("run `sow send PATH` there"))
        }
        several => {
            let message = format!("{address} shares {} things; name one of them:", several.len());
            Err(list_offers(Failure::usage(message), address, several))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address { host: "10.0.0.1".into(), port: 52000 }
    }

    fn offer(name: &str) -> Offer {
        Offer { name: name.into(), info_hash: "00".repeat(20), length: 1 << 20 }
    }

    #[test]
    fn an_index_with_unknown_fields_is_read() {
        let text = r#"{"program":"sow","shared":[
            {"name":"a","info_hash":"x","length":5,"files":1,"more":[]}]}"#;
        let index: Index = serde_json::from_str(text).unwrap();
        assert_eq!(index.shared, [Offer { name: "a".into(), info_hash: "x".into(), length: 5 }]);
    }

    #[test]
    fn a_single_offer_is_chosen_and_several_are_listed() {
        assert_eq!(only_offer(&address(), &[offer("a")]), Ok(&offer("a")));
        assert_eq!(only_offer(&address(), &[]).unwrap_err().exit(), Exit::Unfinished);
        let several = only_offer(&address(), &[offer("a"), offer("b\u{1b}[2J")]).unwrap_err();
        assert_eq!(several.exit(), Exit::Usage);
        let text = several.to_string();
        assert!(
            text.contains("sow get 10.0.0.1:52000/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa    a (1.0 MiB)"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

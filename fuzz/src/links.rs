//! Magnet links, tickets and addresses: refused, or written such that they read the same.

use sow_content::{Magnet, Ticket, ticket::Address};

use crate::memory;

/// What reading takes apart from the text: short copies for errors.
const FIXED: usize = 16 * 1024;

/// How often the text may be there: decoded, and as entries of lists that hold little text each.
const TIMES: usize = 32;

/// Reads arbitrary text as each kind of link.
pub fn links(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limit = FIXED + TIMES * text.len();
    if let Ok(magnet) = memory::within(limit, || text.parse::<Magnet>()) {
        let written = magnet.to_string();
        assert!(written.bytes().all(|byte| byte.is_ascii_graphic()), "{written:?}");
        assert_eq!(written.parse(), Ok(magnet));
    }
    if let Ok(ticket) = memory::within(limit, || text.parse::<Ticket>()) {
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
    }
    if let Ok(address) = memory::within(limit, || text.parse::<Address>()) {
        assert_ne!(address.port, 0);
        assert_eq!(address.to_string().parse(), Ok(address));
    }
}

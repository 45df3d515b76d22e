//! Magnet links, tickets and addresses: rejected, or written such that they parse to the same, with
//! memory in proportion to the text.

use sow_content::{Magnet, Ticket, magnet::MAX_IGNORED, ticket::Address};

use crate::memory;

/// Memory that does not depend on the text: excerpts for errors.
const FIXED_MEMORY: usize = 16 * 1024;

/// Memory for each byte of the text: its decoded copies, and lists with short entries.
const MEMORY_PER_BYTE: usize = 32;

/// Parses arbitrary text as each kind of link.
pub fn links(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limit = FIXED_MEMORY + MEMORY_PER_BYTE * text.len();
    if let Ok(mut magnet) = memory::within(limit, || text.parse::<Magnet>()) {
        let written = magnet.to_string();
        assert!(written.bytes().all(|byte| byte.is_ascii_graphic()), "{written:?}");
        assert!(magnet.ignored.len() <= MAX_IGNORED);
        magnet.ignored.clear();
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

//! Metadata on one connection (BEP 9): our answers to the peer's requests.

use bytes::Bytes;
use sow_wire::bittorrent::MetadataMessage;

/// Metadata is sent in pieces of this many bytes (BEP 9).
pub(crate) const METADATA_PIECE_LENGTH: u32 = 16 * 1024;

/// How often each piece of the metadata is sent to one peer at most: more is a flood.
const MAX_COPIES: u32 = 2;

/// Answers beyond the copies: a peer may ask for a piece that does not exist.
const EXTRA_ANSWERS: u32 = 2;

/// Requests beyond those that are rejected. Later ones have no answer: a flood must not cost as
/// many messages as it has.
const MAX_REJECTS: u32 = 64;

/// What the peer was sent of the metadata.
#[derive(Debug, Default)]
pub(super) struct MetadataServer {
    requests: u32,
    rejects: u32,
}

impl MetadataServer {
    /// The answer to a request, if it gets one. `metadata`: all of it, once it is here.
    pub(super) fn answer(
        &mut self,
        piece: u32,
        metadata: Option<&Bytes>,
    ) -> Option<MetadataMessage> {
        let Some(data) = metadata.and_then(|metadata| self.data(piece, metadata)) else {
            self.rejects = self.rejects.saturating_add(1);
            return (self.rejects <= MAX_REJECTS).then_some(MetadataMessage::Reject { piece });
        };
        Some(data)
    }

    /// A piece of the metadata, if it exists and was not sent too often.
    fn data(&mut self, piece: u32, metadata: &Bytes) -> Option<MetadataMessage> {
        self.requests = self.requests.saturating_add(1);
        let size = metadata.len() as u32;
        let start = u64::from(piece) * u64::from(METADATA_PIECE_LENGTH);
        let limit = MAX_COPIES * size.div_ceil(METADATA_PIECE_LENGTH) + EXTRA_ANSWERS;
        if start >= u64::from(size) || self.requests > limit {
            return None;
        }
        let end = (start + u64::from(METADATA_PIECE_LENGTH)).min(u64::from(size));
        let data = metadata.slice(start as usize..end as usize);
        Some(MetadataMessage::Data { piece, total_size: size, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_sent_twice_and_no_more() {
        let metadata = Bytes::from(vec![0; METADATA_PIECE_LENGTH as usize + 1]);
        let mut server = MetadataServer::default();
        let mut sent = 0;
        for _ in 0..20 {
            let answer = server.answer(1, Some(&metadata));
            if let Some(MetadataMessage::Data { data, .. }) = answer {
                assert_eq!(data.len(), 1);
                sent += 1;
            }
        }
        assert_eq!(sent, 6);
        let reject = Some(MetadataMessage::Reject { piece: 2 });
        assert_eq!(MetadataServer::default().answer(2, Some(&metadata)), reject);
        assert_eq!(MetadataServer::default().answer(2, None), reject);
    }

    #[test]
    fn a_flood_of_requests_has_few_answers() {
        let mut server = MetadataServer::default();
        let answers = (0..10_000).filter(|_| server.answer(9, None).is_some()).count();
        assert_eq!(answers, MAX_REJECTS as usize);
    }
}

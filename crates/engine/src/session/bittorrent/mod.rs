//! A BitTorrent connection (BEP 3) with the fast extension (BEP 6) and the extension protocol
//! (BEP 10): what the peer's messages mean, and the messages to it.

mod extension;
mod metadata;
mod peer_exchange;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use bytes::Bytes;
use sow_content::{BLOCK_LENGTH, Bitfield};
use sow_wire::{
    bittorrent::{
        BlockRequest, CopyState, ExtensionHandshake, Handshake, Message, MetadataMessage,
        PexMessage, ReceiverReport, RelayMessage, Withdrawal,
    },
    dialect,
};

pub use self::extension::MAX_QUEUED_REQUESTS;
pub(super) use self::extension::{HANDSHAKE_ID, UT_PEX_ID};
use self::{extension::Extension, metadata::MetadataServer, peer_exchange::PeerExchange};
pub(crate) use self::{extension::LocalPeer, metadata::METADATA_PIECE_LENGTH};
use super::{Decision, PeerPieces, SessionEvent, peer_pieces::PieceStatement};
use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    io::Time,
    token_bucket::TokenBucket,
};

/// The state of one BitTorrent connection.
#[derive(Debug)]
pub(crate) struct BitTorrentSession {
    /// Both sides speak the fast extension.
    is_fast: bool,
    /// Both sides speak the extension protocol.
    is_extended: bool,
    pieces: PeerPieces,
    extension: Extension,
    metadata: MetadataServer,
    peer_exchange: PeerExchange,
    /// Pieces that the peer has itself, so that a HAVE for them can wait for the housekeeping.
    deferred_haves: Vec<u32>,
    /// What the peer said of its copy last.
    peer_report: Option<ReceiverReport>,
    /// The number of reports that were news.
    peer_reports: u32,
    /// What the peer was told of our copy last.
    sent_report: Option<ReceiverReport>,
    /// How often the peer may ask for another parent.
    complaints: TokenBucket,
}

/// How often a peer may ask for another parent at once.
const MAX_COMPLAINTS: u32 = 12;

/// When it may do so once more.
const COMPLAINT_INTERVAL: Duration = Duration::from_millis(500);

/// The limit of reports of a peer's copy on one connection: a program reports that it downloads,
/// and how that ends.
const MAX_PEER_REPORTS: u32 = 16;

/// Whether a message says that its sender no longer has the content.
pub(crate) fn is_withdrawal(message: &dialect::Message) -> bool {
    use dialect::Message::BitTorrent;
    matches!(message, BitTorrent(Message::Extended { id: extension::SOW_WITHDRAW_ID, .. }))
}

impl BitTorrentSession {
    pub(super) fn new(now: Time, handshake: &Handshake, pieces: PeerPieces) -> Self {
        Self {
            is_fast: handshake.fast,
            is_extended: handshake.extended,
            pieces,
            extension: Extension::default(),
            metadata: MetadataServer::default(),
            peer_exchange: PeerExchange::new(now),
            deferred_haves: Vec::new(),
            peer_report: None,
            peer_reports: 0,
            sent_report: None,
            complaints: TokenBucket::new(now, MAX_COMPLAINTS, COMPLAINT_INTERVAL),
        }
    }

    pub(super) fn pieces(&self) -> &PeerPieces {
        &self.pieces
    }

    pub(super) fn pieces_mut(&mut self) -> &mut PeerPieces {
        &mut self.pieces
    }

    pub(crate) fn is_fast(&self) -> bool {
        self.is_fast
    }

    /// What the peer said in its extension handshake.
    pub(crate) fn extension(&self) -> &Extension {
        &self.extension
    }

    /// What is said about our pieces before anything else; `None` in place of `have` hides them.
    pub(crate) fn opening(&self, have: Option<&Bitfield>) -> Option<Message> {
        match have {
            Some(have) if self.is_fast && have.is_full() => Some(Message::HaveAll),
            Some(have) if !have.is_empty() => {
                Some(Message::Bitfield(have.as_bytes().to_vec().into()))
            }
            _ => self.is_fast.then_some(Message::HaveNone),
        }
    }

    pub(super) fn handle_message(
        &mut self,
        now: Time,
        message: Message,
    ) -> Result<Option<SessionEvent>, DisconnectReason> {
        Ok(match message {
            Message::KeepAlive | Message::Port(_) => None,
            Message::Choke => Some(SessionEvent::Choked),
            Message::Unchoke => Some(SessionEvent::Unchoked),
            Message::Interested => Some(SessionEvent::Interested),
            Message::NotInterested => Some(SessionEvent::NotInterested),
            Message::Have(piece) => {
                self.pieces.on_have(piece)?.then_some(SessionEvent::Have(piece))
            }
            Message::Bitfield(bytes) => self.on_statement(PieceStatement::Bitfield(bytes))?,
            Message::Request(request) => Some(SessionEvent::BlockRequested(request)),
            Message::Cancel(request) => Some(SessionEvent::RequestCancelled(request)),
            Message::Suggest(_)
            | Message::HaveAll
            | Message::HaveNone
            | Message::Reject(_)
            | Message::AllowedFast(_)
                if !self.is_fast =>
            {
                return Err(Misbehavior::ExtensionNotNegotiated.into());
            }
            Message::HaveAll => self.on_statement(PieceStatement::HaveAll)?,
            Message::HaveNone => self.on_statement(PieceStatement::HaveNone)?,
            Message::Suggest(_) => None,
            Message::Reject(request) => Some(SessionEvent::RequestRejected(request)),
            Message::AllowedFast(piece) => Some(SessionEvent::AllowedFast(piece)),
            Message::Extended { id, payload } => self.on_extended(now, id, &payload)?,
        })
    }

    fn on_statement(
        &mut self,
        statement: PieceStatement,
    ) -> Result<Option<SessionEvent>, Misbehavior> {
        Ok(self.pieces.on_statement(statement)?.map(SessionEvent::Bitfield))
    }

    /// The longest block that the peer answers a request for, in whole units; `ours` is our own
    /// limit.
    pub(crate) fn max_block(&self, ours: u32) -> u32 {
        let theirs = self.extension.handshake().and_then(|theirs| theirs.max_block).unwrap_or(0);
        theirs.max(BLOCK_LENGTH).min(ours.max(BLOCK_LENGTH)) / BLOCK_LENGTH * BLOCK_LENGTH
    }

    /// Notes a piece of ours for a HAVE that can wait.
    pub(crate) fn defer_have(&mut self, piece: u32) {
        self.deferred_haves.push(piece);
    }

    /// The pieces for which a HAVE has waited.
    pub(crate) fn take_deferred_haves(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.deferred_haves)
    }

    /// Our extension handshake, if the peer takes one.
    pub(crate) fn extension_handshake(&self, local: &LocalPeer) -> Option<Message> {
        self.is_extended.then(|| {
            let payload = local.extension_handshake().encode().into();
            Message::Extended { id: extension::HANDSHAKE_ID, payload }
        })
    }

    fn on_extended(
        &mut self,
        now: Time,
        id: u8,
        payload: &Bytes,
    ) -> Result<Option<SessionEvent>, Misbehavior> {
        if !self.is_extended {
            return Err(Misbehavior::ExtensionNotNegotiated);
        }
        match id {
            extension::HANDSHAKE_ID => {
                self.extension.on_handshake(ExtensionHandshake::decode(payload)?);
                self.peer_exchange.on_handshake(now);
                Ok(Some(SessionEvent::ExtensionHandshake))
            }
            extension::UT_METADATA_ID => {
                self.on_metadata_message(MetadataMessage::decode(payload)?).map(Some)
            }
            extension::UT_PEX_ID => {
                let message = PexMessage::decode(payload)?;
                let listens = self.peer_exchange.on_message(now);
                Ok(listens.then_some(SessionEvent::PeersFound(message.added)))
            }
            extension::SOW_WITHDRAW_ID => {
                let Withdrawal { reason } = Withdrawal::decode(payload)?;
                Ok(Some(SessionEvent::Withdrawn { reason }))
            }
            extension::SOW_RECEIVER_ID => {
                let report = ReceiverReport::decode(payload)?;
                Ok(self.on_report(&report).then_some(SessionEvent::ReceiverReported(report)))
            }
            extension::SOW_RELAY_ID => {
                RelayMessage::decode(payload).map(SessionEvent::Relay).map(Some).map_err(Into::into)
            }
            _ => Ok(None),
        }
    }

    /// The peer reports its copy. Whether that is new: a connection is about one copy only.
    fn on_report(&mut self, report: &ReceiverReport) -> bool {
        let is_other = |known: &ReceiverReport| known.copy != report.copy || known == report;
        let is_flood = self.peer_reports >= MAX_PEER_REPORTS;
        if is_flood || self.peer_report.as_ref().is_some_and(is_other) {
            return false;
        }
        self.peer_reports += 1;
        self.peer_report = Some(report.clone());
        true
    }

    fn on_metadata_message(
        &mut self,
        message: MetadataMessage,
    ) -> Result<SessionEvent, Misbehavior> {
        if self.extension.metadata_id().is_none() {
            return Err(Misbehavior::ExtensionNotNegotiated);
        }
        Ok(match message {
            MetadataMessage::Request { piece } => SessionEvent::MetadataRequested(piece),
            MetadataMessage::Data { piece, data, .. } => {
                SessionEvent::MetadataReceived { piece, data }
            }
            MetadataMessage::Reject { .. } => {
                self.extension.on_metadata_reject();
                SessionEvent::MetadataRefused
            }
        })
    }

    /// The answer to a request for metadata, if the peer has a number for it.
    pub(crate) fn metadata_answer(
        &mut self,
        piece: u32,
        metadata: Option<&Bytes>,
    ) -> Option<Message> {
        let id = self.extension.metadata_id()?;
        let answer = self.metadata.answer(piece, metadata)?;
        Some(Message::Extended { id, payload: answer.encode().into() })
    }

    /// A request for a piece of the metadata, if the peer has a number for it.
    pub(crate) fn metadata_request(&self, piece: u32) -> Option<Message> {
        let id = self.extension.metadata_id()?;
        let payload = MetadataMessage::Request { piece }.encode().into();
        Some(Message::Extended { id, payload })
    }

    /// The message that the content is no longer here, if the peer has a number for it.
    pub(crate) fn withdrawal(&self, reason: &str) -> Option<Message> {
        let id = self.extension.withdraw_id()?;
        Some(Message::Extended { id, payload: Withdrawal::new(reason).encode().into() })
    }

    /// Whether the peer may send such a message.
    pub(crate) fn can_withdraw(&self) -> bool {
        self.extension.withdraw_id().is_some()
    }

    /// The message that reports our copy, if the peer collects reports and does not know it yet.
    pub(crate) fn receiver_report(&mut self, report: &ReceiverReport) -> Option<Message> {
        let id = self.extension.receiver_id()?;
        if self.sent_report.as_ref() == Some(report) {
            return None;
        }
        self.sent_report = Some(report.clone());
        Some(Message::Extended { id, payload: report.encode().into() })
    }

    /// The peer sent some of a piece, which it therefore has. Whether that is new.
    pub(crate) fn on_sent_piece(&mut self, piece: u32) -> bool {
        self.pieces.on_have(piece).unwrap_or(false)
    }

    /// Whether the peer may ask for another parent now.
    pub(crate) fn may_complain(&mut self, now: Time) -> bool {
        self.complaints.take(now)
    }

    /// A message about relaying, if the peer has a number for it.
    pub(crate) fn relay(&self, message: &RelayMessage) -> Option<Message> {
        let id = self.extension.relay_id()?;
        Some(Message::Extended { id, payload: message.encode().into() })
    }

    /// Whether either side has begun to report a copy and has not reported its end, so that more is
    /// to be said. `collects`: we collect such reports.
    pub(crate) fn awaits_report(&self, collects: bool) -> bool {
        let is_open = |report: &Option<ReceiverReport>| {
            report.as_ref().is_some_and(|report| report.state == CopyState::Fetching)
        };
        (collects && is_open(&self.peer_report)) || is_open(&self.sent_report)
    }

    /// Whether the peer understands the extension protocol.
    pub(crate) fn is_extended(&self) -> bool {
        self.is_extended
    }

    /// Whether it is time to exchange peers, and the peer takes part.
    pub(crate) fn is_pex_due(&self, now: Time) -> bool {
        self.peer_exchange.is_due(now) && self.extension.pex_id().is_some()
    }

    /// Tells the peer of the other peers, `current`, as far as they changed.
    pub(crate) fn pex_update(
        &mut self,
        now: Time,
        current: &BTreeSet<SocketAddr>,
    ) -> Option<Message> {
        let id = self.extension.pex_id()?;
        let update = self.peer_exchange.update(now, current)?;
        Some(Message::Extended { id, payload: update.encode().into() })
    }
}

/// The message that says a decision.
pub(crate) fn encode(decision: Decision) -> Message {
    match decision {
        Decision::KeepAlive => Message::KeepAlive,
        Decision::Choke => Message::Choke,
        Decision::Unchoke => Message::Unchoke,
        Decision::Interested => Message::Interested,
        Decision::NotInterested => Message::NotInterested,
        Decision::Have(piece) => Message::Have(piece),
        Decision::Request(block) => Message::Request(request_of(block)),
        Decision::Cancel(block) => Message::Cancel(request_of(block)),
        Decision::Reject(block) => Message::Reject(request_of(block)),
        Decision::AllowFast(piece) => Message::AllowedFast(piece),
    }
}

fn request_of(block: sow_content::Block) -> BlockRequest {
    let sow_content::Block { piece, offset, length } = block;
    BlockRequest { piece, offset, length }
}

#[cfg(test)]
mod tests {
    use sow_content::InfoHash;
    use sow_wire::bittorrent::{CopyId, PeerId};

    use super::*;

    fn session(is_fast: bool) -> BitTorrentSession {
        let (info_hash, peer_id) = (InfoHash([0; 20]), PeerId([1; 20]));
        let handshake = Handshake { info_hash, peer_id, fast: is_fast, extended: true };
        BitTorrentSession::new(Time(0), &handshake, PeerPieces::new(Some(8)))
    }

    #[test]
    fn messages_become_events() {
        let mut session = session(true);
        let mut handle = |message| session.handle_message(Time(0), message);
        assert_eq!(handle(Message::Unchoke), Ok(Some(SessionEvent::Unchoked)));
        assert_eq!(handle(Message::Have(3)), Ok(Some(SessionEvent::Have(3))));
        assert_eq!(handle(Message::Have(3)), Ok(None), "it is known");
        assert_eq!(handle(Message::Have(8)), Err(Misbehavior::PieceIndexOutOfRange.into()));
        assert_eq!(handle(Message::KeepAlive), Ok(None));
    }

    #[test]
    fn a_connection_reports_one_copy_and_each_state_once() {
        let mut session = session(true);
        let copy = |id, state| ReceiverReport::new(CopyId([id; 20]), "web01", state);
        let report = |session: &mut BitTorrentSession, report: &ReceiverReport| {
            let payload = report.encode().into();
            session.handle_message(Time(0), Message::Extended { id: 4, payload }).unwrap()
        };
        let fetching = copy(1, CopyState::Fetching);
        let event = SessionEvent::ReceiverReported(fetching.clone());
        assert_eq!(report(&mut session, &fetching), Some(event));
        assert_eq!(report(&mut session, &fetching), None);
        assert_eq!(report(&mut session, &copy(2, CopyState::Fetching)), None);
        assert!(report(&mut session, &copy(1, CopyState::Complete)).is_some());
        assert!(!session.awaits_report(false));
        let renamed = |name: u8| copy(1, CopyState::failed(&name.to_string()));
        let news = (0..100).filter(|name| report(&mut session, &renamed(*name)).is_some());
        assert_eq!(news.count() as u32, MAX_PEER_REPORTS - 2);
        assert_eq!(session.receiver_report(&fetching), None, "the peer collects no reports");
        session.extension.on_handshake(ExtensionHandshake {
            sow_receiver: Some(9),
            ..ExtensionHandshake::default()
        });
        let sent = session.receiver_report(&fetching);
        assert!(matches!(sent, Some(Message::Extended { id: 9, .. })), "{sent:?}");
        assert!(session.awaits_report(false) && session.receiver_report(&fetching).is_none());
    }

    #[test]
    fn messages_of_the_fast_extension_need_its_bit() {
        for message in [Message::HaveAll, Message::HaveNone, Message::AllowedFast(1)] {
            let refused = session(false).handle_message(Time(0), message);
            assert_eq!(refused, Err(Misbehavior::ExtensionNotNegotiated.into()));
        }
    }

    #[test]
    fn the_opening_depends_on_what_is_here_and_on_the_fast_extension() {
        let (none, all) = (Bitfield::new(8), Bitfield::full(8));
        let bitfield = Message::Bitfield(bytes::Bytes::from_static(&[0xff]));
        assert_eq!(session(true).opening(Some(&all)), Some(Message::HaveAll));
        assert_eq!(session(false).opening(Some(&all)), Some(bitfield));
        assert_eq!(session(true).opening(Some(&none)), Some(Message::HaveNone));
        assert_eq!(session(true).opening(None), Some(Message::HaveNone));
        assert_eq!(session(false).opening(Some(&none)), None);
    }
}

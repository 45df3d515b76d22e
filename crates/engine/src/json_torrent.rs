//! Document 2's peer protocol: its two state machines for each connection (section 2.3), put onto
//! what `downloading` and `uploading` decide. Whole pieces, one request at a time.
//!
//! The original programs never say that they have got a piece, and are not told in the middle of
//! something: news waits until a peer wants nothing, unless it has shown that it speaks of news
//! itself.

use std::time::Duration;

use bytes::Bytes;
use sow_wire::{bittorrent::Message as Word, json_torrent::Message};

use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    engine::{Engine, Phase},
    io::{ConnId, Direction, Time},
    peer::{Peer, Theirs},
    talk::Talk,
};

/// How long neither side wants anything of the other before they part: the originals leave the
/// socket open and silent.
const FINISHED: Duration = Duration::from_secs(10);

/// The same while we lack something and the peer has never told any news: calling it again brings a
/// new bitfield.
const NO_NEWS: Duration = Duration::from_secs(2);

/// More pieces than this are not told one by one to who never does so.
const MUCH_NEWS: usize = 256;

/// The state of one conversation.
#[derive(Debug, Default)]
pub(crate) struct JsonTalk {
    /// The piece that we asked for.
    pub(crate) awaiting: Option<u32>,
    /// Its bitfield came.
    introduced: bool,
    /// It says when it has got a piece, and so can be told.
    tells_news: bool,
    /// Since when both machines are at (1,0): nobody wants anything.
    finished: Option<Time>,
}

impl JsonTalk {
    pub(crate) fn is_introduced(&self) -> bool {
        self.introduced
    }

    /// The same in the words of this dialect.
    pub(crate) fn word_for(&mut self, word: Word) -> Option<Message> {
        match word {
            Word::Choke => Some(Message::Choke),
            Word::Unchoke => Some(Message::Unchoke),
            Word::Interested => Some(Message::Interested),
            Word::NotInterested => Some(Message::NotInterested),
            Word::Have(piece) => Some(Message::Have(piece)),
            Word::Request(request) => {
                self.awaiting = Some(request.piece);
                Some(Message::Request(request.piece))
            }
            // It has no way to take a request back, to refuse one, or to say anything else.
            _ => None,
        }
    }
}

impl Engine {
    /// What we have, before anything else is said.
    pub(crate) fn greet_json(&mut self, now: Time, conn: ConnId) {
        let Phase::Ready(ready) = &self.phase else { return };
        let have = ready.picker.have();
        let bytes: Vec<u8> = (0..have.len()).map(|piece| u8::from(have.get(piece))).collect();
        self.send_as(
            now,
            conn,
            sow_wire::dialect::Message::JsonTorrent(Message::Bitfield(bytes.into())),
        );
    }

    /// Everything but payload that a peer can say.
    pub(crate) fn json_message(
        &mut self,
        now: Time,
        conn: ConnId,
        message: Message,
    ) -> Result<(), DisconnectReason> {
        let Some(talk) = self.json_talk(conn) else { return Ok(()) };
        if !talk.introduced && !matches!(message, Message::Bitfield(_) | Message::KeepAlive) {
            return Err(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
                format!("{} before its Bitfield", message.name()).into(),
            )));
        }
        match message {
            Message::KeepAlive => Ok(()),
            Message::Bitfield(bytes) => self.json_bitfield(now, conn, &bytes),
            Message::Choke => self.choked(now, conn),
            Message::Unchoke => self.unchoked(now, conn),
            Message::Interested => self.json_interested(now, conn),
            Message::NotInterested => {
                self.interested(now, conn, false)?;
                if let Some(peer) = self.peers.get_mut(&conn) {
                    // Both sides know that it is back at (1,0); nothing is said.
                    peer.am_choking = true;
                    peer.asked.clear();
                }
                self.tell_json_news(now, conn);
                Ok(())
            }
            Message::Have(piece) => {
                talk.tells_news = true;
                self.has_piece(now, conn, piece)?;
                self.tell_json_news(now, conn);
                Ok(())
            }
            Message::Request(piece) => self.json_requested(now, conn, piece),
            Message::ServerClose => Err(DisconnectReason::PeerStopped),
        }
    }

    /// Tells a peer of pieces that are news to it, when it can be told.
    pub(crate) fn tell_json_news(&mut self, now: Time, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Talk::JsonTorrent(talk) = &peer.talk else { return };
        if !(talk.introduced && (talk.tells_news || !peer.peer_interested)) {
            return;
        }
        if !talk.tells_news && peer.late_haves.len() > MUCH_NEWS {
            // A new bitfield says it better.
            return self.drop_peer(now, conn, DisconnectReason::Idle);
        }
        for piece in std::mem::take(&mut peer.late_haves) {
            // What it has itself it need not be told, since news is told one by one.
            let known =
                self.peers.get(&conn).and_then(Peer::have).is_some_and(|have| have.get(piece));
            if !known {
                self.send(now, conn, Word::Have(piece));
            }
        }
    }

    /// Parts from a peer with which nobody wants anything for a while.
    pub(crate) fn housekeep_json(
        &mut self,
        now: Time,
        conn: ConnId,
    ) -> Result<(), DisconnectReason> {
        let complete = self.is_complete();
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let idle = !peer.am_interested && !peer.peer_interested;
        let dialed = peer.direction == Direction::Dialed;
        let Talk::JsonTorrent(talk) = &mut peer.talk else { return Ok(()) };
        if !idle {
            talk.finished = None;
            return Ok(());
        }
        let since = *talk.finished.get_or_insert(now);
        let (told, idle_for) = (talk.tells_news, now.since(since));
        let no_news = dialed && !complete && !told && idle_for >= NO_NEWS && !peer.is_complete();
        if no_news || (idle_for >= FINISHED && (complete || !told)) {
            return Err(DisconnectReason::Idle);
        }
        self.tell_json_news(now, conn);
        Ok(())
    }

    fn json_talk(&mut self, conn: ConnId) -> Option<&mut JsonTalk> {
        match &mut self.peers.get_mut(&conn)?.talk {
            Talk::JsonTorrent(talk) => Some(talk),
            Talk::BitTorrent | Talk::Chunk(_) => None,
        }
    }

    fn json_bitfield(
        &mut self,
        now: Time,
        conn: ConnId,
        bytes: &Bytes,
    ) -> Result<(), DisconnectReason> {
        let Some(talk) = self.json_talk(conn) else { return Ok(()) };
        if std::mem::replace(&mut talk.introduced, true) {
            return Err(DisconnectReason::Misbehaved(Misbehavior::SecondBitfield));
        }
        let Some(Theirs::Known { have, .. }) = self.peers.get(&conn).map(|peer| &peer.theirs)
        else {
            return Ok(());
        };
        let pieces = have.len();
        if bytes.len() != pieces as usize {
            return Err(DisconnectReason::Misbehaved(Misbehavior::BitfieldMismatch));
        }
        let theirs: Vec<u32> = (0..pieces).filter(|&piece| bytes[piece as usize] != 0).collect();
        self.gained(now, conn, &theirs);
        let wanted = self.peers.get(&conn).is_some_and(|peer| peer.am_interested);
        if !wanted {
            self.send(now, conn, Word::NotInterested);
        }
        self.widen(conn);
        Ok(())
    }

    /// Every `Interested` is answered with `UnChoke`, as long as there is a slot.
    fn json_interested(&mut self, now: Time, conn: ConnId) -> Result<(), DisconnectReason> {
        let unchoked = self.peers.get(&conn).is_some_and(|peer| !peer.am_choking);
        self.interested(now, conn, true)?;
        if unchoked {
            self.send(now, conn, Word::Unchoke);
        }
        Ok(())
    }

    fn json_requested(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
    ) -> Result<(), DisconnectReason> {
        let Phase::Ready(ready) = &self.phase else {
            return Err(DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange));
        };
        let length = ready.geometry.length_of(piece);
        if length == 0 {
            return Err(DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange));
        }
        let has = ready.picker.have().get(piece);
        let Some(peer) = self.peers.get(&conn) else { return Ok(()) };
        if peer.am_choking {
            return Err(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
                "Request while it is choked".into(),
            )));
        }
        if !has {
            return Err(DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange));
        }
        self.queue_whole(now, conn, piece, length)
    }
}

//! Cuts what arrives on a connection into messages and blocks. A block is a slice of the slab that
//! it was received into. No socket here.
//!
//! Payload is copied in two cases only: a header and the first bytes of its block were the last
//! things that fitted into a slab (at most [`MIN_SLAB_ROOM`] bytes), or a few bytes were left over
//! in a slab that is given back.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sow_engine::Message;
use sow_wire::bittorrent::BlockRequest;
use tokio::time::{Duration, Instant};

use super::{
    codec::{DecodeError, Decoded, Decoder},
    slab_pool::{LARGEST_SLAB, SMALLEST_SLAB, Slab, SlabPool},
};

/// A slab with less room than this receives no more, in bytes.
const MIN_SLAB_ROOM: usize = 4 * 1024;

/// A slab that was filled in less time than this is followed by one of twice its size.
const FAST_FILL_TIME: Duration = Duration::from_millis(200);

/// A slab that was filled in more time than this is followed by one of half its size.
const SLOW_FILL_TIME: Duration = Duration::from_secs(1);

/// The lowest rate at which a block may arrive, in bytes per second.
const MIN_BLOCK_RATE: u32 = 16 * 1024;

/// The maximum number of messages and blocks in a batch: a flood of small messages must not keep
/// the engine to itself.
pub(crate) const MAX_BATCH: usize = 512;

/// The bytes of a block, in order, in one segment for each slab that they were received into: one
/// or two, and more where a block is a whole piece.
pub(crate) type Payload = Vec<Bytes>;

/// What a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Message(Message),
    Block(BlockRequest, Payload),
}

/// The receiving state of one connection, without its socket.
#[derive(Debug)]
pub(crate) struct BlockReader {
    decoder: Decoder,
    pool: Arc<SlabPool>,
    slab: Slab,
    slab_taken_at: Instant,
    /// The size of the slab to take next, in bytes.
    next_size: usize,
    block: Option<PartialBlock>,
}

/// A block whose header was decoded.
#[derive(Debug)]
struct PartialBlock {
    request: BlockRequest,
    /// Its bytes in earlier slabs.
    segments: Payload,
    /// How many bytes follow those.
    missing: usize,
}

impl BlockReader {
    /// A reader that decodes with `decoder`, and begins with `first`, which was received before.
    pub(crate) fn new(decoder: Decoder, first: &[u8], pool: Arc<SlabPool>) -> Self {
        let mut slab = Slab::private(first.len());
        slab.buf.extend_from_slice(first);
        let (slab_taken_at, next_size) = (Instant::now(), SMALLEST_SLAB);
        Self { decoder, pool, slab, slab_taken_at, next_size, block: None }
    }

    /// The buffer to receive into. It has room.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        let wanted = match &self.block {
            Some(block) => MIN_SLAB_ROOM.min(block.missing - self.slab.buf.len()),
            None => MIN_SLAB_ROOM,
        };
        if self.slab.room() < wanted {
            // When every block that was cut from the front of the slab is gone, it is free again.
            let is_nearly_empty = self.slab.buf.len() <= MIN_SLAB_ROOM;
            if !(is_nearly_empty && self.slab.buf.try_reclaim(wanted)) {
                self.change_slab();
            }
        }
        &mut self.slab.buf
    }

    /// Decodes what was received into [`BlockReader::buffer`], one batch at a time. True: call it
    /// again before more is received.
    ///
    /// # Errors
    /// When the peer sent something malformed. What was decoded before it is in `out`.
    pub(crate) fn decode(&mut self, out: &mut Vec<Received>) -> Result<bool, DecodeError> {
        for _ in 0..MAX_BATCH {
            if let Some(mut block) = self.block.take() {
                if self.slab.buf.len() < block.missing {
                    self.block = Some(block);
                    return Ok(false);
                }
                block.segments.push(self.slab.buf.split_to(block.missing).freeze());
                out.push(Received::Block(block.request, block.segments));
            }
            match self.decoder.decode(&mut self.slab.buf)? {
                None => return Ok(false),
                Some(Decoded::Message(message)) => out.push(Received::Message(message)),
                Some(Decoded::Block(request)) => {
                    let missing = request.length as usize;
                    self.block = Some(PartialBlock { request, segments: Payload::new(), missing });
                }
            }
        }
        Ok(true)
    }

    /// Whether a message or block has begun to arrive and is not complete.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.block.is_some() || !self.slab.buf.is_empty()
    }

    /// How much longer than a message the current block may take.
    pub(crate) fn extra_block_time(&self) -> Duration {
        let seconds = self.block.as_ref().map_or(0, |block| block.request.length / MIN_BLOCK_RATE);
        Duration::from_secs(u64::from(seconds))
    }

    /// Gives the slab back, unless it holds much of an incomplete message or block. To be called
    /// when nothing has arrived for a while.
    pub(crate) fn release_idle_slab(&mut self) {
        self.next_size = SMALLEST_SLAB;
        let left = self.slab.buf.len();
        if self.slab.size() == 0 || left > MIN_SLAB_ROOM {
            return;
        }
        let mut small = Slab::private(left);
        small.buf.extend_from_slice(&self.slab.buf);
        self.pool.put(std::mem::replace(&mut self.slab, small));
    }

    /// Takes a new slab, and moves what is incomplete to it.
    fn change_slab(&mut self) {
        self.choose_next_size();
        if let Some(block) = &mut self.block
            && !self.slab.buf.is_empty()
        {
            let segment = self.slab.buf.split().freeze();
            block.missing -= segment.len();
            block.segments.push(segment);
        }
        let left = self.slab.buf.len();
        let mut next = if left + MIN_SLAB_ROOM > LARGEST_SLAB {
            // A control message that is longer than any slab. The decoder limits its length.
            Slab::private(2 * left)
        } else {
            self.pool.take(self.next_size.max(left + MIN_SLAB_ROOM))
        };
        next.buf.extend_from_slice(&self.slab.buf);
        self.pool.put(std::mem::replace(&mut self.slab, next));
        self.slab_taken_at = Instant::now();
    }

    fn choose_next_size(&mut self) {
        let size = self.slab.size();
        if size == 0 {
            return;
        }
        let fill_time = self.slab_taken_at.elapsed();
        self.next_size = if fill_time < FAST_FILL_TIME {
            (size * 2).min(LARGEST_SLAB)
        } else if fill_time > SLOW_FILL_TIME {
            (size / 2).max(SMALLEST_SLAB)
        } else {
            size
        };
    }
}

impl Drop for BlockReader {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.slab));
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use sow_engine::{Dialect, Direction};
    use sow_wire::bittorrent::{
        Message as WireMessage,
        message::{block_head, encode},
    };

    use super::*;
    use crate::connection::codec::CodecLimits;

    const MAX_BLOCK: u32 = 128 * 1024;

    fn reader(pool: Arc<SlabPool>) -> BlockReader {
        BlockReader::new(
            Decoder::new(
                Dialect::BitTorrent,
                Direction::Accepted,
                &CodecLimits::new(MAX_BLOCK, None),
            ),
            &[],
            pool,
        )
    }

    fn byte_at(piece: u32, offset: u32) -> u8 {
        (piece.wrapping_mul(31) ^ offset ^ (offset >> 8)) as u8
    }

    /// A stream of blocks of odd lengths with messages between them, and what it contains.
    fn stream(blocks: u32) -> (Vec<u8>, Vec<(BlockRequest, usize)>) {
        let (mut bytes, mut sent) = (BytesMut::new(), Vec::new());
        for piece in 0..blocks {
            let request =
                BlockRequest { piece, offset: piece * 3, length: 1 + (piece * 50_021) % MAX_BLOCK };
            let messages = (piece % 4) as usize;
            for _ in 0..messages {
                encode(&WireMessage::Have(piece), &mut bytes);
            }
            bytes.put_slice(&block_head(request));
            bytes.extend((0..request.length).map(|at| byte_at(piece, at)));
            sent.push((request, messages));
        }
        (bytes.to_vec(), sent)
    }

    /// Receives `bytes` in steps of at most `step` bytes and as the buffers allow.
    fn feed(reader: &mut BlockReader, mut bytes: &[u8], step: usize, out: &mut Vec<Received>) {
        while !bytes.is_empty() {
            let buffer = reader.buffer();
            let count = (buffer.capacity() - buffer.len()).min(step).min(bytes.len());
            assert!(count > 0, "a buffer without room");
            buffer.put_slice(&bytes[..count]);
            bytes = &bytes[count..];
            while reader.decode(out).unwrap() {}
        }
    }

    #[test]
    fn any_segmentation_gives_the_same_blocks() {
        let (bytes, sent) = stream(40);
        for step in [1448, 9973, 65536, usize::MAX] {
            let pool = Arc::new(SlabPool::default());
            let (mut reader, mut out) = (reader(pool), Vec::new());
            feed(&mut reader, &bytes, step, &mut out);
            assert!(!reader.is_mid_message());
            let mut out = out.into_iter();
            for (request, messages) in &sent {
                for _ in 0..*messages {
                    assert_eq!(
                        out.next(),
                        Some(Received::Message(WireMessage::Have(request.piece).into()))
                    );
                }
                let Some(Received::Block(got, payload)) = out.next() else { panic!("no block") };
                assert_eq!(got, *request);
                assert!(payload.len() <= 5, "{} segments", payload.len());
                let joined = payload.concat();
                assert_eq!(joined.len(), request.length as usize);
                let right = (0..).zip(&joined).all(|(at, byte)| *byte == byte_at(got.piece, at));
                assert!(right, "block {got:?} is not what was sent");
            }
            assert_eq!(out.next(), None);
        }
    }

    #[test]
    fn payload_is_not_copied() {
        let pool = Arc::new(SlabPool::default());
        let (mut reader, mut out) = (reader(pool), Vec::new());
        let request = BlockRequest { piece: 0, offset: 0, length: 16384 };
        reader.buffer().put_slice(&block_head(request));
        reader.buffer().put_bytes(1, 16384);
        let received_at = reader.buffer().as_ptr().wrapping_add(13);
        reader.decode(&mut out).unwrap();
        let Some(Received::Block(_, payload)) = out.pop() else { panic!("no block") };
        assert_eq!(payload[0].as_ptr(), received_at);
    }

    #[test]
    fn a_fast_connection_gets_larger_slabs_and_an_idle_one_gives_them_back() {
        let (bytes, _) = stream(40);
        let pool = Arc::new(SlabPool::default());
        let (mut reader, mut out) = (reader(Arc::clone(&pool)), Vec::new());
        feed(&mut reader, &bytes, 65536, &mut out);
        assert_eq!(reader.slab.size(), LARGEST_SLAB);
        reader.buffer().put_slice(&[0, 0]);
        reader.decode(&mut out).unwrap();
        out.clear();
        reader.release_idle_slab();
        assert_eq!(reader.slab.size(), 0);
        assert!(reader.is_mid_message());
        feed(&mut reader, &[0, 0], 1, &mut out);
        assert_eq!(out, [Received::Message(WireMessage::KeepAlive.into())]);
    }

    #[test]
    fn a_control_message_longer_than_a_slab_arrives() {
        let pool = Arc::new(SlabPool::default());
        let (mut reader, mut out) = (reader(pool), Vec::new());
        let message = WireMessage::Bitfield(vec![3; 700_000].into());
        let mut bytes = BytesMut::new();
        encode(&message, &mut bytes);
        feed(&mut reader, &bytes, 50_000, &mut out);
        assert_eq!(out, [Received::Message(message.into())]);
    }

    #[test]
    fn small_messages_come_in_batches() {
        let pool = Arc::new(SlabPool::default());
        let (mut reader, mut out) = (reader(pool), Vec::new());
        // A keep-alive is four zeros.
        reader.buffer().put_bytes(0, 4 * (2 * MAX_BATCH + 1));
        let mut batches = Vec::new();
        while reader.decode(&mut out).unwrap() {
            batches.push(out.drain(..).len());
        }
        assert_eq!((batches, out.len()), (vec![MAX_BATCH, MAX_BATCH], 1));
    }

    #[test]
    fn garbage_is_an_error() {
        let pool = Arc::new(SlabPool::default());
        let (mut reader, mut out) = (reader(pool), Vec::new());
        reader.buffer().put_bytes(0xff, 100);
        assert!(reader.decode(&mut out).is_err());
    }
}

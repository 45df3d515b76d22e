//! What has arrived on a connection and what it is made of: messages, and blocks that are cut from
//! the slab they were received into. No socket here.
//!
//! Payload is copied only where a head and the first bytes of its block were the last things that
//! fitted a slab (at most [`LEAST_ROOM`] bytes), or a few bytes were all that was left of a slab
//! that is given away.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sow_engine::Message;
use sow_wire::bittorrent::BlockRequest;
use tokio::time::{Duration, Instant};

pub(crate) use crate::tongue::IntakeError;
use crate::{
    slabs::{LARGEST_SLAB, SMALLEST_SLAB, Slab, Slabs},
    tongue::{Ear, Next},
};

/// A slab with less room than this is not read into any more, in bytes.
const LEAST_ROOM: usize = 4 * 1024;

/// A slab filled faster than this is followed by one of twice its size.
const FAST: Duration = Duration::from_millis(200);

/// A slab filled slower than this is followed by one of half its size.
const SLOW: Duration = Duration::from_secs(1);

/// A block may come this slowly, in bytes a second; what is slower is given up in the end.
const SLOWEST: u32 = 16 * 1024;

/// How much is taken apart at a time: a peer that floods us with small messages must not keep the
/// engine to itself.
const BATCH: usize = 512;

/// The bytes of a block, in order, in as many pieces as slabs they came in: one or two, more for a
/// piece that comes whole.
pub(crate) type Payload = Vec<Bytes>;

/// What a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Message(Message),
    Block(BlockRequest, Payload),
}

/// The receiving end of one connection, without its socket.
#[derive(Debug)]
pub(crate) struct Intake {
    ear: Ear,
    slabs: Arc<Slabs>,
    slab: Slab,
    /// When the slab was taken.
    taken: Instant,
    /// The size of the slab to take next.
    next_size: usize,
    block: Option<Arriving>,
}

/// A block whose head was read.
#[derive(Debug)]
struct Arriving {
    request: BlockRequest,
    /// What was cut off for it already.
    segments: Payload,
    /// What was not, in bytes.
    missing: usize,
}

impl Intake {
    /// Takes apart what `ear` understands, beginning with `first`, which was received before.
    pub(crate) fn new(ear: Ear, first: &[u8], slabs: Arc<Slabs>) -> Self {
        let mut slab = Slab::private(first.len());
        slab.buf.extend_from_slice(first);
        Self { ear, slabs, slab, taken: Instant::now(), next_size: SMALLEST_SLAB, block: None }
    }

    /// Where to receive to: a buffer with room.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        let wanted = match &self.block {
            Some(block) => LEAST_ROOM.min(block.missing - self.slab.buf.len()),
            None => LEAST_ROOM,
        };
        if self.slab.room() < wanted {
            // When all that was cut off is gone, the front of the slab is free again.
            let little = self.slab.buf.len() <= LEAST_ROOM;
            if !(little && self.slab.buf.try_reclaim(wanted)) {
                self.change_slab();
            }
        }
        &mut self.slab.buf
    }

    /// Takes apart what was received into [`Intake::buffer`], a batch at a time. True: there is
    /// more, before anything is received again.
    ///
    /// # Errors
    /// When it is not what the peer should speak. What was taken apart before is in `out`.
    pub(crate) fn parse(&mut self, out: &mut Vec<Received>) -> Result<bool, IntakeError> {
        for _ in 0..BATCH {
            if let Some(mut block) = self.block.take() {
                if self.slab.buf.len() < block.missing {
                    self.block = Some(block);
                    return Ok(false);
                }
                block.segments.push(self.slab.buf.split_to(block.missing).freeze());
                out.push(Received::Block(block.request, block.segments));
            }
            match self.ear.decode(&mut self.slab.buf)? {
                None => return Ok(false),
                Some(Next::Message(message)) => out.push(Received::Message(message)),
                Some(Next::Block(request)) => {
                    let missing = request.length as usize;
                    self.block = Some(Arriving { request, segments: Payload::new(), missing });
                }
            }
        }
        Ok(true)
    }

    /// Whether something has begun to arrive that is not whole yet.
    pub(crate) fn is_midway(&self) -> bool {
        self.block.is_some() || !self.slab.buf.is_empty()
    }

    /// What a block that has begun to arrive may take longer than other things.
    pub(crate) fn allowance(&self) -> Duration {
        let seconds = self.block.as_ref().map_or(0, |block| block.request.length / SLOWEST);
        Duration::from_secs(u64::from(seconds))
    }

    /// Nothing came for a while: gives the slab back unless it holds much of something midway.
    pub(crate) fn rest(&mut self) {
        self.next_size = SMALLEST_SLAB;
        let left = self.slab.buf.len();
        if self.slab.size() == 0 || left > LEAST_ROOM {
            return;
        }
        let mut small = Slab::private(left);
        small.buf.extend_from_slice(&self.slab.buf);
        self.slabs.put(std::mem::replace(&mut self.slab, small));
    }

    /// Goes over to a new slab, with what is midway.
    fn change_slab(&mut self) {
        self.choose_size();
        if let Some(block) = &mut self.block
            && !self.slab.buf.is_empty()
        {
            let segment = self.slab.buf.split().freeze();
            block.missing -= segment.len();
            block.segments.push(segment);
        }
        let left = self.slab.buf.len();
        let mut next = if left + LEAST_ROOM > LARGEST_SLAB {
            // A control message that is longer than any slab; the decoder bounds it.
            Slab::private(2 * left)
        } else {
            self.slabs.take(self.next_size.max(left + LEAST_ROOM))
        };
        next.buf.extend_from_slice(&self.slab.buf);
        self.slabs.put(std::mem::replace(&mut self.slab, next));
        self.taken = Instant::now();
    }

    fn choose_size(&mut self) {
        let size = self.slab.size();
        if size == 0 {
            return;
        }
        let time = self.taken.elapsed();
        self.next_size = if time < FAST {
            (size * 2).min(LARGEST_SLAB)
        } else if time > SLOW {
            (size / 2).max(SMALLEST_SLAB)
        } else {
            size
        };
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.slabs.put(std::mem::take(&mut self.slab));
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use sow_engine::{Dialect, Direction};
    use sow_wire::bittorrent::{
        Message as Word,
        message::{block_head, encode},
    };

    use super::*;
    use crate::tongue::Bounds;

    const MAX_BLOCK: u32 = 128 * 1024;

    fn intake(slabs: Arc<Slabs>) -> Intake {
        Intake::new(
            Ear::new(Dialect::BitTorrent, Direction::Accepted, &Bounds::new(MAX_BLOCK, None)),
            &[],
            slabs,
        )
    }

    fn byte_at(piece: u32, offset: u32) -> u8 {
        (piece.wrapping_mul(31) ^ offset ^ (offset >> 8)) as u8
    }

    /// A stream of blocks of odd lengths with messages among them, and what it is made of.
    fn stream(blocks: u32) -> (Vec<u8>, Vec<(BlockRequest, usize)>) {
        let (mut bytes, mut said) = (BytesMut::new(), Vec::new());
        for piece in 0..blocks {
            let request =
                BlockRequest { piece, offset: piece * 3, length: 1 + (piece * 50_021) % MAX_BLOCK };
            let messages = (piece % 4) as usize;
            for _ in 0..messages {
                encode(&Word::Have(piece), &mut bytes);
            }
            bytes.put_slice(&block_head(request));
            bytes.extend((0..request.length).map(|at| byte_at(piece, at)));
            said.push((request, messages));
        }
        (bytes.to_vec(), said)
    }

    /// Feeds `bytes` in reads of at most `step` bytes, and as the buffers allow.
    fn feed(intake: &mut Intake, mut bytes: &[u8], step: usize, out: &mut Vec<Received>) {
        while !bytes.is_empty() {
            let buffer = intake.buffer();
            let count = (buffer.capacity() - buffer.len()).min(step).min(bytes.len());
            assert!(count > 0, "a buffer without room");
            buffer.put_slice(&bytes[..count]);
            bytes = &bytes[count..];
            while intake.parse(out).unwrap() {}
        }
    }

    #[test]
    fn any_segmentation_gives_the_same_blocks() {
        let (bytes, said) = stream(40);
        for step in [1448, 9973, 65536, usize::MAX] {
            let slabs = Arc::new(Slabs::default());
            let (mut intake, mut out) = (intake(slabs), Vec::new());
            feed(&mut intake, &bytes, step, &mut out);
            assert!(!intake.is_midway());
            let mut out = out.into_iter();
            for (request, messages) in &said {
                for _ in 0..*messages {
                    assert_eq!(
                        out.next(),
                        Some(Received::Message(Word::Have(request.piece).into()))
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
        let slabs = Arc::new(Slabs::default());
        let (mut intake, mut out) = (intake(slabs), Vec::new());
        let request = BlockRequest { piece: 0, offset: 0, length: 16384 };
        intake.buffer().put_slice(&block_head(request));
        intake.buffer().put_bytes(1, 16384);
        let received_at = intake.buffer().as_ptr().wrapping_add(13);
        intake.parse(&mut out).unwrap();
        let Some(Received::Block(_, payload)) = out.pop() else { panic!("no block") };
        assert_eq!(payload[0].as_ptr(), received_at);
    }

    #[test]
    fn a_fast_connection_gets_larger_slabs_and_a_resting_one_gives_them_back() {
        let (bytes, _) = stream(40);
        let slabs = Arc::new(Slabs::default());
        let (mut intake, mut out) = (intake(Arc::clone(&slabs)), Vec::new());
        feed(&mut intake, &bytes, 65536, &mut out);
        assert_eq!(intake.slab.size(), LARGEST_SLAB);
        intake.buffer().put_slice(&[0, 0]);
        intake.parse(&mut out).unwrap();
        out.clear();
        intake.rest();
        assert_eq!(intake.slab.size(), 0);
        assert!(intake.is_midway());
        feed(&mut intake, &[0, 0], 1, &mut out);
        assert_eq!(out, [Received::Message(Word::KeepAlive.into())]);
    }

    #[test]
    fn a_control_message_longer_than_a_slab_arrives() {
        let slabs = Arc::new(Slabs::default());
        let (mut intake, mut out) = (intake(slabs), Vec::new());
        let message = Word::Bitfield(vec![3; 700_000].into());
        let mut bytes = BytesMut::new();
        encode(&message, &mut bytes);
        feed(&mut intake, &bytes, 50_000, &mut out);
        assert_eq!(out, [Received::Message(message.into())]);
    }

    #[test]
    fn small_messages_come_in_batches() {
        let slabs = Arc::new(Slabs::default());
        let (mut intake, mut out) = (intake(slabs), Vec::new());
        // A keep-alive is four zeros.
        intake.buffer().put_bytes(0, 4 * (2 * BATCH + 1));
        let mut batches = Vec::new();
        while intake.parse(&mut out).unwrap() {
            batches.push(out.drain(..).len());
        }
        assert_eq!((batches, out.len()), (vec![BATCH, BATCH], 1));
    }

    #[test]
    fn garbage_is_an_error() {
        let slabs = Arc::new(Slabs::default());
        let (mut intake, mut out) = (intake(slabs), Vec::new());
        intake.buffer().put_bytes(0xff, 100);
        assert!(intake.parse(&mut out).is_err());
    }
}

//! Tests of the picker: what is requested next, from which peer.

use super::*;

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);
const C: ConnId = ConnId(3);

fn picker(pieces: u32, units: u32) -> (Picker, fastrand::Rng) {
    let geometry =
        Geometry::new(u64::from(pieces * units) * 16384, u64::from(units) * 16384).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let have = Bitfield::new(pieces);
    (Picker::new(geometry, have, PickOrder::RarestFirst, 1 << 30, &mut rng), rng)
}

fn set(pieces: u32, members: &[u32]) -> Bitfield {
    let mut set = Bitfield::new(pieces);
    members.iter().for_each(|&piece| assert!(set.set(piece)));
    set
}

#[test]
fn the_rarest_piece_is_opened_first_and_finished_by_the_peer_that_began_it() {
    let (mut picker, mut rng) = picker(5, 2);
    let all = Bitfield::full(5);
    for piece in [0, 1, 2, 3, 4, 0, 1, 3, 4] {
        picker.add(piece, &mut rng);
    }
    let first = picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap().block;
    assert_eq!((first.piece, first.offset), (2, 0));
    let second = picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap().block;
    assert_eq!((second.piece, second.offset), (2, 16384));
    assert_ne!(picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap().block.piece, 2);
}

#[test]
fn other_peers_join_an_open_piece_before_they_open_another() {
    let (mut picker, mut rng) = picker(4, 4);
    let all = Bitfield::full(4);
    let first = picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap().block;
    let joined = picker.next_block(Time(0), B, &all, 1 << 20, &mut rng).unwrap().block;
    assert_eq!((joined.piece, joined.offset, joined.length), (first.piece, 16384, 3 * 16384));
}

#[test]
fn only_what_a_peer_has_is_requested_of_it() {
    let (mut picker, mut rng) = picker(4, 1);
    assert_eq!(
        picker.next_block(Time(0), A, &set(4, &[3]), 16384, &mut rng).unwrap().block.piece,
        3
    );
    assert_eq!(picker.next_block(Time(0), A, &set(4, &[3]), 16384, &mut rng), None);
}

#[test]
fn the_end_game_requests_the_oldest_once_more() {
    let (mut picker, mut rng) = picker(2, 1);
    let all = Bitfield::full(2);
    let a = picker.next_block(Time(1), A, &all, 16384, &mut rng).unwrap().block;
    let (any, none) = (|_| true, |_| false);
    let b = picker.next_block(Time(2), B, &all, 16384, &mut rng).unwrap().block;
    assert_eq!(picker.duplicate_block(Time(2), B, &all, |_| false, none), None, "not worth it");
    assert_eq!(picker.duplicate_block(Time(2), B, &all, any, none), Some((a, None)));
    let second = picker.duplicate_block(Time(2), C, &all, any, none);
    assert_eq!(second, Some((b, None)), "at most two copies of one block");
    assert_eq!(picker.duplicate_block(Time(2), C, &all, any, none), None);
    let arrival = picker.on_block(B, a).unwrap();
    assert_eq!((arrival.duplicate_requesters, arrival.is_whole), (vec![A], true));
    assert_eq!(picker.on_block(A, a), None);
    picker.on_stored(a.piece);
    assert!(picker.have().get(a.piece) && picker.has_block(a));
}

#[test]
fn a_released_block_is_picked_again() {
    let (mut picker, mut rng) = picker(1, 1);
    let all = Bitfield::full(1);
    let block = picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap().block;
    assert_eq!(picker.next_block(Time(0), B, &all, 16384, &mut rng), None);
    assert_eq!(picker.release(A, block, &mut rng), None);
    assert_eq!(picker.next_block(Time(0), B, &all, 16384, &mut rng).unwrap().block, block);
}

#[test]
fn a_corrupt_piece_comes_from_one_peer_the_next_time() {
    let (mut picker, mut rng) = picker(1, 2);
    let all = Bitfield::full(1);
    let a = picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap().block;
    let b = picker.next_block(Time(0), B, &all, 16384, &mut rng).unwrap().block;
    picker.on_block(A, a);
    assert!(picker.on_block(B, b).unwrap().is_whole);
    assert_eq!(picker.sources(0), [A, B]);
    assert_eq!(picker.bytes_by_source(0), [(A, 16384), (B, 16384)]);
    picker.start_over(0, true, &mut rng);
    assert!(picker.is_suspect(0));
    let again = picker.next_block(Time(0), B, &all, 16384, &mut rng).unwrap().block;
    assert_eq!(picker.next_block(Time(0), A, &all, 16384, &mut rng), None);
    assert_eq!(picker.on_block(A, a), None, "a late block of another peer is not mixed in");
    assert_eq!(picker.release(B, again, &mut rng), Some(0));
    assert!(picker.next_block(Time(0), A, &all, 16384, &mut rng).is_some());
}

#[test]
fn a_corrupt_piece_is_fetched_again_before_any_other() {
    for seed in 0..50 {
        let (mut picker, _) = picker(100, 1);
        let mut rng = fastrand::Rng::with_seed(seed);
        let all = Bitfield::full(100);
        let first = picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap().block;
        assert!(picker.on_block(A, first).unwrap().is_whole);
        picker.start_over(first.piece, true, &mut rng);
        // Everything else is rarer now.
        picker.add(first.piece, &mut rng);
        let but_it: Vec<u32> = (0..100).filter(|&piece| piece != first.piece).collect();
        let other =
            picker.next_block(Time(0), B, &set(100, &but_it), 16384, &mut rng).unwrap().block;
        assert_ne!(other.piece, first.piece, "C has it, B has not");
        assert_eq!(picker.next_block(Time(0), C, &all, 16384, &mut rng).unwrap().block, first);
        assert_ne!(
            picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap().block,
            first,
            "it was requested of C"
        );
    }
}

#[test]
fn a_suspect_piece_does_not_wait_for_a_peer_that_is_of_no_use() {
    let (mut picker, mut rng) = picker(1, 2);
    let all = Bitfield::full(1);
    for conn in [A, B] {
        let block = picker.next_block(Time(0), conn, &all, 16384, &mut rng).unwrap().block;
        picker.on_block(conn, block);
    }
    picker.start_over(0, true, &mut rng);
    let first = picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap().block;
    assert!(picker.reclaim(|_| true, &mut rng).is_empty(), "it is being asked for");
    picker.on_block(A, first);
    assert_eq!(picker.next_block(Time(0), B, &all, 16384, &mut rng), None);
    assert!(picker.reclaim(|conn| conn == B, &mut rng).is_empty());
    assert_eq!(picker.reclaim(|conn| conn == A, &mut rng), [0]);
    assert!(picker.next_block(Time(0), B, &all, 16384, &mut rng).is_some());
}

#[test]
fn a_whole_piece_is_requested_of_a_third_peer_when_one_of_two_does_not_deliver() {
    let (mut picker, mut rng) = picker(1, 2);
    let all = Bitfield::full(1);
    let (any, none) = (|_| true, |_| false);
    let block = picker.request_piece(Time(0), A, 0, u32::MAX, &mut rng).unwrap().block;
    assert_eq!(picker.duplicate_piece(Time(1), B, &all, any, none), Some((block, None)));
    assert_eq!(picker.duplicate_piece(Time(2), C, &all, any, none), None, "both are live");
    let is_dead = |asked: Asked| asked.conn == A;
    assert_eq!(picker.duplicate_piece(Time(2), C, &all, any, is_dead), Some((block, Some(A))));
    let arrival = picker.on_block(C, block).unwrap();
    assert_eq!((arrival.duplicate_requesters, arrival.is_whole), (vec![B], true));
}

#[test]
fn a_third_copy_is_as_old_as_its_own_request() {
    let (mut picker, mut rng) = picker(1, 1);
    let all = Bitfield::full(1);
    picker.next_block(Time(0), A, &all, 16384, &mut rng).unwrap();
    let is_dead = |asked: Asked| asked.at < Time(5);
    let duplicate = |picker: &mut Picker, now, conn| {
        let pick = picker.duplicate_block(now, conn, &all, |_| true, is_dead);
        pick.map(|(_, displaced)| displaced)
    };
    assert_eq!(duplicate(&mut picker, Time(5), B), Some(None));
    assert_eq!(duplicate(&mut picker, Time(6), C), Some(Some(A)));
    assert_eq!(duplicate(&mut picker, Time(7), A), None, "B and C have had no time");
}

#[test]
fn a_suspect_piece_may_come_whole_from_the_peer_that_was_asked_before() {
    let (mut picker, mut rng) = picker(1, 2);
    let all = Bitfield::full(1);
    let block = picker.request_piece(Time(0), A, 0, u32::MAX, &mut rng).unwrap().block;
    picker.on_block(A, block);
    picker.start_over(0, true, &mut rng);
    picker.request_piece(Time(1), B, 0, u32::MAX, &mut rng).unwrap();
    let worth = |_, _, is_empty| is_empty;
    assert_eq!(picker.take_over(C, &all, worth, &mut rng), Some((0, B)));
    picker.request_piece(Time(2), C, 0, u32::MAX, &mut rng).unwrap();
    let half = Block { length: 16384, ..block };
    assert_eq!(picker.on_block(B, half), None, "parts of two peers are not mixed");
    assert!(picker.on_block(B, block).unwrap().is_whole);
    assert_eq!(picker.sources(0), [B, B]);
}

#[test]
fn open_pieces_are_bounded_and_an_idle_one_makes_room() {
    let geometry = Geometry::new(10 * 32768, 32768).unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut picker =
        Picker::new(geometry, Bitfield::new(10), PickOrder::RarestFirst, 3 * 32768, &mut rng);
    let mine = |pieces: &[u32]| set(10, pieces);
    for piece in 0..3 {
        assert!(picker.next_block(Time(0), A, &mine(&[piece]), 16384, &mut rng).is_some());
    }
    assert_eq!(picker.next_block(Time(0), B, &mine(&[5]), 16384, &mut rng), None);
    let block = Block { piece: 1, offset: 0, length: 16384 };
    picker.release(A, block, &mut rng);
    let pick = picker.next_block(Time(0), B, &mine(&[5]), 16384, &mut rng).unwrap();
    assert_eq!((pick.block.piece, pick.evicted), (5, Some(1)));
}

#[test]
fn in_order_pieces_are_opened_in_ascending_order() {
    let geometry = Geometry::new(6 * 16384, 16384).unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut picker = Picker::new(geometry, set(6, &[1]), PickOrder::InOrder, 1 << 20, &mut rng);
    let all = Bitfield::full(6);
    let picked: Vec<u32> =
        std::iter::from_fn(|| picker.next_block(Time(0), A, &all, 16384, &mut rng))
            .map(|pick| pick.block.piece)
            .collect();
    assert_eq!(picked, [0, 2, 3, 4, 5]);
}

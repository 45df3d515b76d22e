//! Tests of the receivers of an origin.

use sow_engine::ConnId;

use super::*;

const NOW: Duration = Duration::ZERO;

fn complete_count(receivers: &Receivers) -> usize {
    receivers.iter().filter(|receiver| receiver.is_complete()).count()
}

fn peer(name: u8, have: u32) -> PeerStatus {
    PeerStatus {
        conn: ConnId(name.into()),
        addr: ([10, 0, 0, name], 40_000).into(),
        listen_addr: Some(([10, 0, 0, name], 6881).into()),
        peer_id: PeerId([name; 20]),
        client: None,
        have,
        complete: have == 10,
        upload_only: false,
        downloaded: 0,
        uploaded: 0,
        rate_down: 0,
        rate_up: 5,
        dialed: false,
    }
}

fn receivers() -> Receivers {
    Receivers::new(Geometry::new(95, 10).unwrap())
}

#[test]
fn every_change_is_returned_once() {
    let mut receivers = receivers();
    let states =
        |changed: Vec<Receiver>| changed.into_iter().map(|one| one.state).collect::<Vec<_>>();
    assert_eq!(states(receivers.update(NOW, &[peer(1, 0)])), [ReceiverState::Connected]);
    assert_eq!(states(receivers.update(NOW, &[peer(1, 5)])), []);
    assert_eq!(receivers.snapshot()[0].bytes, 50);
    assert_eq!(states(receivers.update(NOW, &[])), [ReceiverState::Gone]);
    assert_eq!(states(receivers.update(NOW, &[])), []);
    assert_eq!(states(receivers.update(NOW, &[peer(1, 6)])), [ReceiverState::Connected]);
    assert_eq!(states(receivers.update(NOW, &[peer(1, 10)])), [ReceiverState::Complete]);
    assert_eq!(states(receivers.update(NOW, &[])), []);
    assert_eq!((complete_count(&receivers), receivers.snapshot()[0].bytes), (1, 95));
}

#[test]
fn a_complete_receiver_stays_complete() {
    let mut receivers = receivers();
    receivers.update(NOW, &[peer(1, 9)]);
    assert!(receivers.on_complete(NOW, PeerId([1; 20]), peer(1, 10).addr).is_some());
    assert!(receivers.on_complete(NOW, PeerId([1; 20]), peer(1, 10).addr).is_none());
    // The status may be older than the event.
    assert!(receivers.update(NOW, &[peer(1, 9)]).is_empty());
    assert!(receivers.update(NOW, &[]).is_empty());
    assert_eq!(complete_count(&receivers), 1);
}

#[test]
fn an_announce_counts_only_for_a_receiver_that_was_connected() {
    let mut receivers = receivers();
    for name in 0..5 {
        let announced = receivers.on_announced(NOW, PeerId([name; 20]), peer(name, 0).addr);
        assert_eq!(announced, Err(NeverConnected));
    }
    assert_eq!(complete_count(&receivers), 0);
    receivers.update(NOW, &[peer(1, 4), peer(2, 4)]);
    receivers.update(NOW, &[]);
    assert!(receivers.on_announced(NOW, PeerId([1; 20]), peer(1, 4).addr).unwrap().is_some());
    assert!(receivers.on_announced(NOW, PeerId([1; 20]), peer(1, 4).addr).unwrap().is_none());
    let listening = peer(2, 4).listen_addr.unwrap();
    assert!(receivers.on_announced(NOW, PeerId([9; 20]), listening).unwrap().is_some());
    assert_eq!((complete_count(&receivers), receivers.snapshot().len()), (2, 2));
}

#[test]
fn a_short_connection_is_noticed() {
    let mut receivers = receivers();
    receivers.on_connected(NOW, PeerId([1; 20]), peer(1, 0).addr);
    assert_eq!(receivers.update(NOW, &[])[0].state, ReceiverState::Gone);
    receivers.on_connected(NOW, PeerId([2; 20]), peer(2, 0).addr);
    let changed = receivers.update(NOW, &[peer(2, 3)]);
    assert_eq!((changed.len(), changed[0].addr.unwrap().port(), changed[0].bytes), (1, 6881, 30));
}

#[test]
fn a_receiver_of_empty_content_is_complete_after_a_connection() {
    let empty = || Receivers::new(Geometry::new(0, 10).unwrap());
    let mut receivers = empty();
    receivers.on_connected(NOW, PeerId([1; 20]), peer(1, 0).addr);
    assert_eq!(complete_count(&receivers), 0);
    assert_eq!(receivers.update(NOW, &[])[0].state, ReceiverState::Complete);
    let mut receivers = empty();
    for update in 0..UPDATES_FOR_EMPTY_CONTENT {
        assert_eq!(complete_count(&receivers), 0, "{update}");
        receivers.update(NOW, &[peer(1, 10)]);
    }
    assert_eq!(complete_count(&receivers), 1);
}

#[test]
fn a_new_peer_id_at_the_address_of_a_disconnected_receiver_is_the_same_receiver() {
    let mut receivers = receivers();
    let mut again = peer(1, 10);
    again.peer_id = PeerId([9; 20]);
    receivers.update(NOW, &[peer(1, 10)]);
    receivers.update(NOW, &[]);
    receivers.update(NOW, std::slice::from_ref(&again));
    assert_eq!((complete_count(&receivers), receivers.snapshot().len()), (1, 1));
    receivers.update(NOW, &[]);
    again.peer_id = PeerId([8; 20]);
    receivers.on_connected(NOW, again.peer_id, peer(1, 10).listen_addr.unwrap());
    receivers.on_complete(NOW, again.peer_id, peer(1, 10).listen_addr.unwrap());
    assert_eq!((complete_count(&receivers), receivers.snapshot().len()), (1, 1));
}

#[test]
fn a_receiver_that_disconnects_before_the_first_update_is_known_by_its_listening_address() {
    let mut receivers = receivers();
    let mut again = peer(1, 10);
    again.peer_id = PeerId([9; 20]);
    receivers.on_connected(NOW, PeerId([1; 20]), peer(1, 10).addr);
    assert!(
        receivers.on_complete(NOW, PeerId([1; 20]), peer(1, 10).listen_addr.unwrap()).is_some()
    );
    receivers.update(NOW, &[]);
    // The origin connects to it, and it uses another peer ID.
    receivers.on_connected(NOW, again.peer_id, again.listen_addr.unwrap());
    receivers.on_complete(NOW, again.peer_id, again.listen_addr.unwrap());
    receivers.update(NOW, &[again]);
    assert_eq!((complete_count(&receivers), receivers.snapshot().len()), (1, 1));
}

#[test]
fn two_connected_receivers_may_share_an_address() {
    let mut receivers = receivers();
    let mut other = peer(1, 10);
    other.peer_id = PeerId([9; 20]);
    receivers.update(NOW, &[peer(1, 10), other]);
    assert_eq!(complete_count(&receivers), 2);
}

#[test]
fn the_rate_is_that_of_the_last_seconds() {
    let mut receivers = Receivers::new(Geometry::new(10_000, 10).unwrap());
    let mut at = |second: u64, have| {
        receivers.update(Duration::from_secs(second), &[peer(1, have)]);
        let now = receivers.snapshot().remove(0);
        (now.rate, now.last_progress.unwrap().as_secs())
    };
    assert_eq!(at(1, 0), (0, 1));
    assert_eq!(at(2, 1), (10, 2));
    assert_eq!(at(3, 5), (25, 3));
    assert_eq!((4..20).map(|second| at(second, 5)).last(), Some((0, 3)));
}

#[test]
fn a_host_that_floods_displaces_its_own_receivers() {
    let mut receivers = Receivers { limit: 20, ..receivers() };
    for name in 1..=10 {
        receivers.update(NOW, &[peer(name, 10)]);
    }
    for name in 100..200 {
        let mut other = peer(name, 0);
        other.addr.set_ip([10, 0, 9, 9].into());
        other.listen_addr = Some(([10, 0, 9, 9], name.into()).into());
        receivers.update(NOW, &[other]);
    }
    assert_eq!((receivers.snapshot().len(), complete_count(&receivers)), (20, 10));
}

/// The peer ID of one run of this program.
fn ours(run: u8) -> PeerId {
    let mut id = [run; 20];
    id[..8].copy_from_slice(b"-SW0100-");
    PeerId(id)
}

fn report(copy: u8, state: CopyState) -> ReceiverReport {
    ReceiverReport::new(CopyId([copy; 20]), &format!("web{copy}"), state)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_copy_is_one_receiver_whatever_its_address_and_peer_id() {
    let mut receivers = receivers();
    let addr = |port| SocketAddr::from(([10, 0, 0, 1], port));
    let run = |receivers: &mut Receivers, number: u8, port, copy| {
        receivers.on_connected(NOW, ours(number), addr(port));
        receivers.on_report(NOW, ours(number), addr(port), &report(copy, CopyState::Fetching))
    };
    let first = run(&mut receivers, 1, 1, 7).unwrap();
    assert_eq!((&*first.name, first.id.len()), ("web7", 40));
    assert_eq!(first.state, ReceiverState::Connected);
    assert_eq!(receivers.update(NOW, &[])[0].state, ReceiverState::Gone);
    assert!(run(&mut receivers, 2, 2, 7).is_some(), "it is back");
    let complete = report(7, CopyState::Complete);
    assert!(receivers.on_report(seconds(3), ours(2), addr(2), &complete).is_some());
    assert!(receivers.update(seconds(4), &[]).is_empty());
    // The same command once more finds the copy.
    assert_eq!(run(&mut receivers, 3, 3, 7), None);
    assert_eq!(receivers.on_report(seconds(5), ours(3), addr(3), &complete), None);
    let all = receivers.snapshot();
    assert_eq!((all.len(), all[0].finished, all[0].addr), (1, Some(seconds(3)), Some(addr(3))));
    for copy in 8..12 {
        assert!(run(&mut receivers, copy, 3, copy).is_some(), "another target");
    }
    assert_eq!(receivers.snapshot().len(), 5);
}

#[test]
fn a_copy_is_complete_when_it_is_in_its_place() {
    let mut receivers = receivers();
    let mut at = peer(1, 10);
    at.peer_id = ours(1);
    receivers.on_connected(NOW, ours(1), at.addr);
    let announced = receivers.on_complete(NOW, ours(1), at.addr);
    assert_eq!(announced, None, "it may say which copy it is");
    receivers.on_report(NOW, ours(1), at.addr, &report(1, CopyState::Fetching));
    assert!(receivers.update(NOW, std::slice::from_ref(&at)).is_empty());
    assert_eq!((complete_count(&receivers), receivers.snapshot()[0].bytes), (0, 95));
    let failed = report(1, CopyState::failed("cannot write /srv/a: no space left"));
    let failed = receivers.on_report(NOW, ours(1), at.addr, &failed).unwrap();
    assert_eq!(failed.shortfall(), "failed at 100.0 %: cannot write /srv/a: no space left");
    assert!(receivers.update(NOW, std::slice::from_ref(&at)).is_empty());
    // It has all pieces, and is killed while it reads them back.
    receivers.on_report(NOW, ours(1), at.addr, &report(1, CopyState::Fetching));
    receivers.update(NOW, std::slice::from_ref(&at));
    assert_eq!(receivers.update(NOW, &[])[0].state, ReceiverState::Gone);
}

#[test]
fn a_second_run_in_the_way_of_the_first_does_not_make_it_fail() {
    let mut receivers = receivers();
    let addr = peer(1, 0).addr;
    receivers.on_report(NOW, ours(1), addr, &report(1, CopyState::Fetching));
    receivers.on_report(NOW, ours(2), addr, &report(1, CopyState::Fetching));
    let failed = report(1, CopyState::failed("another process is receiving it"));
    assert_eq!(receivers.on_report(NOW, ours(2), addr, &failed), None);
    let mut first = peer(1, 3);
    first.peer_id = ours(1);
    assert!(receivers.update(NOW, &[first]).is_empty());
    assert_eq!(receivers.snapshot()[0].state, ReceiverState::Connected);
}

#[test]
fn a_copy_that_is_made_anew_is_not_complete() {
    let mut receivers = receivers();
    let mut at = peer(1, 2);
    at.peer_id = ours(1);
    receivers.on_report(NOW, ours(1), at.addr, &report(1, CopyState::Complete));
    receivers.on_report(NOW, ours(1), at.addr, &report(1, CopyState::Fetching));
    for _ in 0..UPDATES_BEFORE_RESTART {
        assert_eq!(complete_count(&receivers), 1);
        receivers.update(NOW, std::slice::from_ref(&at));
    }
    assert_eq!(complete_count(&receivers), 0);
}

#[test]
fn this_program_is_reported_once_it_has_said_which_copy_it_makes() {
    let mut receivers = receivers();
    let mut at = peer(1, 0);
    at.peer_id = ours(1);
    assert!(receivers.update(NOW, std::slice::from_ref(&at)).is_empty());
    assert!(receivers.update(NOW, &[]).is_empty());
    assert_eq!(receivers.snapshot().len(), 0, "it left before it said so");
    // A version that does not say it is known by its address.
    let updates = (0..UPDATES_BEFORE_COPY)
        .map(|_| receivers.update(NOW, std::slice::from_ref(&at)).len())
        .collect::<Vec<_>>();
    assert_eq!((updates.iter().sum::<usize>(), updates.last()), (1, Some(&1)));
}

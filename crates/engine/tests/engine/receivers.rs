//! Receivers report their copies to an origin that collects such reports, and to no other peer.

use sow_content::{Bitfield, InfoHash};
use sow_engine::{
    ConnId, Direction, DisconnectReason, Event, Input, Message, Output, PeerHandshake,
};
use sow_wire::bittorrent::{
    self, CopyId, CopyState, ExtensionHandshake, Handshake, PeerId, ReceiverReport,
};

use crate::{
    bittorrent::extended,
    scene::{Scene, disconnect_reason, sent},
};

const PIECES: u32 = 10;

fn handshake(id: u8) -> PeerHandshake {
    let (info_hash, peer_id) = (InfoHash([1; 20]), PeerId([id; 20]));
    PeerHandshake::BitTorrent(Handshake { info_hash, peer_id, fast: true, extended: true })
}

fn collecting() -> Vec<u8> {
    ExtensionHandshake { sow_receiver: Some(9), ..ExtensionHandshake::default() }.encode()
}

fn report(state: CopyState) -> ReceiverReport {
    ReceiverReport::new(CopyId([3; 20]), "web01", state)
}

fn states_sent(conn: ConnId, outputs: &[Output]) -> Vec<CopyState> {
    let reports = sent(conn, outputs).into_iter().filter_map(|message| match message {
        Message::BitTorrent(bittorrent::Message::Extended { id: 9, payload }) => {
            ReceiverReport::decode(&payload).ok()
        }
        _ => None,
    });
    reports.map(|report| report.state).collect()
}

#[test]
fn a_receiver_reports_to_the_host_that_the_user_named() {
    let mut scene = Scene::with_pieces(Bitfield::new(PIECES), |_| {});
    let (origin, _) = scene.connect_host(1, Direction::Dialed, handshake(1));
    let (stranger, _) = scene.connect_host(2, Direction::Accepted, handshake(2));
    scene.message(origin, extended(0, collecting()));
    scene.message(stranger, extended(0, collecting()));
    let outputs = scene.input(Input::ReportCopy(report(CopyState::Fetching)));
    assert_eq!(states_sent(origin, &outputs), [CopyState::Fetching]);
    assert_eq!(states_sent(stranger, &outputs), []);
    let told = |output: &&Output| matches!(output, Output::Event(Event::CopyReported { .. }));
    assert_eq!(outputs.iter().filter(told).count(), 1);
    // It connects once more, from another port.
    let (again, _) = scene.connect_host(1, Direction::Accepted, handshake(4));
    let outputs = scene.message(again, extended(0, collecting()));
    assert_eq!(states_sent(again, &outputs), [CopyState::Fetching]);
    let failed = CopyState::failed("no space left");
    let outputs = scene.input(Input::ReportCopy(report(failed.clone())));
    assert_eq!(states_sent(origin, &outputs), [failed]);
    let outputs = scene.message(origin, extended(0, collecting()));
    assert_eq!(states_sent(origin, &outputs), [], "it is known");
}

#[test]
fn an_origin_hears_reports_and_keeps_a_complete_peer_until_its_last_one() {
    for last in [CopyState::Complete, CopyState::failed("x")] {
        let collect = |config: &mut sow_engine::Config| config.collects_receivers = true;
        let mut scene = Scene::with_pieces(Bitfield::full(PIECES), collect);
        let (conn, _) = scene.connect_host(2, Direction::Accepted, handshake(2));
        let reported = |scene: &mut Scene, state| {
            let outputs = scene.message(conn, extended(4, report(state).encode()));
            let is_told =
                |output: &Output| matches!(output, Output::Event(Event::ReceiverReported { .. }));
            assert!(outputs.iter().any(is_told));
        };
        reported(&mut scene, CopyState::Fetching);
        let outputs = scene.message(conn, bittorrent::Message::HaveAll);
        assert_eq!(disconnect_reason(conn, &outputs), None);
        assert_eq!(disconnect_reason(conn, &scene.wait(5000)), None);
        reported(&mut scene, last);
        let outputs = scene.wait(2000);
        assert_eq!(disconnect_reason(conn, &outputs), Some(DisconnectReason::NothingToTrade));
    }
}

#[test]
fn one_that_collects_nothing_keeps_no_complete_peer_for_its_reports() {
    let mut scene = Scene::with_pieces(Bitfield::full(PIECES), |_| {});
    let (conn, _) = scene.connect_host(2, Direction::Accepted, handshake(2));
    let outputs = scene.message(conn, extended(4, report(CopyState::Fetching).encode()));
    let is_told = |output: &Output| matches!(output, Output::Event(Event::ReceiverReported { .. }));
    assert!(!outputs.iter().any(is_told));
    scene.message(conn, bittorrent::Message::HaveAll);
    let outputs = scene.wait(2000);
    assert_eq!(disconnect_reason(conn, &outputs), Some(DisconnectReason::NothingToTrade));
}

#!/usr/bin/python3
"""A libtorrent (python3-libtorrent) session with one torrent, for interop tests and benchmarks.

It runs until its standard input ends or it receives SIGTERM. With --wait it joins the swarm when a
line arrives on standard input, so that many sessions can start together after their start-up. Every
event is a JSON line with `clock`, the CLOCK_MONOTONIC in seconds, which all processes of a machine
share:

    listening {port}  metadata {}  complete {from: {peer: bytes}}  peer_error {peer, what}
    hash_failed {piece}  banned {peer}  stopped {downloaded, uploaded, ..}
"""

import argparse
import json
import select
import signal
import sys
import time

import libtorrent as lt

POLL_MILLISECONDS = 100


def print_event(event, **fields):
    print(json.dumps({"event": event, "clock": time.monotonic(), **fields}), flush=True)


def quiet_settings(options):
    """Contacts only the given addresses: no DHT, no local discovery, no port mapping, only TCP."""
    return {
        "listen_interfaces": f"{options.listen}:{options.port}",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "allow_multiple_connections_per_ip": True,
        "announce_to_all_trackers": True,
        "user_agent": "libtorrent/" + lt.__version__,
        "alert_mask": lt.alert.category_t.status_notification
        | lt.alert.category_t.error_notification
        | lt.alert.category_t.peer_notification,
    }


def flash_crowd_settings():
    """For cooperating machines on links of equal speed. Each setting made the last of five
    receivers finish earlier: choke rounds of one second, few uploads at once, pieces announced
    half a second before they are complete, short request queues.
    """
    return {
        "tick_interval": 100,
        "unchoke_interval": 1,
        "optimistic_unchoke_interval": 2,
        "unchoke_slots_limit": 3,
        "predictive_piece_announce": 500,
        "initial_picker_threshold": 0,
        "send_buffer_watermark": 64 * 1024,
        "send_buffer_low_watermark": 32 * 1024,
        "request_queue_time": 1,
        "max_out_request_queue": 20,
        "whole_pieces_threshold": 0,
        "close_redundant_connections": False,
        "peer_connect_timeout": 3,
        "min_reconnect_time": 1,
        "connection_speed": 200,
        "torrent_connect_boost": 100,
        "smooth_connects": False,
    }


def fast_link_settings():
    """The preset of libtorrent for much memory and fast links, with a second hashing thread."""
    return {**lt.high_performance_seed(), "hashing_threads": 2}


PRESETS = {"default": dict, "flash-crowd": flash_crowd_settings, "fast-link": fast_link_settings}


def make_session(options):
    return lt.session({**PRESETS[options.preset](), **quiet_settings(options)})


def add_torrent(session, options):
    if options.magnet:
        params = lt.parse_magnet_uri(options.magnet)
    else:
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(options.torrent)
    params.save_path = options.save
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if options.seed:
        params.flags |= lt.torrent_flags.seed_mode
    if options.super_seed:
        params.flags |= lt.torrent_flags.super_seeding
    handle = session.add_torrent(params)
    for peer in options.connect:
        host, port = peer.rsplit(":", 1)
        handle.connect_peer((host, int(port)))
    return handle


def payload_by_peer(handle):
    """Bytes of content that each connected peer has sent."""
    return {
        "%s:%d" % peer.ip: peer.total_download
        for peer in handle.get_peer_info()
        if peer.total_download
    }


def report(alert):
    """Prints an event for the alerts that tests and benchmarks use."""
    if isinstance(alert, lt.listen_succeeded_alert):
        if "TCP" in alert.message().upper():
            print_event("listening", port=alert.port)
    elif isinstance(alert, lt.listen_failed_alert):
        print_event("error", what=alert.message())
    elif isinstance(alert, lt.metadata_received_alert):
        print_event("metadata")
    elif isinstance(alert, lt.torrent_finished_alert):
        clock = time.monotonic()
        print_event("complete", **{"clock": clock, "from": payload_by_peer(alert.handle)})
    elif isinstance(alert, lt.peer_ban_alert):
        print_event("banned", peer="%s:%d" % alert.ip)
    elif isinstance(alert, lt.hash_failed_alert):
        print_event("hash_failed", piece=alert.piece_index)
    elif isinstance(alert, (lt.peer_error_alert, lt.peer_disconnected_alert)):
        print_event("peer_error", peer="%s:%d" % alert.ip, what=alert.message())
    elif isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert, lt.tracker_error_alert)):
        print_event("error", what=alert.message())


def standard_input_ready():
    return bool(select.select([sys.stdin], [], [], 0)[0])


def run(options):
    session = make_session(options)
    handle = None if options.wait else add_torrent(session, options)
    ending = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    while not ending:
        session.wait_for_alert(5 if handle is None else POLL_MILLISECONDS)
        for alert in session.pop_alerts():
            report(alert)
        if standard_input_ready():
            line = sys.stdin.readline()
            if not line:
                break
            if handle is None:
                handle = add_torrent(session, options)
    if handle is not None:
        status = handle.status()
        print_event(
            "stopped",
            downloaded=status.total_payload_download,
            uploaded=status.total_payload_upload,
            redundant=status.total_redundant_bytes,
            failed=status.total_failed_bytes,
            complete=status.is_seeding,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--torrent", metavar="FILE")
    what.add_argument("--magnet", metavar="URI")
    parser.add_argument("--save", required=True, metavar="DIR", help="where the content is or goes")
    parser.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--connect", action="append", default=[], metavar="HOST:PORT")
    parser.add_argument(
        "--seed", action="store_true", help="the content is complete; do not check it"
    )
    parser.add_argument("--super-seed", action="store_true")
    parser.add_argument(
        "--wait", action="store_true", help="join the swarm when a line arrives on standard input"
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), default="default")
    run(parser.parse_args())


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A tracker (BEP 3, with the compact responses of BEP 23) for tests and benchmarks of programs that
find peers in no other way. It never expires a peer, knows only IPv4, and needs only the standard
library.

    tracker.py [--listen ADDRESS] [--port PORT]

Prints JSON lines: listening {port}, announce {peer, kind, left}, and at SIGTERM
totals {uploaded: {peer: bytes}} with the numbers of the last announce of each peer.
"""

import argparse
import json
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from torrent_file import bencode

INTERVAL_SECONDS = 2


def print_event(event, **fields):
    print(json.dumps({"event": event, "clock": time.monotonic(), **fields}), flush=True)


class Tracker(BaseHTTPRequestHandler):
    """Answers GET /announce with all other peers of the swarm."""

    swarms = {}
    uploaded = {}  # by peer, the number in its last announce
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        if urlsplit(self.path).path != "/announce":
            self.send_error(404)
            return
        query = dict(
            parse_qsl(urlsplit(self.path).query, encoding="latin-1", keep_blank_values=True)
        )
        peers = self.swarms.setdefault(query.get("info_hash", ""), {})
        address = (self.client_address[0], int(query.get("port", "0")))
        self.uploaded["%s:%d" % address] = int(query.get("uploaded", "0"))
        others = [peer for peer in list(peers) if peer != address]
        if query.get("event") == "stopped":
            peers.pop(address, None)
        else:
            peers[address] = True
        compact = b"".join(
            socket.inet_aton(host) + port.to_bytes(2, "big") for host, port in others
        )
        body = bencode({"interval": INTERVAL_SECONDS, "min interval": 1, "peers": compact})
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        print_event(
            "announce",
            peer="%s:%d" % address,
            kind=query.get("event", ""),
            left=query.get("left", ""),
        )

    def log_message(self, *_):
        """Prints nothing: each announce is an event already."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = ThreadingHTTPServer((options.listen, options.port), Tracker)
    server.daemon_threads = True
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    print_event("listening", port=server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ending.wait()
    print_event("totals", uploaded=Tracker.uploaded)


if __name__ == "__main__":
    main()

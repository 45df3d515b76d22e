#!/usr/bin/env python3
"""A reference tracker and peer of the protocol json-torrent, with the habits of the original
programs. It needs only the standard library.

    json_torrent.py create FILE --announce HOST [--port PORT] [--piece-length BYTES] [-o TORRENT]
    json_torrent.py tracker [-p PORT]
    json_torrent.py peer TORRENT [-p PORT] [--folder FOLDER] [--rate BYTES] [--corrupt]
                    [--linger SECONDS]

Its habits: hashes are printed as Python literals; the tracker keeps every peer that does not send
`completed` or `stopped`. A peer has a thread and two state machines for each connection, one
outstanding request, and requests a random missing piece next. It never sends Have. A finished
connection stays open without messages. A file NAME in the working folder makes the peer a seed;
otherwise it keeps verified pieces in NAME_data/<index> and writes the result to download_NAME. It
requests a corrupt piece again three times; the original programs never stop. While pieces are
missing and no connection delivers any, it asks the tracker again every second.

--corrupt: flips one bit in every piece that it uploads. --linger: keeps serving for this long after
it is complete, then leaves.
Its own events: joined {peer}, left {peer}, sent_corrupt {piece}; complete has resumed (pieces) and
from {peer: pieces}.
"""

import argparse
import ast
import contextlib
import hashlib
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from pathlib import Path

import reference
from framed import FramedSocket

PIECE_BYTES = 3000
TRACKER_RETRY_SECONDS = 1.0
MAX_CORRUPT_PIECES = 3
HEAD = struct.Struct("!ib")
INDEX = struct.Struct("!i")
CHOKE, UNCHOKE, INTERESTED, UNINTERESTED, HAVE, BITFIELD, REQUEST, PIECE, SERVER_CLOSE = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    10,
)


def create(options):
    data, length = options.file.read_bytes(), options.piece_length
    pieces = [data[start : start + length] for start in range(0, len(data), length)]
    info = {
        "piece_length": length,
        "piece_hash": [str(hashlib.sha1(piece).digest()) for piece in pieces],
        "file_name": options.file.name,
        "file_length": len(data),
    }
    metainfo = {"announce": options.announce, "port": options.port, "comment": "", "info": info}
    out = options.output or Path(options.file.name + ".torrent")
    out.write_text(json.dumps(metainfo))
    reference.print_event("created", pieces=len(pieces))


class Tracker:
    """The peers in the order in which they joined."""

    def __init__(self):
        self.peers, self.lock = {}, threading.Lock()

    def serve(self, connection, address):
        with connection:
            framed = FramedSocket(connection)
            try:
                reply = self.answer(json.loads(framed.receive()), address[0])
            except (OSError, ValueError, KeyError, TypeError) as error:
                reply = {"error_code": 1, "message": f"bad request: {error}"}
            framed.send(json.dumps(reply).encode())

    def answer(self, request, ip):
        port, event = int(request["port"]), request["event"]
        name = f"{ip}:{port}"
        with self.lock:
            if event == "started":
                known = [peer for peer in self.peers.values()]
                self.peers[name] = {"peer-id": name, "peer-port": port, "peer-ip": ip}
                reference.print_event("joined", peer=name)
                return {
                    "error_code": 0,
                    "message": "started ACK",
                    "num-of-peer": len(known),
                    "peers": known,
                }
            if event in ("completed", "stopped") and self.peers.pop(name, None):
                reference.print_event("left", peer=name)
                return {"error_code": 0, "message": "disconnect ACK"}
        return {"error_code": 1, "message": f"unknown event or peer: {event} of {name}"}


class Pieces:
    """The pieces of one torrent: present or requested, and the source of each."""

    def __init__(self, torrent, folder):
        metainfo = json.loads(torrent.read_text())
        info = metainfo["info"]
        self.announce = (metainfo["announce"], metainfo["port"])
        self.length, self.name, self.folder = info["piece_length"], info["file_name"], folder
        self.hashes = [ast.literal_eval(text) for text in info["piece_hash"]]
        self.pieces, self.requested = [None] * len(self.hashes), set()
        self.sources, self.resumed, self.lock = Counter(), 0, threading.Lock()
        whole = folder / self.name
        self.is_seed = whole.exists()
        if self.is_seed:
            data = whole.read_bytes()
            for index in range(len(self.hashes)):
                self.pieces[index] = data[index * self.length : (index + 1) * self.length]
        else:
            self.resume()

    def resume(self):
        data = self.folder / f"{self.name}_data"
        data.mkdir(exist_ok=True)
        for index, digest in enumerate(self.hashes):
            file = data / str(index)
            if file.exists() and hashlib.sha1(piece := file.read_bytes()).digest() == digest:
                self.pieces[index] = piece
                self.resumed += 1

    def bitfield(self):
        return bytes(piece is not None for piece in self.pieces)

    def useful(self, peer_bitfield):
        """The missing pieces that the peer has, requested or not."""
        return [
            index
            for index, piece in enumerate(self.pieces)
            if piece is None and peer_bitfield[index]
        ]

    def choose(self, peer_bitfield):
        with self.lock:
            wanted = [index for index in self.useful(peer_bitfield) if index not in self.requested]
            if not wanted:
                return None
            self.requested.add(index := random.choice(wanted))
            return index

    def on_lost(self, index):
        with self.lock:
            self.requested.discard(index)

    def on_received(self, index, piece, source):
        """Stores the piece if it matches its hash. Returns whether it does."""
        if hashlib.sha1(piece).digest() != self.hashes[index]:
            return False
        (self.folder / f"{self.name}_data" / str(index)).write_bytes(piece)
        with self.lock:
            self.pieces[index] = piece
            self.requested.discard(index)
            self.sources[source] += 1
        return True

    def complete(self):
        return None not in self.pieces

    def write(self):
        (self.folder / f"download_{self.name}").write_bytes(b"".join(self.pieces))


class Connection:
    """One connection with its two state machines."""

    def __init__(self, peer, connection, name):
        self.peer, self.name, self.framed = peer, name, FramedSocket(connection)
        self.my_choke, self.peer_interested = 1, 0  # sending
        self.peer_choke, self.my_interested = 1, 0  # receiving
        self.peer_bitfield, self.requested, self.corrupt_pieces = None, None, 0
        self.busy = True  # false: no more pieces will arrive

    def send(self, kind, payload=b""):
        throttle = self.peer.throttle if kind == PIECE else None
        self.framed.send(HEAD.pack(1 + len(payload), kind) + payload, throttle)

    def run(self):
        pieces = self.peer.pieces
        try:
            self.send(BITFIELD, pieces.bitfield())
            while True:
                frame = self.framed.receive()
                if len(frame) < HEAD.size:
                    continue  # KeepAlive
                (_, kind), payload = HEAD.unpack_from(frame), frame[HEAD.size :]
                if kind == SERVER_CLOSE:
                    return
                self.send_side(kind, payload)
                self.receive_side(kind, payload)
        except (OSError, struct.error, IndexError):
            pass
        finally:
            self.busy = False
            if self.requested is not None:
                pieces.on_lost(self.requested)

    def send_side(self, kind, payload):
        state = (self.my_choke, self.peer_interested)
        if kind == INTERESTED and state == (1, 0):
            self.my_choke, self.peer_interested = 0, 1
            self.send(UNCHOKE)
        elif kind == UNINTERESTED:
            self.my_choke, self.peer_interested = 1, 0
        elif kind == REQUEST and state == (0, 1):
            (index,) = INDEX.unpack(payload)
            piece = self.peer.pieces.pieces[index]
            if self.peer.options.corrupt:
                piece = reference.flip_bit(piece)
                reference.print_event("sent_corrupt", piece=index)
            self.send(PIECE, INDEX.pack(index) + piece)

    def receive_side(self, kind, payload):
        state = (self.peer_choke, self.my_interested)
        if kind == BITFIELD:
            self.peer_bitfield = payload
            if self.peer.pieces.useful(payload):
                self.my_interested = 1
                self.send(INTERESTED)
            else:
                self.finish()
        elif kind == UNCHOKE and state == (1, 1):
            self.peer_choke = 0
            self.request_next()
        elif kind == PIECE and state == (0, 1):
            index, piece = INDEX.unpack_from(payload)[0], payload[INDEX.size :]
            if self.peer.pieces.on_received(index, piece, self.name):
                self.request_next()
            elif self.corrupt_pieces < MAX_CORRUPT_PIECES:
                self.corrupt_pieces += 1
                self.send(REQUEST, INDEX.pack(index))
            else:
                raise ConnectionResetError("corrupt pieces only")

    def request_next(self):
        self.requested = self.peer.pieces.choose(self.peer_bitfield)
        if self.requested is None:
            self.finish()
        else:
            self.send(REQUEST, INDEX.pack(self.requested))

    def finish(self):
        self.peer_choke, self.my_interested, self.busy = 1, 0, False
        self.send(UNINTERESTED)


class Peer:
    def __init__(self, options):
        self.options, self.pieces = options, Pieces(options.torrent, options.folder)
        self.throttle = reference.Throttle(options.rate)
        self.connections, self.port = [], None

    def run(self):
        began = time.monotonic()
        listener = reference.listen(self.options.bind, self.options.port)
        self.port = listener.getsockname()[1]
        threading.Thread(
            target=reference.accept_forever, args=(listener, self.serve), daemon=True
        ).start()
        if self.pieces.is_seed:
            self.announce("started")
            threading.Event().wait()
        while not self.pieces.complete():
            if not any(connection.busy for connection in self.connections):
                self.connect_to_all(self.peers_from_tracker())
            for _ in range(round(TRACKER_RETRY_SECONDS / 0.05)):
                if not self.pieces.complete():
                    time.sleep(0.05)
        self.pieces.write()
        sources = {"from": self.pieces.sources}
        reference.print_complete(
            b"".join(self.pieces.pieces), began, resumed=self.pieces.resumed, **sources
        )
        time.sleep(self.options.linger)
        with contextlib.suppress(OSError):
            self.announce("completed")

    def announce(self, event):
        peer_id = f"{self.options.bind}:{self.port}"
        request = {"ip": self.options.bind, "port": self.port, "peer_id": peer_id, "event": event}
        source = (self.options.bind, 0)
        with socket.create_connection(
            self.pieces.announce, reference.RECEIVE_TIMEOUT_SECONDS, source
        ) as connection:
            framed = FramedSocket(connection)
            framed.send(json.dumps(request).encode())
            return json.loads(framed.receive())

    def peers_from_tracker(self):
        try:
            return self.announce("started").get("peers", [])
        except OSError:
            return []  # the tracker may come back

    def connect_to_all(self, peers):
        for peer in peers:
            address = (peer["peer-ip"], peer["peer-port"])
            if address == (self.options.bind, self.port):
                continue
            try:
                connection = socket.create_connection(
                    address, reference.RECEIVE_TIMEOUT_SECONDS, (self.options.bind, 0)
                )
            except OSError:
                continue  # the peer is gone but still listed
            threading.Thread(target=self.serve, args=(connection, address), daemon=True).start()

    def serve(self, connection, address):
        connection.settimeout(None)
        link = Connection(self, connection, "%s:%d" % address[:2])
        self.connections.append(link)
        link.run()
        connection.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    maker = roles.add_parser("create")
    maker.add_argument("file", type=Path)
    maker.add_argument("--announce", required=True, metavar="HOST")
    maker.add_argument("--port", type=int, default=6666)
    maker.add_argument("--piece-length", type=int, default=PIECE_BYTES, metavar="BYTES")
    maker.add_argument("-o", "--output", type=Path)
    tracker = roles.add_parser("tracker")
    reference.add_network_options(tracker, 6666)
    peer = roles.add_parser("peer")
    reference.add_network_options(peer, 5555)
    peer.add_argument("torrent", type=Path)
    peer.add_argument("--folder", type=Path, default=Path("."))
    peer.add_argument("--corrupt", action="store_true")
    peer.add_argument("--linger", type=float, default=0, metavar="SECONDS")
    options = parser.parse_args()
    if options.role == "create":
        create(options)
    elif options.role == "tracker":
        reference.accept_forever(reference.listen(options.bind, options.port), Tracker().serve)
    else:
        Peer(options).run()


if __name__ == "__main__":
    main()

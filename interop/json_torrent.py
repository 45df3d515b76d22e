#!/usr/bin/env python3
"""A naive stand-in for document 2's P2P programs, the standard library alone.

    json_torrent.py create FILE --announce HOST [--port PORT] [--piece-length BYTES] [-o TORRENT]
    json_torrent.py tracker [-p PORT]
    json_torrent.py peer TORRENT [-p PORT] [--folder FOLDER] [--rate BYTES] [--corrupt] [--linger SECONDS]

Habits it keeps: hashes printed as Python literals; the tracker forgets nobody who does not say `completed`; a peer has a thread for each
connection, the document's two state machines, one request outstanding and a random missing piece next; it never sends Have; a
connection that is finished stays open and silent. A file NAME in its working folder makes it a seed; otherwise verified pieces lie in
NAME_data/<index> and the result is download_NAME. A bad piece is asked for again, three times, where the original would go on for ever. While
pieces are missing and no connection brings any, it asks the tracker again every second.

--corrupt: one bit of every piece that it sends is wrong. --linger: serves on for so long when it is complete, then leaves.
Its own events: joined {peer}, left {peer}, lied {piece}; complete has resumed (pieces) and from {peer: pieces}.
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

import naive
from framed import FramedSocket

PIECE_BYTES = 3000
ASK_TRACKER_SECONDS = 1.0
BAD_PIECES = 3
HEAD = struct.Struct("!ib")
INDEX = struct.Struct("!i")
CHOKE, UNCHOKE, INTERESTED, UNINTERESTED, HAVE, BITFIELD, REQUEST, PIECE, SERVER_CLOSE = 0, 1, 2, 3, 4, 5, 6, 7, 10


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
    naive.say("created", pieces=len(pieces))


class Tracker:
    """Who is in the network, in the order in which they came."""

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
                naive.say("joined", peer=name)
                return {"error_code": 0, "message": "started ACK", "num-of-peer": len(known), "peers": known}
            if event in ("completed", "stopped") and self.peers.pop(name, None):
                naive.say("left", peer=name)
                return {"error_code": 0, "message": "disconnect ACK"}
        return {"error_code": 1, "message": f"no such event, or nobody: {event} of {name}"}


class Pieces:
    """The file of one torrent: what is here, what was asked for, what came from whom."""

    def __init__(self, torrent, folder):
        metainfo = json.loads(torrent.read_text())
        info = metainfo["info"]
        self.announce = (metainfo["announce"], metainfo["port"])
        self.length, self.name, self.folder = info["piece_length"], info["file_name"], folder
        self.hashes = [ast.literal_eval(text) for text in info["piece_hash"]]
        self.pieces, self.asked = [None] * len(self.hashes), set()
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

    def useful(self, theirs):
        """What they have and we lack, asked for or not."""
        return [index for index, piece in enumerate(self.pieces) if piece is None and theirs[index]]

    def take(self, theirs):
        with self.lock:
            wanted = [index for index in self.useful(theirs) if index not in self.asked]
            if not wanted:
                return None
            self.asked.add(index := random.choice(wanted))
            return index

    def lost(self, index):
        with self.lock:
            self.asked.discard(index)

    def came(self, index, piece, source):
        """Whether the piece is good; then it is kept."""
        if hashlib.sha1(piece).digest() != self.hashes[index]:
            return False
        (self.folder / f"{self.name}_data" / str(index)).write_bytes(piece)
        with self.lock:
            self.pieces[index] = piece
            self.asked.discard(index)
            self.sources[source] += 1
        return True

    def complete(self):
        return None not in self.pieces

    def write(self):
        (self.folder / f"download_{self.name}").write_bytes(b"".join(self.pieces))


class Connection:
    """One peer and the two state machines towards it."""

    def __init__(self, peer, connection, name):
        self.peer, self.name, self.framed = peer, name, FramedSocket(connection)
        self.my_choke, self.peer_interested = 1, 0  # sending
        self.peer_choke, self.my_interested = 1, 0  # receiving
        self.theirs, self.asked, self.bad = None, None, 0
        self.busy = True  # false: nothing more comes from it

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
            if self.asked is not None:
                pieces.lost(self.asked)

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
                piece = naive.flip(piece)
                naive.say("lied", piece=index)
            self.send(PIECE, INDEX.pack(index) + piece)

    def receive_side(self, kind, payload):
        state = (self.peer_choke, self.my_interested)
        if kind == BITFIELD:
            self.theirs = payload
            if self.peer.pieces.useful(payload):
                self.my_interested = 1
                self.send(INTERESTED)
            else:
                self.stop()
        elif kind == UNCHOKE and state == (1, 1):
            self.peer_choke = 0
            self.ask()
        elif kind == PIECE and state == (0, 1):
            index, piece = INDEX.unpack_from(payload)[0], payload[INDEX.size :]
            if self.peer.pieces.came(index, piece, self.name):
                self.ask()
            elif self.bad < BAD_PIECES:
                self.bad += 1
                self.send(REQUEST, INDEX.pack(index))
            else:
                raise ConnectionResetError("bad pieces only")

    def ask(self):
        self.asked = self.peer.pieces.take(self.theirs)
        if self.asked is None:
            self.stop()
        else:
            self.send(REQUEST, INDEX.pack(self.asked))

    def stop(self):
        self.peer_choke, self.my_interested, self.busy = 1, 0, False
        self.send(UNINTERESTED)


class Peer:
    def __init__(self, options):
        self.options, self.pieces = options, Pieces(options.torrent, options.folder)
        self.throttle = naive.Throttle(options.rate)
        self.connections, self.port = [], None

    def run(self):
        began = time.monotonic()
        listener = naive.listen(self.options.bind, self.options.port)
        self.port = listener.getsockname()[1]
        threading.Thread(target=naive.accept_forever, args=(listener, self.serve), daemon=True).start()
        if self.pieces.is_seed:
            self.tell_tracker("started")
            threading.Event().wait()
        while not self.pieces.complete():
            if not any(connection.busy for connection in self.connections):
                self.meet_all(self.peers_of_tracker())
            for _ in range(round(ASK_TRACKER_SECONDS / 0.05)):
                if not self.pieces.complete():
                    time.sleep(0.05)
        self.pieces.write()
        sources = {"from": self.pieces.sources}
        naive.say_complete(b"".join(self.pieces.pieces), began, resumed=self.pieces.resumed, **sources)
        time.sleep(self.options.linger)
        with contextlib.suppress(OSError):
            self.tell_tracker("completed")

    def tell_tracker(self, event):
        peer_id = f"{self.options.bind}:{self.port}"
        request = {"ip": self.options.bind, "port": self.port, "peer_id": peer_id, "event": event}
        source = (self.options.bind, 0)
        with socket.create_connection(self.pieces.announce, naive.SILENCE_SECONDS, source) as connection:
            framed = FramedSocket(connection)
            framed.send(json.dumps(request).encode())
            return json.loads(framed.receive())

    def peers_of_tracker(self):
        try:
            return self.tell_tracker("started").get("peers", [])
        except OSError:
            return []  # it may come back

    def meet_all(self, peers):
        for peer in peers:
            address = (peer["peer-ip"], peer["peer-port"])
            if address == (self.options.bind, self.port):
                continue
            try:
                connection = socket.create_connection(address, naive.SILENCE_SECONDS, (self.options.bind, 0))
            except OSError:
                continue  # still listed, but gone
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
    naive.add_network_options(tracker, 6666)
    peer = roles.add_parser("peer")
    naive.add_network_options(peer, 5555)
    peer.add_argument("torrent", type=Path)
    peer.add_argument("--folder", type=Path, default=Path("."))
    peer.add_argument("--corrupt", action="store_true")
    peer.add_argument("--linger", type=float, default=0, metavar="SECONDS")
    options = parser.parse_args()
    if options.role == "create":
        create(options)
    elif options.role == "tracker":
        naive.accept_forever(naive.listen(options.bind, options.port), Tracker().serve)
    else:
        Peer(options).run()


if __name__ == "__main__":
    main()

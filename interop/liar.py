#!/usr/bin/env python3
"""A BitTorrent peer (BEP 3, nothing else) that has everything and serves it, but for one bit: of the block that it is first asked
for, it always sends a copy with one bit flipped. When it has lied and is dropped, it calls its victim back, to see whether it is let in.

    liar.py CONTENT TORRENT --listen ADDRESS --port PORT [--victim ADDRESS --victim-port PORT]

CONTENT is a single file. Prints JSON lines: listening {port}, connected {peer}, lied {piece, begin}, dropped {peer},
came_back {welcome}.
"""

import argparse
import hashlib
import json
import os
import socket
import struct
import threading
import time
from pathlib import Path

PROTOCOL = b"\x13BitTorrent protocol"
HANDSHAKE_BYTES = 68
UNCHOKE, INTERESTED, BITFIELD, REQUEST, PIECE = 1, 2, 5, 6, 7
SILENCE_SECONDS = 30
ATTEMPTS, ATTEMPT_SECONDS = 3, 0.3


def say(event, **fields):
    print(json.dumps({"event": event, "clock": time.monotonic(), **fields}), flush=True)


def info_of(torrent):
    """The bytes of the info dictionary and its piece length. Enough for torrents that torrent_file.py made: info comes last."""
    start = torrent.index(b"4:info") + len(b"4:info")
    info = torrent[start:-1]
    length = info[info.index(b"12:piece lengthi") + len(b"12:piece lengthi") :]
    return info, int(length[: length.index(b"e")])


class Liar:
    def __init__(self, options):
        self.content = options.content.read_bytes()
        info, self.piece_length = info_of(options.torrent.read_bytes())
        self.handshake = PROTOCOL + bytes(8) + hashlib.sha1(info).digest() + b"-LI0001-" + os.urandom(12)
        self.victim = (options.victim, options.victim_port) if options.victim else None
        self.lie = None  # (piece, begin) of the block that is always wrong
        self.lock = threading.Lock()

    def serve(self, connection, address):
        """One connection, from the handshake to its end."""
        told_lie = False
        try:
            with connection:
                connection.settimeout(SILENCE_SECONDS)
                receive(connection, HANDSHAKE_BYTES)
                say("connected", peer="%s:%d" % address)
                pieces = -(-len(self.content) // self.piece_length)
                field = bytearray(-(-pieces // 8))
                for piece in range(pieces):
                    field[piece // 8] |= 0x80 >> piece % 8
                connection.sendall(self.handshake + message(BITFIELD, field))
                while True:
                    kind, payload = receive_message(connection)
                    if kind == INTERESTED:
                        connection.sendall(message(UNCHOKE))
                    elif kind == REQUEST:
                        told_lie |= self.answer(connection, *struct.unpack(">III", payload))
        except OSError:
            pass
        if told_lie:
            say("dropped", peer="%s:%d" % address)
            self.come_back()

    def answer(self, connection, piece, begin, length):
        """Sends a block; returns whether it was the wrong one."""
        start = piece * self.piece_length + begin
        block = bytearray(self.content[start : start + length])
        with self.lock:
            self.lie = self.lie or (piece, begin)
        lying = self.lie == (piece, begin)
        if lying:
            block[length // 2] ^= 0x10
            say("lied", piece=piece, begin=begin)
        connection.sendall(message(PIECE, struct.pack(">II", piece, begin), block))
        return lying

    def come_back(self):
        """Calls the victim a few times; welcome is when it answers our handshake with its own."""
        if self.victim is None:
            return
        welcome = False
        for _ in range(ATTEMPTS):
            time.sleep(ATTEMPT_SECONDS)
            try:
                with socket.create_connection(self.victim, timeout=ATTEMPT_SECONDS * 5) as connection:
                    connection.sendall(self.handshake)
                    receive(connection, HANDSHAKE_BYTES)
                    # An answer is no welcome yet when the connection is closed right behind it.
                    receive_message(connection)
                    welcome = True
            except OSError:
                pass
        say("came_back", welcome=welcome)


def message(kind, *parts):
    payload = b"".join(parts)
    return struct.pack(">IB", len(payload) + 1, kind) + payload


def receive(connection, count):
    """Exactly this many bytes."""
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionResetError("closed")
        data += part
    return bytes(data)


def receive_message(connection):
    """Kind and payload of the next message that is no keep-alive."""
    while True:
        (length,) = struct.unpack(">I", receive(connection, 4))
        if length > 1 << 20:
            raise ConnectionResetError("absurd length")
        if length:
            data = receive(connection, length)
            return data[0], data[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("content", type=Path)
    parser.add_argument("torrent", type=Path)
    parser.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--victim", metavar="ADDRESS")
    parser.add_argument("--victim-port", type=int, metavar="PORT")
    options = parser.parse_args()
    liar = Liar(options)
    with socket.create_server((options.listen, options.port)) as server:
        say("listening", port=server.getsockname()[1])
        while True:
            threading.Thread(target=liar.serve, args=server.accept(), daemon=True).start()


if __name__ == "__main__":
    main()

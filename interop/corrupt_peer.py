#!/usr/bin/env python3
"""A corrupt BitTorrent peer (BEP 3 only). It seeds a file, but always flips one bit in one block:
the block that is requested first. When it has sent that block and is disconnected, it connects to
the target, to see whether the target accepts it.

    corrupt_peer.py CONTENT TORRENT --listen ADDRESS --port PORT
                    [--target ADDRESS --target-port PORT]

CONTENT is a single file. Prints JSON lines: listening {port}, connected {peer},
sent_corrupt {piece, begin}, disconnected {peer}, reconnected {accepted}.
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
RECEIVE_TIMEOUT_SECONDS = 30
RECONNECT_ATTEMPTS, RECONNECT_DELAY_SECONDS = 3, 0.3


def print_event(event, **fields):
    print(json.dumps({"event": event, "clock": time.monotonic(), **fields}), flush=True)


def info_of(torrent):
    """The info dictionary and piece length of a torrent by torrent_file.py, where info is last."""
    start = torrent.index(b"4:info") + len(b"4:info")
    info = torrent[start:-1]
    length = info[info.index(b"12:piece lengthi") + len(b"12:piece lengthi") :]
    return info, int(length[: length.index(b"e")])


class CorruptPeer:
    def __init__(self, options):
        self.content = options.content.read_bytes()
        info, self.piece_length = info_of(options.torrent.read_bytes())
        self.handshake = (
            PROTOCOL + bytes(8) + hashlib.sha1(info).digest() + b"-CP0001-" + os.urandom(12)
        )
        self.target = (options.target, options.target_port) if options.target else None
        self.corrupt_block = None  # (piece, begin) of the block with the flipped bit
        self.lock = threading.Lock()

    def serve(self, connection, address):
        """Handles one connection from the handshake to its end."""
        sent_corrupt = False
        try:
            with connection:
                connection.settimeout(RECEIVE_TIMEOUT_SECONDS)
                receive(connection, HANDSHAKE_BYTES)
                print_event("connected", peer="%s:%d" % address)
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
                        sent_corrupt |= self.send_block(connection, *struct.unpack(">III", payload))
        except OSError:
            pass
        if sent_corrupt:
            print_event("disconnected", peer="%s:%d" % address)
            self.reconnect()

    def send_block(self, connection, piece, begin, length):
        """Sends a block. Returns whether it was the corrupt one."""
        start = piece * self.piece_length + begin
        block = bytearray(self.content[start : start + length])
        with self.lock:
            self.corrupt_block = self.corrupt_block or (piece, begin)
        is_corrupt = self.corrupt_block == (piece, begin)
        if is_corrupt:
            block[length // 2] ^= 0x10
            print_event("sent_corrupt", piece=piece, begin=begin)
        connection.sendall(message(PIECE, struct.pack(">II", piece, begin), block))
        return is_corrupt

    def reconnect(self):
        """Connects to the target a few times. It accepts when a message follows its handshake."""
        if self.target is None:
            return
        accepted = False
        for _ in range(RECONNECT_ATTEMPTS):
            time.sleep(RECONNECT_DELAY_SECONDS)
            try:
                with socket.create_connection(
                    self.target, timeout=RECONNECT_DELAY_SECONDS * 5
                ) as connection:
                    connection.sendall(self.handshake)
                    receive(connection, HANDSHAKE_BYTES)
                    # A target that closes the connection right after its handshake does not accept.
                    receive_message(connection)
                    accepted = True
            except OSError:
                pass
        print_event("reconnected", accepted=accepted)


def message(kind, *parts):
    payload = b"".join(parts)
    return struct.pack(">IB", len(payload) + 1, kind) + payload


def receive(connection, count):
    """Receives exactly this many bytes."""
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionResetError("closed")
        data += part
    return bytes(data)


def receive_message(connection):
    """The kind and payload of the next message that is not a keep-alive."""
    while True:
        (length,) = struct.unpack(">I", receive(connection, 4))
        if length > 1 << 20:
            raise ConnectionResetError("message too long")
        if length:
            data = receive(connection, length)
            return data[0], data[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("content", type=Path)
    parser.add_argument("torrent", type=Path)
    parser.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--target", metavar="ADDRESS")
    parser.add_argument("--target-port", type=int, metavar="PORT")
    options = parser.parse_args()
    peer = CorruptPeer(options)
    with socket.create_server((options.listen, options.port)) as server:
        print_event("listening", port=server.getsockname()[1])
        while True:
            threading.Thread(target=peer.serve, args=server.accept(), daemon=True).start()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A reference server and client of the protocol chunk, with the habits of the original programs. It
needs only the standard library.

    chunk.py server [-p PORT] [-f FILE] [--spelling documented|original] [--rate BYTES]
    chunk.py client [-s SERVER] [-sp SERVER_PORT] [-p PORT] [-o OUT]
                    [--spelling documented|original] [--rate BYTES] [--corrupt] [--linger SECONDS]

Its habits: a thread for each connection; one recv(1024) is one control message; DATA is received
with recv(2048) and sent in parts of a kilobyte; one request is outstanding; the next request is for
a random missing chunk; a peer without a new chunk is asked again after a second. The client
connects back to each client that connects to it, exits with 0 whatever the result of the check is,
and ends when it loses the server.

With --spelling original it has the faults of the original programs too: the client sends CLRES and
accepts nothing else; a list that does not fit into one recv ends the thread that reads it; an ERROR
counts as a received chunk; the server misspells UNKNOWN_COMMAND, sends a wrong reply for a chunk
beyond the end, hangs after DREQ -1 and never removes a client from its list.

--corrupt: flips one bit in every chunk that it uploads. --linger: keeps serving for this long after
it is complete.
Its own events: joined {peer}, connected {peer}, sent_corrupt {chunk}; complete has check (the reply
of the server) and from {peer: chunks}.
"""

import argparse
import hashlib
import io
import json
import random
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import reference

CHUNK_BYTES = 128 << 10
CLIENT_PORTS = 100  # the ports that a client tries
PEER_RETRY_SECONDS = 1.0
OUTSTANDING_POLL_SECONDS = 0.5


def message(op, *arguments, body=""):
    return (" ".join([op, *map(str, arguments)]) + "\r\n" + body).encode()


def receive(connection, limit=1024):
    """The OP, arguments and body of a message, which is the result of one recv."""
    data = connection.recv(limit)
    if not data:
        raise ConnectionResetError("closed")
    head, _, body = data.partition(b"\r\n")
    op, *arguments = head.decode("latin-1").split(" ")
    return op, arguments, body


class Server:
    def __init__(self, options):
        self.original = options.spelling == "original"
        file = reference.shared_file(options.file)
        self.md5, self.size, self.chunk_size = (
            hashlib.md5(file).hexdigest(),
            len(file),
            options.chunk_size,
        )
        self.file, self.file_lock = io.BytesIO(file), threading.Lock()
        self.clients = []
        self.throttle = reference.Throttle(options.rate)

    def serve(self, connection, address):
        listening = None
        try:
            with connection:
                while True:
                    op, arguments, _ = receive(connection)
                    if op == "CHEL":
                        listening = (address[0], int(arguments[0]))
                        self.add_client(connection, listening)
                    elif op == "DREQ":
                        self.send_chunk(connection, int(arguments[0]))
                    elif op == "CHECK" and arguments[0] == self.md5:
                        connection.sendall(message("CHECK", self.md5))
                    elif op == "CHECK":
                        connection.sendall(message("ERROR", "CHECKSUM_NOT_FIT", body=self.md5))
                    else:
                        error = "UNKONWN_COMMAND" if self.original else "UNKNOWN_COMMAND"
                        connection.sendall(message("ERROR", error))
                        return
        except OSError:
            pass
        finally:
            if listening in self.clients and not self.original:
                self.clients.remove(listening)

    def add_client(self, connection, listening):
        connection.sendall(
            message("SHEL", self.size, self.chunk_size, body=json.dumps(self.clients))
        )
        if listening not in self.clients:
            self.clients.append(listening)
            reference.print_event("joined", peer="%s:%d" % listening)

    def send_chunk(self, connection, chunk):
        offset = chunk * self.chunk_size
        if not self.original and not 0 <= offset < self.size:
            connection.sendall(message("ERROR", "OFFSET_OVERFLOW"))
            return
        # No `with`: as in the original, a negative offset raises and leaves the lock locked.
        self.file_lock.acquire()
        self.file.seek(offset)
        size = min(self.chunk_size, self.size - offset)
        data = self.file.read(max(size, 0))
        self.file_lock.release()
        reference.send_throttled(connection, message("DATA", offset, size) + data, self.throttle)


class Chunks:
    """The state of the chunks: missing, requested or present, and the source of each."""

    def __init__(self, size, chunk_size):
        self.size, self.chunk_size, self.data = size, chunk_size, bytearray(size)
        self.missing, self.requested, self.present = (
            set(range(-(-size // chunk_size))),
            set(),
            set(),
        )
        self.sources, self.lock = Counter(), threading.Lock()

    def choose(self, among=None):
        """Chooses a random missing chunk to request."""
        with self.lock:
            wanted = self.missing if among is None else self.missing.intersection(among)
            if not wanted:
                return None
            chunk = random.choice(sorted(wanted))
            self.missing.discard(chunk)
            self.requested.add(chunk)
            return chunk

    def on_received(self, chunk, source):
        with self.lock:
            self.requested.discard(chunk)
            self.present.add(chunk)
            self.sources[source] += 1

    def on_lost(self, chunk):
        with self.lock:
            self.requested.discard(chunk)
            self.missing.add(chunk)

    def complete(self):
        with self.lock:
            return not self.missing and not self.requested


class Client:
    def __init__(self, options):
        self.options, self.original = options, options.spelling == "original"
        self.throttle = reference.Throttle(options.rate)
        self.peers, self.peers_lock = set(), threading.Lock()
        self.chunks = self.port = None

    def run(self):
        began = time.monotonic()
        listener = reference.listen(self.options.bind, self.options.port, CLIENT_PORTS)
        self.port = listener.getsockname()[1]
        server_address = (self.options.server, self.options.server_port)
        with socket.create_connection(
            server_address, source_address=(self.options.bind, 0)
        ) as server:
            server.sendall(message("CHEL", self.port))
            _, (size, chunk_size), peers = receive(server)
            self.chunks = Chunks(int(size), int(chunk_size))
            threading.Thread(
                target=reference.accept_forever, args=(listener, self.serve), daemon=True
            ).start()
            for peer in json.loads(peers):
                self.connect(tuple(peer))
            self.fetch_all(server, "%s:%d" % server_address)
            server.sendall(message("CHECK", hashlib.md5(self.chunks.data).hexdigest()))
            answer, arguments, _ = receive(server)
            if self.options.output_path:
                self.options.output_path.write_bytes(self.chunks.data)
            check = " ".join([answer, *arguments])
            reference.print_complete(
                self.chunks.data, began, check=check, **{"from": self.chunks.sources}
            )
            time.sleep(
                self.options.linger
            )  # listed as long as the connection to the server is open

    def fetch_all(self, server, name):
        while not self.chunks.complete():
            chunk = self.chunks.choose()
            if chunk is None:
                time.sleep(OUTSTANDING_POLL_SECONDS)
            else:
                self.fetch(server, chunk, name)

    def fetch(self, connection, chunk, source):
        try:
            connection.sendall(message("DREQ", chunk))
            op, arguments, body = receive(connection, 2048)
            if op == "ERROR" and not self.original:
                self.chunks.on_lost(chunk)
                return
            if op == "DATA":
                offset, size = map(int, arguments)
                while len(body) < size:
                    part = connection.recv(2048)
                    if not part:
                        raise ConnectionResetError("closed inside a chunk")
                    body += part
                self.chunks.data[offset : offset + size] = body
            self.chunks.on_received(chunk, source)
        except (OSError, ValueError):
            self.chunks.on_lost(chunk)
            raise

    def connect(self, peer):
        """Connects to a peer that this client is not connected to yet."""
        with self.peers_lock:
            if peer in self.peers:
                return
            self.peers.add(peer)
        threading.Thread(target=self.fetch_from_peer, args=(peer,), daemon=True).start()

    def fetch_from_peer(self, peer):
        try:
            with socket.create_connection(
                peer, reference.RECEIVE_TIMEOUT_SECONDS, (self.options.bind, 0)
            ) as connection:
                connection.sendall(message("CHEL", self.port))
                op, _, _ = receive(connection)
                while op == "PHEL" and not self.chunks.complete():
                    chunk = self.chunks.choose(among=self.request_list(connection))
                    if chunk is None:
                        time.sleep(PEER_RETRY_SECONDS)
                    else:
                        self.fetch(connection, chunk, "%s:%d" % peer)
        except (OSError, ValueError):
            pass  # the peer is gone
        with self.peers_lock:
            self.peers.discard(peer)

    def request_list(self, connection):
        connection.sendall(message("CLREQ"))
        op, _, body = receive(connection)
        if op != ("CLRES" if self.original else "CLRSP"):
            raise ValueError(f"{op} in place of a list")
        while not (self.original or body.endswith(b"]")):
            body += connection.recv(1024) or b"closed]"
        return json.loads(body)

    def serve(self, connection, address):
        try:
            with connection:
                while True:
                    op, arguments, _ = receive(connection)
                    if op == "CHEL":
                        reference.print_event(
                            "connected", peer="%s:%s" % (address[0], arguments[0])
                        )
                        connection.sendall(message("PHEL"))
                        self.connect((address[0], int(arguments[0])))
                    elif op == "CLREQ":
                        chunks = sorted(self.chunks.present)
                        head = ["CLRES", len(chunks)] if self.original else ["CLRSP"]
                        connection.sendall(message(*head, body=json.dumps(chunks)))
                    elif op == "DREQ":
                        self.send_chunk(connection, int(arguments[0]))
                    else:
                        connection.sendall(message("ERROR", "UNKNOWN_COMMAND"))
                        return
        except (OSError, ValueError):
            pass

    def send_chunk(self, connection, chunk):
        if chunk not in self.chunks.present:
            connection.sendall(message("ERROR", "CHUNK_UNDOWNLOADED"))
            return
        offset = chunk * self.chunks.chunk_size
        data = bytes(self.chunks.data[offset : offset + self.chunks.chunk_size])
        if self.options.corrupt:
            data = reference.flip_bit(data)
            reference.print_event("sent_corrupt", chunk=chunk)
        reference.send_throttled(
            connection, message("DATA", offset, len(data)) + data, self.throttle
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("server")
    reference.add_network_options(server, 52000)
    server.add_argument("-f", "--file", type=Path)
    server.add_argument("--chunk-size", type=int, default=CHUNK_BYTES, metavar="BYTES")
    client = roles.add_parser("client")
    reference.add_network_options(client, 51000)
    client.add_argument("-s", "--server", default="10.0.0.1")
    client.add_argument("-sp", "--server_port", type=int, default=52000)
    client.add_argument("-o", "--output_path", type=Path)
    client.add_argument("--corrupt", action="store_true")
    client.add_argument("--linger", type=float, default=0, metavar="SECONDS")
    for role in (server, client):
        role.add_argument("--spelling", choices=["documented", "original"], default="documented")
    options = parser.parse_args()
    if options.role == "server":
        serve = Server(options).serve
        reference.accept_forever(reference.listen(options.bind, options.port), serve)
    else:
        Client(options).run()


if __name__ == "__main__":
    main()

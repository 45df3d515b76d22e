#!/usr/bin/env python3
"""A naive stand-in for document 2's client/server programs, and its frames: an unsigned 64-bit big-endian length, then that many bytes.
The standard library alone.

    framed.py server [-p PORT] -f FILE [--rate BYTES]
    framed.py client [-s SERVER] [-p PORT] [-o OUT]

Habits it keeps: the whole file is one frame in memory, the server sends it in one go and closes, the client gathers it 1,024 bytes
at a time and believes any length.
"""

import argparse
import socket
import struct
import time
from pathlib import Path

import naive

HEADER = struct.Struct("!1Q")


class FramedSocket:
    """The document's rdt_socket."""

    def __init__(self, connection):
        self.connection, self.buffer = connection, bytearray()

    def send(self, payload, throttle=None):
        frame = HEADER.pack(len(payload)) + payload
        if throttle and throttle.rate:
            naive.send_in_portions(self.connection, frame, throttle)
        else:
            self.connection.sendall(frame)

    def receive(self):
        """The next frame's payload."""
        while not self.has_frame():
            part = self.connection.recv(1024)
            if not part:
                raise ConnectionResetError("closed inside a frame")
            self.buffer += part
        end = HEADER.size + HEADER.unpack_from(self.buffer)[0]
        payload = bytes(self.buffer[HEADER.size : end])
        del self.buffer[:end]
        return payload

    def has_frame(self):
        if len(self.buffer) < HEADER.size:
            return False
        return len(self.buffer) >= HEADER.size + HEADER.unpack_from(self.buffer)[0]


def serve(options):
    file, throttle = naive.shared_file(options.file), naive.Throttle(options.rate)

    def send_file(connection, _address):
        with connection:
            FramedSocket(connection).send(file, throttle)

    naive.accept_forever(naive.listen(options.bind, options.port), send_file)


def download(options):
    began = time.monotonic()
    with socket.create_connection((options.server, options.port)) as connection:
        received = FramedSocket(connection).receive()
    if options.output_path:
        options.output_path.write_bytes(received)
    naive.say_complete(received, began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("server")
    naive.add_network_options(server, 6666)
    server.add_argument("-f", "--file", type=Path, required=True)
    client = roles.add_parser("client")
    client.add_argument("-s", "--server", default="127.0.0.1")
    client.add_argument("-p", "--port", type=int, default=6666)
    client.add_argument("-o", "--output_path", type=Path)
    options = parser.parse_args()
    (serve if options.role == "server" else download)(options)


if __name__ == "__main__":
    main()

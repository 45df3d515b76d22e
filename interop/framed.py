#!/usr/bin/env python3
"""A reference client and server of the protocol framed, with the habits of the original programs. A
frame is an unsigned 64-bit big-endian length, then that many bytes. It needs only the standard
library.

    framed.py server [-p PORT] -f FILE [--rate BYTES]
    framed.py client [-s SERVER] [-p PORT] [-o OUT]

Its habits: the whole file is one frame in memory, which the server sends with one call before it
closes the connection. The client receives parts of 1,024 bytes and accepts any length.
"""

import argparse
import socket
import struct
import time
from pathlib import Path

import reference

HEADER = struct.Struct("!1Q")


class FramedSocket:
    """Sends and receives frames; rdt_socket in the original programs."""

    def __init__(self, connection):
        self.connection, self.buffer = connection, bytearray()

    def send(self, payload, throttle=None):
        frame = HEADER.pack(len(payload)) + payload
        if throttle and throttle.rate:
            reference.send_throttled(self.connection, frame, throttle)
        else:
            self.connection.sendall(frame)

    def receive(self):
        """The payload of the next frame."""
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
    file, throttle = reference.shared_file(options.file), reference.Throttle(options.rate)

    def send_file(connection, _address):
        with connection:
            FramedSocket(connection).send(file, throttle)

    reference.accept_forever(reference.listen(options.bind, options.port), send_file)


def download(options):
    began = time.monotonic()
    with socket.create_connection((options.server, options.port)) as connection:
        received = FramedSocket(connection).receive()
    if options.output_path:
        options.output_path.write_bytes(received)
    reference.print_complete(received, began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("server")
    reference.add_network_options(server, 6666)
    server.add_argument("-f", "--file", type=Path, required=True)
    client = roles.add_parser("client")
    client.add_argument("-s", "--server", default="127.0.0.1")
    client.add_argument("-p", "--port", type=int, default=6666)
    client.add_argument("-o", "--output_path", type=Path)
    options = parser.parse_args()
    (serve if options.role == "server" else download)(options)


if __name__ == "__main__":
    main()

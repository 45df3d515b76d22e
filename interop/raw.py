#!/usr/bin/env python3
"""A reference client and server of the protocol raw, with the habits of the original programs. It
needs only the standard library.

    raw.py server [-p PORT] [-f FILE] [--rate BYTES]
    raw.py client [-s SERVER] [-p PORT] [-o OUT]

Its habits: the server sends first, in parts of a kilobyte, with one lock around the one open file.
Without a file it sends 10 MiB of random bytes. The client receives parts of 8,192 bytes until the
connection ends, and takes the result for the whole file.
"""

import argparse
import socket
import threading
import time
from pathlib import Path

import reference


class Server:
    def __init__(self, options):
        self.file = reference.shared_file(options.file)
        self.lock = threading.Lock()
        self.throttle = reference.Throttle(options.rate)

    def serve(self, connection, _address):
        sent = 0
        while True:
            with self.lock:
                part = self.file[sent : sent + reference.SEND_BYTES]
            if not part:
                connection.close()
                return
            reference.send_throttled(connection, part, self.throttle)
            sent += len(part)


def download(options):
    began, received = time.monotonic(), bytearray()
    with socket.create_connection((options.server, options.port)) as connection:
        while part := connection.recv(8192):
            received += part
    if options.output_path:
        options.output_path.write_bytes(received)
    reference.print_complete(received, began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("server")
    reference.add_network_options(server, 52000)
    server.add_argument("-f", "--file", type=Path)
    client = roles.add_parser("client")
    client.add_argument("-s", "--server", default="10.0.0.1")
    client.add_argument("-p", "--port", type=int, default=52000)
    client.add_argument("-o", "--output_path", type=Path)
    options = parser.parse_args()
    if options.role == "server":
        serve = Server(options).serve
        reference.accept_forever(reference.listen(options.bind, options.port), serve)
    else:
        download(options)


if __name__ == "__main__":
    main()

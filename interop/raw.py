#!/usr/bin/env python3
"""A naive stand-in for document 1's client/server programs, the standard library alone.

    raw.py server [-p PORT] [-f FILE] [--rate BYTES]
    raw.py client [-s SERVER] [-p PORT] [-o OUT]

Habits it keeps: the server speaks first and sends the file a kilobyte at a time, with one lock around the one open file; without a file
it makes 10 MiB of random bytes. The client takes what comes until the end, 8,192 bytes at a time, and believes that it was everything.
"""

import argparse
import socket
import threading
import time
from pathlib import Path

import naive


class Server:
    def __init__(self, options):
        self.file = naive.shared_file(options.file)
        self.lock = threading.Lock()
        self.throttle = naive.Throttle(options.rate)

    def serve(self, connection, _address):
        sent = 0
        while True:
            with self.lock:
                portion = self.file[sent : sent + naive.PORTION]
            if not portion:
                connection.close()
                return
            naive.send_in_portions(connection, portion, self.throttle)
            sent += len(portion)


def download(options):
    began, received = time.monotonic(), bytearray()
    with socket.create_connection((options.server, options.port)) as connection:
        while part := connection.recv(8192):
            received += part
    if options.output_path:
        options.output_path.write_bytes(received)
    naive.say_complete(received, began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("server")
    naive.add_network_options(server, 52000)
    server.add_argument("-f", "--file", type=Path)
    client = roles.add_parser("client")
    client.add_argument("-s", "--server", default="10.0.0.1")
    client.add_argument("-p", "--port", type=int, default=52000)
    client.add_argument("-o", "--output_path", type=Path)
    options = parser.parse_args()
    if options.role == "server":
        serve = Server(options).serve
        naive.accept_forever(naive.listen(options.bind, options.port), serve)
    else:
        download(options)


if __name__ == "__main__":
    main()

"""The parts that the reference programs for raw, framed, chunk and json-torrent share: JSON lines
on standard output, a listening socket, the shared file, and sends of the length that the original
programs use. No part of a protocol is in here.

Every program prints JSON lines: listening {port} when it accepts connections,
complete {bytes, md5, seconds, ..} when it has the whole file.
"""

import hashlib
import json
import os
import socket
import threading
import time
from pathlib import Path

RANDOM_FILE_BYTES = 10 << 20
SEND_BYTES = 1024  # the length of one send
SHORTEST_SLEEP_SECONDS = 0.02
RECEIVE_TIMEOUT_SECONDS = 30


def print_event(event, **fields):
    print(json.dumps({"event": event, "clock": time.monotonic(), **fields}), flush=True)


def listen(bind, port, ports=1):
    """A listening socket on the first free port of a range; port 0 is any."""
    for attempt in range(ports):
        try:
            server = socket.create_server((bind, port and port + attempt), backlog=64)
            break
        except OSError:
            if attempt == ports - 1:
                raise
    print_event("listening", port=server.getsockname()[1])
    return server


def accept_forever(server, serve):
    """Serves each connection in a thread of its own, as the original programs do."""
    while True:
        connection, address = server.accept()
        threading.Thread(target=serve, args=(connection, address), daemon=True).start()


def shared_file(path):
    """The bytes of a file; random bytes if there is no path."""
    return Path(path).read_bytes() if path else os.urandom(RANDOM_FILE_BYTES)


def flip_bit(data):
    """A copy of the bytes with one flipped bit, as a corrupt peer sends it."""
    data = bytearray(data)
    data[len(data) // 2] ^= 0x10
    return bytes(data)


class Throttle:
    """Limits all connections of a program together to a rate in bytes per second; 0 is no limit."""

    def __init__(self, rate):
        self.rate, self.lock, self.free_at = rate, threading.Lock(), time.monotonic()

    def wait(self, count):
        if not self.rate:
            return
        with self.lock:
            now = time.monotonic()
            # Short sleeps are inaccurate, so they are collected, and a sleep that was too long
            # shortens the next one.
            self.free_at = max(self.free_at, now - SHORTEST_SLEEP_SECONDS) + count / self.rate
            pause = self.free_at - now
        if pause > SHORTEST_SLEEP_SECONDS:
            time.sleep(pause)


def send_throttled(connection, data, throttle):
    for start in range(0, len(data), SEND_BYTES):
        part = data[start : start + SEND_BYTES]
        throttle.wait(len(part))
        connection.sendall(part)


def print_complete(data, began, **fields):
    print_event(
        "complete",
        bytes=len(data),
        md5=hashlib.md5(data).hexdigest(),
        seconds=round(time.monotonic() - began, 3),
        **fields,
    )


def add_network_options(parser, port):
    parser.add_argument("-p", "--port", type=int, default=port, help="0 is any")
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument(
        "--rate", type=float, default=0, metavar="BYTES", help="the limit of sending, per second"
    )

"""What the naive programs for the two documents share: JSON lines on standard output, a listening socket, the file that is shared,
and sending in the originals' portions. Nothing of a protocol.

Every program prints JSON lines: listening {port} when it accepts connections, complete {bytes, md5, seconds, ..} when it has everything.
"""

import hashlib
import json
import os
import socket
import threading
import time
from pathlib import Path

RANDOM_FILE_BYTES = 10 << 20
PORTION = 1024  # bytes of one send
COARSE_SECONDS = 0.02
SILENCE_SECONDS = 30  # nobody waits longer than this for one answer


def say(event, **fields):
    print(json.dumps({"event": event, "clock": time.monotonic(), **fields}), flush=True)


def listen(bind, port, ports=1):
    """A listening socket on the first free one of some ports; port 0 is any."""
    for attempt in range(ports):
        try:
            server = socket.create_server((bind, port and port + attempt), backlog=64)
            break
        except OSError:
            if attempt == ports - 1:
                raise
    say("listening", port=server.getsockname()[1])
    return server


def accept_forever(server, serve):
    """A thread for each connection, as the originals have."""
    while True:
        connection, address = server.accept()
        threading.Thread(target=serve, args=(connection, address), daemon=True).start()


def shared_file(path):
    """The bytes of a file; without one, random bytes."""
    return Path(path).read_bytes() if path else os.urandom(RANDOM_FILE_BYTES)


def flip(data):
    """The same bytes but for one bit: what a corrupting peer sends."""
    data = bytearray(data)
    data[len(data) // 2] ^= 0x10
    return bytes(data)


class Throttle:
    """Holds all connections of a program together to a rate in bytes a second; 0 is no limit."""

    def __init__(self, rate):
        self.rate, self.lock, self.free_at = rate, threading.Lock(), time.monotonic()

    def wait(self, count):
        if not self.rate:
            return
        with self.lock:
            now = time.monotonic()
            # Sleeping is coarse: it is done rarely, and what was slept too long is made up for.
            self.free_at = max(self.free_at, now - COARSE_SECONDS) + count / self.rate
            pause = self.free_at - now
        if pause > COARSE_SECONDS:
            time.sleep(pause)


def send_in_portions(connection, data, throttle):
    for start in range(0, len(data), PORTION):
        portion = data[start : start + PORTION]
        throttle.wait(len(portion))
        connection.sendall(portion)


def say_complete(data, began, **fields):
    say(
        "complete",
        bytes=len(data),
        md5=hashlib.md5(data).hexdigest(),
        seconds=round(time.monotonic() - began, 3),
        **fields,
    )


def add_network_options(parser, port):
    parser.add_argument("-p", "--port", type=int, default=port, help="0 is any")
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--rate", type=float, default=0, metavar="BYTES", help="sends no faster, a second")

"""Misbehaving peers for bench/churn, of many kinds, at the level of bytes. Each kind is a coroutine
that talks to peers until it is cancelled. They hold no content but one of them serves bytes that
are wrong.

    python3 -m harness.hostile TICKET SECONDS-PER-KIND SEED

Prints a line for each kind that begins.
"""

import asyncio
import base64
import random
import struct
import sys
import time
import urllib.parse

MESSAGES_PER_SECOND = 400
UT_METADATA, UT_PEX = 3, 4
CHOKE, UNCHOKE, INTERESTED, NOT_INTERESTED, HAVE, BITFIELD, REQUEST, PIECE, CANCEL = range(9)
HAVE_ALL, REJECT, EXTENDED = 14, 16, 20


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    return b"d" + b"".join(bencode(k) + bencode(v) for k, v in sorted(value.items())) + b"e"


def message(kind, payload=b""):
    return struct.pack(">IB", 1 + len(payload), kind) + payload


def extended(number, value):
    return message(EXTENDED, bytes([number]) + bencode(value))


class Swarm:
    """What a misbehaving peer knows: the origin, the info-hash, and peers."""

    def __init__(self, ticket, seed):
        where, _, text = ticket.rpartition("/")
        host, _, port = where.rpartition(":")
        self.origin = (host, int(port))
        self.info_hash = base64.b32decode(text.upper())
        self.random = random.Random(seed)
        self.peers = [self.origin]
        self.source = "127.0.3.1"
        self.port = 0

    def next_identity(self):
        """Another address for the next kind."""
        self.source = f"127.0.3.{self.random.randrange(2, 250)}"

    def handshake(self):
        peer_id = b"-XX0001-" + self.random.randbytes(12)
        return b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04" + self.info_hash + peer_id

    async def connect(self, address, limit=5):
        opening = asyncio.open_connection(*address, local_addr=(self.source, 0))
        return await asyncio.wait_for(opening, limit)

    async def announce(self, port):
        """Announces a port to the origin's tracker, and learns of peers."""
        query = urllib.parse.urlencode(
            {
                "info_hash": self.info_hash,
                "peer_id": b"-XX0001-" + self.random.randbytes(12),
                "port": port,
                "uploaded": 0,
                "downloaded": 0,
                "left": 0,
                "compact": 1,
            },
            quote_via=urllib.parse.quote,
        )
        reader, writer = await self.connect(self.origin)
        writer.write(f"GET /announce?{query} HTTP/1.0\r\nHost: {self.origin[0]}\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(1 << 16), 5)
        writer.close()
        at = answer.find(b"5:peers")
        if at < 0:
            return
        length, _, rest = answer[at + 7 :].partition(b":")
        if length.isdigit():
            compact = rest[: int(length)]
            peers = [
                (".".join(map(str, compact[i : i + 4])), compact[i + 4] << 8 | compact[i + 5])
                for i in range(0, len(compact) - 5, 6)
            ]
            self.peers = list({self.origin, *(peer for peer in peers if peer[0] != self.source)})


class Peer:
    """One connection after the handshakes."""

    def __init__(self, swarm, reader, writer):
        self.swarm, self.reader, self.writer = swarm, reader, writer
        self.theirs = {}

    async def greet(self, claims):
        """Sends what a peer says first, and reads the other's handshake."""
        self.writer.write(self.swarm.handshake())
        await asyncio.wait_for(self.reader.readexactly(68), 5)
        hello = {
            b"m": {b"ut_metadata": UT_METADATA, b"ut_pex": UT_PEX},
            b"metadata_size": 600,
            b"reqq": 500,
        }
        self.writer.write(extended(0, hello))
        if claims:
            self.writer.write(message(HAVE_ALL) + message(UNCHOKE))

    async def receive(self):
        """The next message: its kind and payload."""
        (length,) = struct.unpack(">I", await self.reader.readexactly(4))
        if length == 0:
            return None, b""
        data = await self.reader.readexactly(length)
        if data[0] == EXTENDED and data[1] == 0:
            for name, number in ((b"ut_metadata", "metadata"), (b"ut_pex", "pex")):
                at = data.find(b"%d:%si" % (len(name), name))
                if at >= 0:
                    digits = data[at + len(name) + len(str(len(name))) + 2 :].partition(b"e")[0]
                    self.theirs[number] = int(digits)
        return data[0], data[1:]

    async def write(self, data):
        self.writer.write(data)
        await self.writer.drain()


async def idle(swarm, address):
    """Many connections that say nothing after the handshake."""
    writers = []
    try:
        for _ in range(20):
            reader, writer = await swarm.connect(address)
            writer.write(swarm.handshake())
            writers.append(writer)
        await asyncio.sleep(3600)
    finally:
        for writer in writers:
            writer.close()


async def trickle(swarm, address):
    """A handshake at one byte a second, on many connections."""

    async def one():
        _, writer = await swarm.connect(address)
        for byte in swarm.handshake():
            writer.write(bytes([byte]))
            await asyncio.sleep(1)

    await asyncio.gather(*(one() for _ in range(20)), return_exceptions=True)


async def half_handshake(swarm, address):
    """Connections without an info-hash."""
    for _ in range(20):
        _, writer = await swarm.connect(address)
        writer.write(swarm.handshake()[:28])
    await asyncio.sleep(15)


async def slow_http(swarm, address):
    """HTTP requests that never end."""
    for _ in range(20):
        _, writer = await swarm.connect(address)
        writer.write(b"GET /announce?info_hash=")
    await asyncio.sleep(15)


async def garbage(swarm, address):
    """Bytes of no protocol, with and without a handshake."""
    while True:
        _, writer = await swarm.connect(address)
        begin = swarm.handshake() if swarm.random.random() < 0.7 else b""
        writer.write(begin + swarm.random.randbytes(swarm.random.randrange(1, 2000)))
        await asyncio.sleep(0.2)
        writer.close()


def claiming(answer):
    """A peer that claims everything; `answer(peer, kind, payload, count)` says what it does."""

    async def run(swarm, address):
        reader, writer = await swarm.connect(address)
        await serve(swarm, reader, writer, answer)

    run.answer = answer
    return run


async def serve(swarm, reader, writer, answer):
    peer, count = Peer(swarm, reader, writer), 0
    try:
        await peer.greet(claims=True)
        while True:
            kind, payload = await asyncio.wait_for(peer.receive(), 150)
            if kind == REQUEST:
                count += 1
            await answer(peer, kind, payload, count)
    finally:
        writer.close()


async def say_nothing(_peer, _kind, _payload, _count):
    pass


async def send_corrupt(peer, kind, payload, _count):
    if kind == REQUEST:
        piece, offset, length = struct.unpack(">III", payload)
        data = peer.swarm.random.randbytes(min(length, 1 << 17))
        await peer.write(message(PIECE, struct.pack(">II", piece, offset) + data))


async def send_slowly(peer, kind, payload, count):
    if kind == REQUEST:
        await asyncio.sleep(5)
        await send_corrupt(peer, kind, payload, count)


async def reject(peer, kind, payload, _count):
    if kind == REQUEST:
        await peer.write(message(REJECT, payload))


async def break_off(peer, kind, _payload, count):
    if kind == REQUEST and count > 2:
        raise ConnectionResetError


async def wrong_metadata(peer, kind, payload, _count):
    if kind == EXTENDED and payload[0] == UT_METADATA and b"msg_typei0e" in payload:
        head = {b"msg_type": 1, b"piece": 0, b"total_size": 600}
        number = peer.theirs.get("metadata", 1)
        await peer.write(message(EXTENDED, bytes([number]) + bencode(head) + b"x" * 600))


def flooding(build, claims=False):
    """A peer that sends what `build(swarm, peer, turn)` returns, without end."""

    async def run(swarm, address):
        reader, writer = await swarm.connect(address)
        peer = Peer(swarm, reader, writer)
        try:
            await peer.greet(claims)
            await peer.write(message(INTERESTED))

            async def drop():
                while True:
                    await peer.receive()

            reading = asyncio.create_task(drop())
            # Its end is seen below; the reason does not matter.
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            turn = 0
            while not (reading.done() or writer.is_closing()):
                turns = range(turn, turn + MESSAGES_PER_SECOND // 20)
                turn = turns.stop
                writer.write(b"".join(build(swarm, peer, turn) for turn in turns))
                await asyncio.wait_for(writer.drain(), 30)
                await asyncio.sleep(0.05)
        finally:
            writer.close()

    return run


def any_request(swarm, _peer, _turn):
    return message(REQUEST, struct.pack(">III", swarm.random.randrange(64), 0, 16384))


def bogus_pex(swarm, peer, _turn):
    added = b"".join(
        bytes([198, 18, swarm.random.randrange(256), swarm.random.randrange(256)])
        + swarm.random.randbytes(2)
        for _ in range(50)
    )
    return extended(peer.theirs.get("pex", 2), {b"added": added})


async def flood_tracker(swarm, _address):
    """Announces many ports, at which it accepts nothing."""
    while True:
        await swarm.announce(swarm.random.randrange(20000, 60000))
        await asyncio.sleep(0.1)


KINDS = {
    "idle": idle,
    "trickle": trickle,
    "half-handshake": half_handshake,
    "slow-http": slow_http,
    "garbage": garbage,
    "starve": claiming(say_nothing),
    "metadata-silent": claiming(say_nothing),
    "metadata-wrong": claiming(wrong_metadata),
    "corrupt": claiming(send_corrupt),
    "slow": claiming(send_slowly),
    "reject": claiming(reject),
    "reset": claiming(break_off),
    "flap-interest": flooding(
        lambda _s, _p, turn: message(INTERESTED if turn % 2 else NOT_INTERESTED)
    ),
    "flap-choke": flooding(lambda _s, _p, turn: message(CHOKE if turn % 2 else UNCHOKE), True),
    "metadata-requests": flooding(
        lambda _s, peer, _t: extended(
            peer.theirs.get("metadata", 1), {b"msg_type": 0, b"piece": 0}
        )
    ),
    "have-flood": flooding(
        lambda swarm, _p, _t: message(HAVE, struct.pack(">I", swarm.random.randrange(64)))
    ),
    "request-flood": flooding(any_request),
    "cancel-flood": flooding(
        lambda swarm, _p, _t: message(CANCEL, struct.pack(">III", 0, 0, 16384))
    ),
    "extended-flood": flooding(
        lambda swarm, _p, _t: extended(0, {b"m": {b"ut_pex": swarm.random.randrange(1, 200)}})
    ),
    "bad-bitfield": flooding(lambda _s, _p, _t: message(BITFIELD, b"\xff" * 999)),
    "out-of-range": flooding(lambda _s, _p, _t: message(HAVE, b"\xff\xff\xff\xff")),
    "unsolicited": flooding(
        lambda swarm, _p, _t: message(PIECE, struct.pack(">II", 0, 0) + b"x" * 1024), True
    ),
    "pex-flood": flooding(bogus_pex),
    "tracker-flood": flood_tracker,
}


async def attack(swarm, kind):
    """One kind, against all known peers, and those that dial it."""
    run = KINDS[kind]

    async def repeat(address):
        while True:
            try:
                await run(swarm, address)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, struct.error):
                pass
            await asyncio.sleep(0.3)

    async def accept(reader, writer):
        try:
            await serve(swarm, reader, writer, getattr(run, "answer", say_nothing))
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, struct.error):
            writer.close()

    server = await asyncio.start_server(accept, swarm.source, 0)
    port = server.sockets[0].getsockname()[1]
    tasks = {}
    try:
        while True:
            try:
                await swarm.announce(port)
            except (OSError, asyncio.TimeoutError):
                pass
            for address in swarm.random.sample(swarm.peers, min(6, len(swarm.peers))):
                if len(tasks) < 12 and address not in tasks:
                    tasks[address] = asyncio.create_task(repeat(address))
            await asyncio.sleep(5)
    finally:
        server.close()
        for task in tasks.values():
            task.cancel()


async def main():
    ticket, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    swarm = Swarm(ticket, seed)
    kinds = list(KINDS)
    while True:
        swarm.random.shuffle(kinds)
        for kind in kinds:
            swarm.next_identity()
            print(f"{time.time():.1f} {kind} from {swarm.source}", flush=True)
            try:
                await asyncio.wait_for(attack(swarm, kind), seconds)
            except (asyncio.TimeoutError, OSError):
                pass


if __name__ == "__main__":
    asyncio.run(main())

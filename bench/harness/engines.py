"""The programs that the benchmarks compare, behind one interface: start an origin, prepare a
receiver, start its transfer.

A receiver is complete when its program says so; the benchmark verifies the copy.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from .processes import Child, ProcessFailed

INTEROP = Path(__file__).resolve().parents[2] / "interop"
# Debian's Python, which has python3-libtorrent; another `python3` may come first in PATH.
SYSTEM_PYTHON = "/usr/bin/python3"
READY_SECONDS = 60
END_SECONDS = 60
sys.path.insert(0, str(INTEROP))

from torrent_file import make_torrent  # noqa: E402  (the path to it is set just above)


@dataclass
class Job:
    """One transfer: what is shared, from where to where."""

    content: Path
    piece_length: int
    work: Path
    addresses: list  # of the origin and then of each receiver
    commands: (
        list  # for each of them: a function that turns a command line into one that runs there
    )
    deadline: float  # seconds that the whole transfer may take
    expect: bool = False  # `sow` exits by itself when all receivers are complete
    children: list = field(default_factory=list)

    @property
    def receivers(self):
        return range(1, len(self.addresses))

    def start(self, index, name, command, **options):
        """Starts a program on host `index` (0 is the origin)."""
        child = Child(f"{name} on host {index}", self.commands[index](*command), **options)
        self.children.append(child)
        return child

    def folder(self, index):
        """The folder of the copy of receiver `index`."""
        folder = self.work / f"receiver{index}"
        folder.mkdir(exist_ok=True)
        return folder

    def torrent(self, tracker=None):
        """A .torrent of the content in the work folder."""
        path = self.work / f"{self.content.name}.torrent"
        if not path.exists():
            path.write_bytes(
                make_torrent(self.content, self.piece_length, [tracker] if tracker else [])[0]
            )
        return path

    def stop(self, signal_number=signal.SIGKILL):
        """Stops all programs."""
        for child in self.children:
            child.stop(signal_number)


class Receiver:
    """One receiver. `go()` starts its transfer; `completed()` is the time at which its program was
    complete, or None.
    """

    def __init__(self, child, copy, go, completed):
        self.child, self.copy, self.go, self.completed = child, copy, go, completed


class Engine:
    """The interface of a compared program. `programs` maps each needed program to its Debian
    package.
    """

    name = ""
    programs = {}

    def version(self):
        """One line for the report."""
        raise NotImplementedError

    def start_origin(self, job):
        """Starts the origin and returns when it can serve."""
        raise NotImplementedError

    def prepare_receiver(self, job, index):
        """A Receiver whose program is started as far as possible without joining."""
        raise NotImplementedError

    def end(self, job):
        """Ends the programs cleanly after a transfer, so that all their work is counted."""
        job.stop(signal.SIGTERM)

    def missing(self):
        """What must be installed before this engine can run."""
        return [
            f"{program} (package {package})"
            for program, package in self.programs.items()
            if not shutil.which(program)
        ]


class Deferred:
    """A program that joins as soon as it runs, so `go` starts it."""

    def __init__(self, start):
        self._start, self.child = start, None

    def go(self):
        self.child = self._start()


class SowProgram(Engine):
    """A command of the binary of this project."""

    def __init__(self, binary):
        self.binary = binary

    def missing(self):
        return [] if os.access(self.binary, os.X_OK) else [f"{self.binary} (cargo build --release)"]

    def version(self):
        return first_line([self.binary, "--version"])

    def end(self, job):
        """Programs that end by themselves must exit with 0; the others are stopped."""
        if not job.expect:
            return super().end(job)
        for child in self.ending(job):
            if child.wait_exit(END_SECONDS) != 0:
                raise ProcessFailed(
                    f"{child.name} ended with {child.exit_code}\n{child.last_lines()}"
                )
        job.stop(signal.SIGTERM)

    def ending(self, job):
        """The programs that end by themselves."""
        return job.children


class Sow(SowProgram):
    """`sow send` and `sow get`. The start-up of `sow get` counts as transfer time."""

    name = "sow"
    port = 52000

    def __init__(self, binary):
        super().__init__(binary)
        self.ticket = None

    def start_origin(self, job):
        arguments = ["send", job.content, "--bind", job.addresses[0], "--port", self.port, "--json"]
        if job.expect:
            arguments += ["--expect", len(job.receivers)]
        child = job.start(0, "sow send", [self.binary, *arguments])
        ready = child.wait_event("ready", READY_SECONDS)
        self.ticket = ready["ticket"]
        return child

    def prepare_receiver(self, job, index):
        copy = job.folder(index) / job.content.name
        arguments = ["get", self.ticket, "-o", copy, "--json"]
        if job.addresses[index] == job.addresses[0]:
            arguments += ["--port", "0"]
        program = Deferred(lambda: job.start(index, "sow get", [self.binary, *arguments]))
        return deferred_receiver(program, copy, lambda child: event_clock(child.event("complete")))


class SowClientServer(SowProgram):
    """`sow raw` and `sow framed`: client/server without verification. The start-up of the client
    counts as transfer time.
    """

    port = 52001

    def __init__(self, binary, framing):
        super().__init__(binary)
        self.framing = self.name = framing

    def _command(self, job, role, *more):
        where = ["--bind", job.addresses[0]] if role == "server" else ["-s", job.addresses[0]]
        return [self.binary, self.framing, role, *where, "-p", self.port, "--json", *more]

    def start_origin(self, job):
        more = ["--expect", len(job.receivers)] if job.expect else []
        child = job.start(
            0, f"sow {self.framing} server", self._command(job, "server", "-f", job.content, *more)
        )
        child.wait_event("ready", READY_SECONDS)
        return child

    def prepare_receiver(self, job, index):
        copy = job.folder(index) / job.content.name
        command = self._command(job, "client", "-o", copy)
        program = Deferred(lambda: job.start(index, f"sow {self.framing} client", command))
        return deferred_receiver(program, copy, lambda child: event_clock(child.event("complete")))


class SowChunk(SowProgram):
    """`sow chunk`, with the chunk size that its server chooses. No chunk has a hash; the MD5 of the
    whole file is computed at both ends, by the server before it serves.
    """

    name = "chunk"
    port = 52003

    def start_origin(self, job):
        arguments = [
            "chunk",
            "server",
            "-f",
            job.content,
            "--bind",
            job.addresses[0],
            "-p",
            self.port,
            "--json",
        ]
        child = job.start(0, "sow chunk server", [self.binary, *arguments])
        child.wait_event("ready", READY_SECONDS)
        return child

    def prepare_receiver(self, job, index):
        copy = job.folder(index) / job.content.name
        arguments = [
            "chunk",
            "client",
            "-s",
            job.addresses[0],
            "-sp",
            self.port,
            "--bind",
            job.addresses[index],
            "-o",
            copy,
            "--json",
        ]
        arguments += ["--no-seed"] if job.expect else []
        program = Deferred(
            lambda: job.start(index, "sow chunk client", [self.binary, *map(str, arguments)])
        )
        return deferred_receiver(program, copy, lambda child: event_clock(child.event("complete")))

    def ending(self, job):
        return job.children[1:]


class SowJson(SowProgram):
    """`sow json-torrent`. The tracker runs on the host of the seed."""

    name = "json-torrent"
    tracker, port = 52004, 52005

    def _torrent(self, job):
        path = job.folder(0) / f"{job.content.name}.json.torrent"
        if not path.exists():
            make = [
                self.binary,
                "json-torrent",
                "create",
                job.content,
                "--announce",
                job.addresses[0],
                "--port",
                self.tracker,
            ]
            make += ["--piece-length", job.piece_length, "-o", path, "-q"]
            subprocess.run(list(map(str, make)), check=True, timeout=READY_SECONDS)
        return path

    def _peer(self, job, index, port, out):
        more = ["-p", port, "--bind", job.addresses[index], "-o", out, "--json"]
        return [self.binary, *map(str, ["json-torrent", "peer", self._torrent(job), *more])]

    def start_origin(self, job):
        tracker = [
            "json-torrent",
            "tracker",
            "-p",
            self.tracker,
            "--bind",
            job.addresses[0],
            "--json",
        ]
        job.start(0, "sow json-torrent tracker", [self.binary, *map(str, tracker)]).wait_event(
            "ready", READY_SECONDS
        )
        child = job.start(
            0, "sow json-torrent peer (seed)", self._peer(job, 0, self.port, job.content)
        )
        child.wait_event("ready", READY_SECONDS)
        return child

    def prepare_receiver(self, job, index):
        copy = job.folder(index) / job.content.name
        more = ["--no-seed"] if job.expect else []
        command = self._peer(job, index, 0, copy) + more
        program = Deferred(lambda: job.start(index, "sow json-torrent peer", command))
        return deferred_receiver(program, copy, lambda child: event_clock(child.event("complete")))

    def ending(self, job):
        return job.children[2:]


class Libtorrent(Engine):
    """libtorrent through its Python binding. Every receiver gets the addresses of all hosts. The
    start-up of the interpreter does not count.
    """

    name = "libtorrent"
    origin_port = 6881

    def missing(self):
        found = os.path.exists(SYSTEM_PYTHON) and not os.system(
            f"{SYSTEM_PYTHON} -c 'import libtorrent' 2>/dev/null"
        )
        return [] if found else ["libtorrent for Python (package python3-libtorrent)"]

    def version(self):
        return "libtorrent " + first_line(
            [SYSTEM_PYTHON, "-c", "import libtorrent; print(libtorrent.__version__)"]
        )

    def _port(self, job, index):
        """The same port on different hosts, different ports when the hosts share an address."""
        return self.origin_port + (index if job.addresses[index] == job.addresses[0] else 0)

    def _start(self, job, index, *more):
        arguments = [
            "--torrent",
            job.torrent(),
            "--listen",
            job.addresses[index],
            "--port",
            self._port(job, index),
        ]
        command = [
            SYSTEM_PYTHON,
            INTEROP / "libtorrent_peer.py",
            *arguments,
            "--preset",
            "fast-link",
            *more,
        ]
        child = job.start(index, "libtorrent", command)
        child.wait_event("listening", READY_SECONDS)
        return child

    def end(self, job):
        for child in job.children:
            child.finish()

    def start_origin(self, job):
        return self._start(job, 0, "--save", job.content.parent, "--seed")

    def prepare_receiver(self, job, index):
        peers = [
            f"{job.addresses[other]}:{self._port(job, other)}"
            for other in range(len(job.addresses))
            if other != index
        ]
        connect = [part for peer in peers for part in ("--connect", peer)]
        child = self._start(job, index, "--save", job.folder(index), "--wait", *connect)
        copy = job.folder(index) / job.content.name
        return Receiver(
            child, copy, lambda: child.write_line("go"), lambda: own_clock(child.event("complete"))
        )


class Aria2(Engine):
    """aria2 with a tracker on the host of the origin: aria2 finds peers in no other way."""

    name = "aria2"
    programs = {"aria2c": "aria2"}
    tracker_port, port = 6969, 6881
    common = [
        "--enable-dht=false",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--enable-peer-exchange=true",
        "--seed-ratio=0.0",
        "--file-allocation=none",
        "--bt-tracker-interval=2",
        "--summary-interval=0",
        "--console-log-level=error",
        "--allow-overwrite=true",
        "--no-conf=true",
        "--disable-ipv6=true",
        "--bt-request-peer-speed-limit=1000M",
    ]

    def version(self):
        return first_line(["aria2c", "--version"])

    def _command(self, job, index, folder, *more):
        port = self.port + (index if job.addresses[index] == job.addresses[0] else 0)
        tracker = f"http://{job.addresses[0]}:{self.tracker_port}/announce"
        return [
            "aria2c",
            *self.common,
            f"--listen-port={port}",
            f"--dir={folder}",
            *more,
            job.torrent(tracker),
        ]

    def start_origin(self, job):
        arguments = ["--listen", job.addresses[0], "--port", self.tracker_port]
        tracker = job.start(0, "tracker", [sys.executable, INTEROP / "tracker.py", *arguments])
        tracker.wait_event("listening", READY_SECONDS)
        child = job.start(
            0, "aria2", self._command(job, 0, job.content.parent, "--check-integrity=true")
        )
        tracker.wait_event("announce", READY_SECONDS)
        return child

    def prepare_receiver(self, job, index):
        folder = job.folder(index)
        mark = folder / "complete"
        hook = folder / "on-complete.sh"
        hook.write_text(f"#!/bin/sh\ndate +%s.%N > {mark}.new && mv {mark}.new {mark}\n")
        hook.chmod(0o755)
        command = self._command(job, index, folder, f"--on-bt-download-complete={hook}")
        program = Deferred(lambda: job.start(index, "aria2", command))
        return deferred_receiver(program, folder / job.content.name, lambda child: date_clock(mark))


class NginxCurl(Engine):
    """Client/server: nginx with sendfile, one curl for each receiver."""

    name = "nginx+curl"
    programs = {"nginx": "nginx-light", "curl": "curl"}
    port = 8080

    def version(self):
        return f"{first_line(['nginx', '-v'])}, {first_line(['curl', '--version'])}"

    def start_origin(self, job):
        configuration = job.work / "nginx.conf"
        configuration.write_text(
            f"daemon off; worker_processes 2; pid {job.work}/nginx.pid; error_log stderr error;\n"
            "user root;\n"
            "events { worker_connections 1024; }\n"
            "http { access_log off; sendfile on; tcp_nopush on;\n"
            "  default_type application/octet-stream;\n"
            f"  server {{ listen {job.addresses[0]}:{self.port}; root {job.content.parent}; }} }}\n"
        )
        child = job.start(0, "nginx", ["nginx", "-c", configuration, "-p", job.work])
        probe = [
            "curl",
            "-sfI",
            "--retry",
            "20",
            "--retry-connrefused",
            "--retry-delay",
            "1",
            self._url(job),
        ]
        if job.start(0, "curl", probe).wait_exit(READY_SECONDS) != 0:
            raise ProcessFailed(f"nginx does not answer\n{child.last_lines()}")
        return child

    def _url(self, job):
        return f"http://{job.addresses[0]}:{self.port}/{job.content.name}"

    def prepare_receiver(self, job, index):
        copy = job.folder(index) / job.content.name
        program = Deferred(
            lambda: job.start(index, "curl", ["curl", "-sS", "-f", "-o", copy, self._url(job)])
        )
        return deferred_receiver(
            program, copy, lambda child: child.exit_clock if child.exit_code == 0 else None
        )


def deferred_receiver(program, copy, completed):
    """A Receiver around a program that `go` starts."""
    receiver = Receiver(
        None, copy, None, lambda: completed(receiver.child) if receiver.child else None
    )

    def go():
        program.go()
        receiver.child = program.child

    receiver.go = go
    return receiver


def event_clock(event):
    """When an event's line was read."""
    return event and event["read_clock"]


def own_clock(event):
    """When an event happened according to its program."""
    return event and event["clock"]


def date_clock(mark):
    """The monotonic time of a file that contains a Unix time; None while there is no file."""
    try:
        date = float(mark.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return date - time.time() + time.monotonic()


def first_line(command):
    """The first line that a program prints, to standard output or standard error."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return (result.stdout + result.stderr).strip().split("\n")[0]


def all_engines(sow):
    """Every engine by its name; `sow` is the path of the binary."""
    client_server = [SowClientServer(sow, "raw"), SowClientServer(sow, "framed")]
    engines = [
        Sow(sow),
        *client_server,
        SowChunk(sow),
        SowJson(sow),
        Libtorrent(),
        Aria2(),
        NginxCurl(),
    ]
    return {engine.name: engine for engine in engines}

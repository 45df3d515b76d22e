"""Hosts on links: a star of network namespaces around a bridge, with links as fast as the machine.

Nothing here knows programs or files. The names of the namespaces contain the process id of the run,
so that two runs do not collide.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

NAMESPACE_PREFIX = "sowbench"
CONGESTION_CONTROL = "cubic"
SETTINGS = "/proc/sys/net/ipv4"
MAX_HOSTS = 250


class LinkError(Exception):
    """The machine cannot provide the links; the text says what failed."""


def run(*command):
    """Runs a command to its end and returns its output."""
    result = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30
    )
    if result.returncode != 0:
        raise LinkError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


class Host:
    """One namespace with one interface."""

    def __init__(self, namespace, address):
        self.namespace = namespace
        self.address = address

    def command(self, *command):
        """The command line that runs `command` on this host."""
        return ["ip", "netns", "exec", self.namespace, *map(str, command)]


class Star:
    """Hosts 0..count-1 around a switch. A context manager that leaves no namespace."""

    def __init__(self, count):
        if count > MAX_HOSTS:
            raise LinkError(f"{count} hosts: at most {MAX_HOSTS} fit in the star's network")
        self.prefix = f"{NAMESPACE_PREFIX}-{os.getpid()}-"
        self.switch = self.prefix + "switch"
        self.hosts = [
            Host(f"{self.prefix}h{index}", f"10.77.0.{index + 1}") for index in range(count)
        ]

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for namespace in [host.namespace for host in self.hosts] + [self.switch]:
            remove_namespace(namespace)

    def _build(self):
        allow_congestion_control()
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", self.switch, "link", "set", "bridge", "up")
        for index, host in enumerate(self.hosts):
            self._attach(host, f"port{index}")

    def _attach(self, host, port):
        run("ip", "netns", "add", host.namespace)
        run(
            "ip",
            "-n",
            self.switch,
            "link",
            "add",
            port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            host.namespace,
        )
        run("ip", "-n", self.switch, "link", "set", port, "master", "bridge", "up")
        run("ip", "-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        for interface in ("lo", "eth0"):
            run("ip", "-n", host.namespace, "link", "set", interface, "up")
        run(
            *host.command(
                "sh", "-c", f"echo {CONGESTION_CONTROL} > {SETTINGS}/tcp_congestion_control"
            )
        )


def allow_congestion_control():
    """Allows namespaces to use the algorithm. It stays allowed afterwards: that changes no
    connection, and another run may need it.
    """
    allowed = Path(SETTINGS, "tcp_allowed_congestion_control")
    names = allowed.read_text().split()
    if CONGESTION_CONTROL not in names:
        allowed.write_text(" ".join([*names, CONGESTION_CONTROL]))


def remove_namespace(namespace):
    """Kills every process in a namespace and removes it, if it exists."""
    if not Path("/run/netns", namespace).exists():
        return
    deadline = time.monotonic() + 5
    while pids := run("ip", "netns", "pids", namespace).split():
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        if time.monotonic() > deadline:
            raise LinkError(f"namespace {namespace}: processes {' '.join(pids)} do not end")
        time.sleep(0.01)
    run("ip", "netns", "delete", namespace)


def remove_leftovers(is_live):
    """Removes the namespaces of runs that were killed. `is_live` tells whether the run of a process
    id is alive.
    """
    for path in Path("/run/netns").glob(f"{NAMESPACE_PREFIX}-*"):
        if not is_live(int(path.name.split("-")[1])):
            remove_namespace(path.name)

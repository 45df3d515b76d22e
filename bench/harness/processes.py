"""Child processes whose output lines are read with their times, and which never outlive this
process.
"""

import json
import os
import signal
import subprocess
import threading
import time

# The kernel kills a child when this process ends for any reason.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]


class ProcessFailed(Exception):
    """A child ended early or did not report in time; the text contains its last lines."""


class Child:
    """A running program. The JSON objects that it prints are its events."""

    def __init__(self, name, command, cwd=None, env=None):
        self.name = name
        self.lines = []
        self.reading = True  # false after the end of its output
        self.exit_clock = None
        self.usage = None
        self.peak_memory = 0
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [*DIE_WITH_PARENT, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
        )
        self.pid = self._process.pid
        for work in (self._read_lines, self._wait):
            threading.Thread(target=work, daemon=True).start()

    def _read_lines(self):
        for line in self._process.stdout:
            clock = time.monotonic()
            text = line.decode(errors="replace").rstrip()
            with self._changed:
                self.lines.append((clock, text))
                self._changed.notify_all()
        self.reading = False

    def _wait(self):
        _, status, usage = os.wait4(self.pid, 0)
        with self._changed:
            self.exit_clock = time.monotonic()
            self.usage = usage
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._changed.notify_all()

    @property
    def exit_code(self):
        """The exit code; None while it runs."""
        return None if self.exit_clock is None else self._process.returncode

    def write_line(self, line):
        """Writes a line to its standard input."""
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def event(self, name):
        """The first event of this name with its `read_clock`, or None."""
        for clock, text in list(self.lines):
            if text.startswith("{") and f'"{name}"' in text:
                value = json.loads(text)
                if value.get("event") == name:
                    return {**value, "read_clock": clock}
        return None

    def wait_until(self, condition, seconds, what):
        """Waits until `condition()` is true and returns its value. It is checked after each line
        and at the end of the process.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                if self.exit_clock is not None:
                    raise ProcessFailed(
                        f"{self.name} ended with {self.exit_code} before {what}\n"
                        f"{self.last_lines()}"
                    )
                if left <= 0:
                    raise ProcessFailed(
                        f"{self.name}: no {what} after {seconds:.0f} s\n{self.last_lines()}"
                    )
                self._changed.wait(min(left, 0.2))
        return value

    def wait_event(self, name, seconds):
        """Waits for the first event of this name."""
        return self.wait_until(lambda: self.event(name), seconds, f"event {name}")

    def wait_exit(self, seconds):
        """Waits for the exit code."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self.exit_clock is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ProcessFailed(
                        f"{self.name} still runs after {seconds:.0f} s\n{self.last_lines()}"
                    )
                self._changed.wait(left)
        return self.exit_code

    def last_lines(self, count=15):
        """The last lines of its output, for messages."""
        return "\n".join("    " + text for _, text in self.lines[-count:])

    def sample_memory(self):
        """Samples the largest peak of resident memory of its processes, in bytes (VmHWM). The last
        sample before its end counts. The number of wait4 is useless, since it includes the size
        of the parent process at the start.
        """
        if self.exit_clock is None:
            self.peak_memory = max([self.peak_memory, *map(_peak_memory, process_tree(self.pid))])

    def cpu_seconds(self):
        """The user and system time of the program and its children so far. It is accurate to a tick
        of the kernel, and exact when the program has ended.
        """
        if self.usage is not None:
            return self.usage.ru_utime + self.usage.ru_stime
        return sum(map(_cpu_seconds, process_tree(self.pid)))

    def finish(self, seconds=30):
        """Closes its standard input, at which some programs exit cleanly, and waits."""
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        return self.wait_exit(seconds)

    def stop(self, signal_number=signal.SIGTERM, seconds=10):
        """Sends a signal, kills the program if it does not end, and waits for its end."""
        if self.exit_clock is None:
            self._signal(signal_number)
            try:
                self.wait_exit(seconds)
            except ProcessFailed:
                self._signal(signal.SIGKILL)
                self.wait_exit(5)

    def kill(self):
        """Kills it."""
        self.stop(signal.SIGKILL)

    def _signal(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def process_tree(pid):
    """A process and its descendants."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [
                pid,
                *[each for child in children.read().split() for each in process_tree(int(child))],
            ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_memory(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return next(
                (int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")), 0
            )
    except (FileNotFoundError, ProcessLookupError):
        return 0

"""Child processes whose output is read line by line with the time of each line, and which never outlive this one."""

import json
import os
import signal
import subprocess
import threading
import time

# The kernel ends a child when this process ends, however that comes about.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]


class ProcessFailed(Exception):
    """A child ended or stayed silent where it should not have; the text carries its last lines."""


class Child:
    """A running program. Lines of its standard output that are JSON objects become events."""

    def __init__(self, name, command, cwd=None, env=None):
        self.name = name
        self.lines = []
        self.reading = True  # until the end of its output
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
        """None while it runs."""
        return None if self.exit_clock is None else self._process.returncode

    def say(self, line):
        """Writes a line to its standard input."""
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def event(self, name):
        """The first event of this name with `read_clock`, when it has come."""
        for clock, text in list(self.lines):
            if text.startswith("{") and f'"{name}"' in text:
                value = json.loads(text)
                if value.get("event") == name:
                    return {**value, "read_clock": clock}
        return None

    def wait_until(self, condition, seconds, what):
        """Waits for `condition()` to be true, looked at after each line and at the end of the process; returns its value."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                if self.exit_clock is not None:
                    raise ProcessFailed(f"{self.name} ended with {self.exit_code} before {what}\n{self.last_lines()}")
                if left <= 0:
                    raise ProcessFailed(f"{self.name}: no {what} after {seconds:.0f} s\n{self.last_lines()}")
                self._changed.wait(min(left, 0.2))
        return value

    def wait_event(self, name, seconds):
        """The first event of this name, waited for."""
        return self.wait_until(lambda: self.event(name), seconds, f"event {name}")

    def wait_exit(self, seconds):
        """The exit code, waited for."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self.exit_clock is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ProcessFailed(f"{self.name} still runs after {seconds:.0f} s\n{self.last_lines()}")
                self._changed.wait(left)
        return self.exit_code

    def last_lines(self, count=15):
        """The end of its output, for messages."""
        return "\n".join("    " + text for _, text in self.lines[-count:])

    def sample_memory(self):
        """Notes the greatest peak of resident memory of one of its processes, in bytes (VmHWM). The last sample before its
        end counts: what wait4 tells of an ended process is no use, since it starts with the size of whoever started it."""
        if self.exit_clock is None:
            self.peak_memory = max([self.peak_memory, *map(_peak_memory, process_tree(self.pid))])

    def cpu_seconds(self):
        """User and system time so far, of the program and its own children, to the kernel's tick; exact once it has ended."""
        if self.usage is not None:
            return self.usage.ru_utime + self.usage.ru_stime
        return sum(map(_cpu_seconds, process_tree(self.pid)))

    def finish(self, seconds=30):
        """Ends its standard input, which is how some programs are asked to end in order, and waits."""
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        return self.wait_exit(seconds)

    def stop(self, signal_number=signal.SIGTERM, seconds=10):
        """Asks it to end, makes it end when it does not, and waits for that."""
        if self.exit_clock is None:
            self._signal(signal_number)
            try:
                self.wait_exit(seconds)
            except ProcessFailed:
                self._signal(signal.SIGKILL)
                self.wait_exit(5)

    def kill(self):
        """Ends it at once."""
        self.stop(signal.SIGKILL)

    def _signal(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def process_tree(pid):
    """A process and its children, and theirs."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [pid, *[each for child in children.read().split() for each in process_tree(int(child))]]
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
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")), 0)
    except (FileNotFoundError, ProcessLookupError):
        return 0

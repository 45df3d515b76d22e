"""One run of a benchmark: its scratch folder in memory, and a lock that ends with its process, so
that the next run can recognize and remove what a killed run left.
"""

import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path

from . import links

SCRATCH = Path("/dev/shm/sow-bench")


class Run:
    """A context manager. `folder` is on a tmpfs and is removed at the end, also after Ctrl-C and
    SIGTERM.
    """

    def __init__(self):
        self.folder = SCRATCH / str(os.getpid())

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        SCRATCH.mkdir(mode=0o755, exist_ok=True)
        self._lock = open(lock_of(os.getpid()), "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        links.remove_leftovers(is_live)
        for lock in SCRATCH.glob("*.lock"):
            if not is_live(int(lock.stem)):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        self.folder.mkdir()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)
        lock_of(os.getpid()).unlink(missing_ok=True)
        self._lock.close()


def lock_of(process_id):
    """The lock file of a run."""
    return SCRATCH / f"{process_id}.lock"


def is_live(process_id):
    """Whether the run of this process id still holds its lock."""
    if process_id == os.getpid():
        return True
    try:
        with open(lock_of(process_id)) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False

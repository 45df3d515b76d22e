"""Waits for receivers."""

import time

from .processes import ProcessFailed

POLL_SECONDS = 0.002


def wait_for_all(receivers, limit):
    """The clock at which each receiver said that it is complete; fails when one ends before, or after `limit` seconds."""
    deadline = time.monotonic() + limit
    clocks = [None] * len(receivers)
    while None in clocks:
        for index, receiver in enumerate(receivers):
            if clocks[index] is None:
                clocks[index] = completion(receiver)
        if time.monotonic() > deadline:
            late = next(receiver for receiver, clock in zip(receivers, clocks) if clock is None).child
            raise ProcessFailed(f"{late.name} is not complete after {limit:.0f} s\n{late.last_lines()}")
        time.sleep(POLL_SECONDS)
    return clocks


def completion(receiver):
    """The clock at which it was complete, None when it is not yet."""
    ended = receiver.child.exit_clock is not None  # looked at first: what it says last may come in between
    clock = receiver.completed()
    if clock is None and ended and not receiver.child.reading:
        raise ProcessFailed(f"{receiver.child.name}: ended with {receiver.child.exit_code}\n{receiver.child.last_lines()}")
    return clock

"""Waiting for receivers."""

import time

from .processes import ProcessFailed

POLL_SECONDS = 0.002


def wait_for_all(receivers, limit):
    """The times at which the receivers completed. Fails when one ends before that, or after `limit`
    seconds.
    """
    deadline = time.monotonic() + limit
    clocks = [None] * len(receivers)
    while None in clocks:
        for index, receiver in enumerate(receivers):
            if clocks[index] is None:
                clocks[index] = completion(receiver)
        if time.monotonic() > deadline:
            late = next(
                receiver for receiver, clock in zip(receivers, clocks) if clock is None
            ).child
            raise ProcessFailed(
                f"{late.name} is not complete after {limit:.0f} s\n{late.last_lines()}"
            )
        time.sleep(POLL_SECONDS)
    return clocks


def completion(receiver):
    """The time at which a receiver completed; None when it has not."""
    # Read before `completed`: the last line may arrive between the two.
    ended = receiver.child.exit_clock is not None
    clock = receiver.completed()
    if clock is None and ended and not receiver.child.reading:
        raise ProcessFailed(
            f"{receiver.child.name}: ended with {receiver.child.exit_code}\n"
            f"{receiver.child.last_lines()}"
        )
    return clock

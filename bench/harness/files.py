"""Test content and its checksum."""

import hashlib
import os

CHUNK = 1 << 20


def write_random(path, size):
    """Fills a file with random bytes."""
    with open(path, "wb") as out:
        while size > 0:
            out.write(os.urandom(min(CHUNK, size)))
            size -= CHUNK


def sha256(path):
    """The SHA-256 of a file in hex, or None when there is no such file."""
    try:
        with open(path, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return None

#!/usr/bin/env python3
"""Makes a BitTorrent v1 torrent (BEP 3), so that tests and benchmarks have one that no program
under test made. It needs only the standard library, and `sow` itself does not use it.

    torrent_file.py PATH OUT.torrent [--piece-length BYTES] [--tracker URL]...

Prints the info-hash.
"""

import argparse
import hashlib
from pathlib import Path


def bencode(value):
    """Bencodes integers, bytes, text, lists and dictionaries (keys sorted as raw bytes)."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    if isinstance(value, dict):
        items = sorted((key.encode(), bencode(item)) for key, item in value.items())
        return b"d" + b"".join(bencode(key) + item for key, item in items) + b"e"
    raise TypeError(f"cannot bencode {type(value).__name__}")


def content_files(path):
    """The files at PATH in the order of the torrent."""
    path = Path(path)
    return [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())


def piece_hashes(files, piece_length):
    """The concatenated SHA-1 of each piece of the concatenated files."""
    hashes, piece, missing = [], hashlib.sha1(), piece_length
    for file in files:
        with open(file, "rb") as source:
            while block := source.read(min(missing, 1 << 20)):
                piece.update(block)
                missing -= len(block)
                if missing == 0:
                    hashes.append(piece.digest())
                    piece, missing = hashlib.sha1(), piece_length
    if missing < piece_length:
        hashes.append(piece.digest())
    return b"".join(hashes)


def make_torrent(path, piece_length, trackers=()):
    """The bytes of a .torrent for PATH and its info-hash in hex."""
    path = Path(path)
    files = content_files(path)
    info = {
        "name": path.name,
        "piece length": piece_length,
        "pieces": piece_hashes(files, piece_length),
    }
    if path.is_file():
        info["length"] = path.stat().st_size
    else:
        info["files"] = [
            {"length": file.stat().st_size, "path": list(file.relative_to(path).parts)}
            for file in files
        ]
    metainfo = {"info": info}
    if trackers:
        metainfo["announce"] = trackers[0]
        metainfo["announce-list"] = [[tracker] for tracker in trackers]
    return bencode(metainfo), hashlib.sha1(bencode(info)).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--piece-length", type=int, default=65536, metavar="BYTES")
    parser.add_argument("--tracker", action="append", default=[], metavar="URL")
    options = parser.parse_args()
    torrent, info_hash = make_torrent(options.path, options.piece_length, options.tracker)
    options.out.write_bytes(torrent)
    print(info_hash)


if __name__ == "__main__":
    main()

"""The command-line options of the benchmark scripts."""

import json
import os
import sys
from pathlib import Path

from .engines import all_engines

ROOT = Path(__file__).resolve().parents[2]


def add_common(parser, engines, receivers, piece_length):
    """Adds the options that every benchmark has, with the defaults of this one."""
    parser.add_argument(
        "--engines",
        default=engines,
        metavar="LIST",
        help=f"of {', '.join(all_engines(None))} (default: %(default)s)",
    )
    parser.add_argument(
        "--receivers",
        default=receivers,
        metavar="LIST",
        help="such as 1-5 or 1,5,20 (default: %(default)s)",
    )
    parser.add_argument(
        "--repeat", type=int, default=3, metavar="TIMES", help="default: %(default)s"
    )
    parser.add_argument(
        "--sow", type=Path, default=ROOT / "target/release/sow", metavar="PATH", help="the binary"
    )
    parser.add_argument(
        "--piece-length",
        type=int,
        default=piece_length,
        metavar="BYTES",
        help="for programs other than sow",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="append one line for each transfer"
    )


def parse_common(parser):
    """Parses the options and looks up the engines."""
    options = parser.parse_args()
    options.receivers = parse_counts(parser, options.receivers)
    engines = all_engines(options.sow.resolve())
    names = options.engines.split(",")
    if unknown := [name for name in names if name not in engines]:
        parser.error(f"no such engine: {', '.join(unknown)}; there are {', '.join(engines)}")
    options.engines = [engines[name] for name in names]
    return options


def parse_counts(parser, text):
    """Parses `1-5` or `1,5,20` into a list."""
    try:
        first, dash, last = text.partition("-")
        counts = (
            list(range(int(first), int(last) + 1))
            if dash
            else [int(part) for part in text.split(",")]
        )
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        parser.error(f"--receivers {text!r}: want 1-5 or 1,5,20")
    return counts


def require(script, options, root):
    """Exits with a message when something is missing."""
    missing = ["root, for network namespaces"] if root and os.geteuid() != 0 else []
    missing += [thing for engine in options.engines for thing in engine.missing()]
    if missing:
        sys.exit(f"{script} needs: " + "; ".join(missing))


def note(options, result):
    """Appends a result to the file of --json."""
    if options.json:
        with open(options.json, "a") as out:
            out.write(json.dumps(result) + "\n")

#!/usr/bin/env python3
"""The lines of a board, taken apart and put together by another road than mote's own.

As a program it reads lines from standard input and prints the JSON texts of those with a good seal; it
ends with 1 if one that is not empty has none."""

import json
import sys
import zlib


def sealed(message):
    """The line, as bytes, that says `message`."""
    text = json.dumps(message, separators=(",", ":")).encode()
    return text + b"*%08X\n" % zlib.crc32(text)


def opened(line):
    """What a line says; None if its seal is missing or wrong."""
    text, star, seal = line.rstrip(b"\r\n").rpartition(b"*")
    if not star or seal.upper() != b"%08X" % zlib.crc32(text):
        return None
    return json.loads(text)


def main():
    bad = 0
    for line in sys.stdin.buffer:
        if not line.strip():
            continue  # a board begins with it
        message = opened(line)
        if message is None:
            bad += 1
        else:
            print(json.dumps(message))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

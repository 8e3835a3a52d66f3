"""A stand-in for ``redis-cli`` where there is none: ``redis_cli.py -h HOST -p PORT [-x] …``.

Prints what the real one prints into a pipe: each text on a line of its own, lists flat. ``-x``
takes the last argument from stdin. The password comes from ``REDISCLI_AUTH``, as there.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import redis


def show(reply: Any) -> None:
    """Print one reply."""
    match reply:
        case list():
            for each in reply:
                show(each)
        case bytes():
            sys.stdout.buffer.write(reply + b"\n")
        case None:
            sys.stdout.buffer.write(b"\n")
        case _:
            sys.stdout.buffer.write(f"{reply}\n".encode())
    sys.stdout.buffer.flush()


def main(words: list[str]) -> None:
    """Send one command; after a subscription go on for as long as something comes."""
    host, port = words[1], int(words[3])
    command: list[str | bytes] = list(words[4:])
    if command[0] == "-x":
        command = [*command[1:], sys.stdin.buffer.read()]
    password = os.environ.get("REDISCLI_AUTH") or None
    connection = redis.Connection(host=host, port=port, password=password, protocol=2)
    connection.send_command(*command)
    show(connection.read_response())
    while str(command[0]).upper() == "SUBSCRIBE":
        show(connection.read_response())


if __name__ == "__main__":
    main(sys.argv[1:])

"""Standard streams that do not end the worker: a full disk, a reader that is gone, none at all.

Logs are for people. Celery prints its banner with a bare ``print``, which on a full disk would be
the end of the process before it has served anybody.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, Final, TextIO, cast

STANDARD: Final = (0, 1, 2)


class Unfailing:
    """A text stream that drops what it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop it: no space, nobody who reads, or closed meanwhile."""
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush as far as it goes; at exit a failure would spoil the exit status."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the stream has
        return getattr(self._stream, name)


def keep_going() -> None:
    """Make this process' standard streams unfailing.

    A stream that was closed by whoever started us is replaced by nothing at all: else the next
    socket would get its number, and a last cry to file 2 would go to the ledger.
    """
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The lowest free number: this one.
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Unfailing):
            unfailing = cast("TextIO", Unfailing(stream))
            setattr(sys, name, unfailing)
            setattr(sys, f"__{name}__", unfailing)


__all__ = ["Unfailing", "keep_going"]

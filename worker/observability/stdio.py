"""Standard streams whose failure does not end a service: full disk, gone reader, closed stream.

Celery prints its banner, and the gateway its address, with a plain ``print``, which on a full disk
would end the process before it has served a code.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, Final, TextIO, cast

STANDARD: Final = {0: ("stdin", "r"), 1: ("stdout", "w"), 2: ("stderr", "w")}


class Unfailing:
    """A text stream that drops text which it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it if the disk is full or the stream is closed."""
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; ignore failures, which at exit would change the exit status."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  any attribute of the stream
        return getattr(self._stream, name)


def reopen_closed_streams() -> None:
    """Open closed standard streams on /dev/null.

    Otherwise the next socket takes descriptor 2, and an error message would be written into the
    Redis connection. Python has ``None`` in the place of such a stream, which few programs expect.
    """
    for number, (name, mode) in STANDARD.items():
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Takes the lowest free number, which is this one.
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def make_streams_fail_safe(*names: str) -> None:
    """Make standard streams of this process unfailing, closed ones too.

    Args:
        names: ``stdout``, ``stderr``; by default both.
    """
    reopen_closed_streams()
    for name in names or ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Unfailing):
            unfailing = cast("TextIO", Unfailing(stream))
            setattr(sys, name, unfailing)
            setattr(sys, f"__{name}__", unfailing)

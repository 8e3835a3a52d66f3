"""Errors that leave without the values they came past.

An error reporter keeps the local variables of every frame an error went through, its own library's
and ours, and of the errors it was raised from. A code, a session, a context and a proxy's password
must not be among them. So they are handed to whoever works with them inside of `no_values`, by a
frame that has dropped its own names for them, and what comes out of it has no frames inside.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from checkpoint_worker.tasks.frames import let_go

PLACES_TOLD: Final = 4
"""Of the way to an error, from its end."""
_AT: Final = "at "


class no_values:  # noqa: N801  used as a verb is
    """Let an error out without the frames inside, and those it was raised from likewise.

    Where it came from is noted on it as names of files and lines. What the caller was about to
    handle already is the caller's and stays as it is.

    Args:
        known: Errors that say all by themselves; nothing is noted on them.
    """

    __slots__ = ("_known", "_outer")

    def __init__(self, *known: type[BaseException]) -> None:
        self._known = known

    def __enter__(self) -> Self:
        self._outer = sys.exception()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        if not isinstance(error, self._known):
            told = [note for note in getattr(error, "__notes__", ()) if note.startswith(_AT)]
            if not told:
                error.add_note(_AT + places_of(error))
        if trace is not None:
            trace.tb_next = None
        for inner in (error.__cause__, error.__context__):
            let_go(inner, error, self._outer)


def places_of(error: BaseException) -> str:
    """Return files and lines an error came past, the innermost last: enough to find it."""
    for note in getattr(error, "__notes__", ()):
        if note.startswith(_AT):
            return str(note.removeprefix(_AT))
    way = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return "; ".join(way[-PLACES_TOLD:]) or "?"


__all__ = ["no_values", "places_of"]

"""`no_values`: it removes the frames that hold secret values from the traceback of an error.

An error reporter stores the local variables of all frames in the traceback of an error and of the
errors in its chain. A code, a session, a context and a proxy's password must not be among them. So
a function that works with such a value is called inside `no_values`, by a frame that has deleted
its own names of the value; an error that leaves the block has no frames from inside it.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from checkpoint_worker.tasks.frames import let_go

PLACES_TOLD: Final = 4
"""Number of innermost traceback frames that `places_of` returns."""
_AT: Final = "at "


class no_values:  # noqa: N801  a context manager that is used like a function
    """Remove the frames inside the block from an error that leaves it, and from its chain.

    A note on the error keeps the files and lines that it passed. An exception that the caller was
    already handling stays unchanged.

    Args:
        known: Error classes that need no such note.
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
            notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_AT)]
            if not notes:
                error.add_note(_AT + places_of(error))
        if trace is not None:
            trace.tb_next = None
        for inner in (error.__cause__, error.__context__):
            let_go(inner, error, self._outer)


def places_of(error: BaseException) -> str:
    """Return the files and lines of the innermost frames of an error, the innermost last."""
    for note in getattr(error, "__notes__", ()):
        if note.startswith(_AT):
            return str(note.removeprefix(_AT))
    places = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return "; ".join(places[-PLACES_TOLD:]) or "?"


__all__ = ["no_values", "places_of"]

"""Errors without the frames they passed: `no_values` for secrets, `let_go` for memory.

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

PLACES_TOLD: Final = 4
"""Number of innermost traceback frames that `places_of` returns."""
CAUSES_MAX: Final = 8
"""Exceptions of a chain that `classes_and_stacks` returns."""
_AT: Final = "at "


def let_go(error: BaseException | None, *kept: BaseException | None) -> None:
    """Remove the tracebacks of an exception and of the exceptions in its chain.

    A frame that keeps its exception in a variable (a library's ``err = error``, Celery's tracer)
    and the exception, whose traceback keeps the frame, form a reference cycle. Only the garbage
    collector frees it, with all other values of those frames: 50-190 KB in Celery's case, and a
    code in clear in a backend. Call this only for exceptions that are not raised again.

    Args:
        error: The last exception of the chain.
        kept: Exceptions of the chain that stay unchanged.
    """
    left, seen = [error], set(map(id, kept))
    while left:
        exc = left.pop()
        if exc is None or id(exc) in seen:
            continue
        seen.add(id(exc))
        exc.__traceback__ = None
        left += (exc.__cause__, exc.__context__)
        if isinstance(exc, BaseExceptionGroup):
            left += exc.exceptions
        if isinstance(inner := getattr(exc, "exc", None), BaseException):  # Celery's wrappers.
            left.append(inner)


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


def classes_and_stacks(error: BaseException) -> str:
    """Return an exception and its causes as stack and class, oldest first, without their texts.

    The texts may hold a code or a cookie.
    """
    shown: list[str] = []
    each: BaseException | None = error
    while each is not None and len(shown) < CAUSES_MAX:
        frames = "".join(traceback.format_tb(each.__traceback__))
        shown.append(f"{frames}{type(each).__module__}.{type(each).__qualname__}")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "\nthen\n".join(reversed(shown))


def class_and_stack(error: BaseException) -> str:
    """Return the same for the text of a log line, with the class first."""
    return f"error={type(error).__qualname__}\n{classes_and_stacks(error)}"

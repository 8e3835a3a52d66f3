"""Exceptions without the frames they went through. A leaf."""

from __future__ import annotations

__all__ = ["let_go"]


def let_go(error: BaseException | None, *kept: BaseException | None) -> None:
    """Part an exception, and those it came from, from the frames they went through.

    A frame that keeps its exception in a variable (a library's ``err = error``, Celery's tracer)
    and the exception, whose traceback keeps the frame, are a cycle that only the collector of
    garbage frees, with everything else in those frames: 50-190 KB in Celery's case, and a code in
    clear in that of a backend. For exceptions whose story ends here.

    Args:
        error: The last of them.
        kept: Exceptions that are left as they are.
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

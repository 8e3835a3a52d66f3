"""Removal of the traceback frames from exceptions. The module imports no other of this project."""

from __future__ import annotations

__all__ = ["let_go"]


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

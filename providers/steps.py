"""Checkpoint and context together: whether the step that is described takes the checkpoint's code.

The contexts declare what each step is (`Context.kinds_sent`, `Context.kinds_told`).
`open_intent` refuses what contradicts it, and each adapter what it would not send; both compare
here. Types and sources that no adapter knows pass, as do absent sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from checkpoint_worker.providers.contract import InvalidRequestError
from checkpoint_worker.providers.http.html import is_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from checkpoint_worker.providers.contract import Challenge, Checkpoint, Context, Kinds

TYPES: Final = ("2FA", "OTP")
SOURCES: Final = ("EMAIL", "SMS", "APP", "BACKUP")
"""Words with one meaning at every provider; any other word passes."""


def refuse_source(challenge: Challenge) -> None:
    """Refuse a checkpoint whose codes the provider does not take at this step.

    Raises:
        InvalidRequestError: It cannot succeed; nothing is sent.
    """
    sources = _sources(challenge.context.kinds_sent())
    source = challenge.checkpoint.source
    if sources and source in SOURCES and source not in sources:
        msg = f"The provider takes no codes of source {source} at this step."
        raise InvalidRequestError(msg)


def why_contrary(checkpoint: Checkpoint, context: Context) -> str | None:
    """Return the field of a checkpoint that contradicts its context, with rule and mend.

    The sentence quotes no value but words of this module. ``None`` if a code may succeed.
    """
    for kinds in (context.kinds_told(), context.kinds_sent()):
        if (why := _why(checkpoint, kinds)) is not None:
            return why
    return None


def unsendable_path(context: Context) -> str | None:
    """Return the name of a field whose path cannot go into a URL, if there is one."""
    held = ((name, getattr(context, name)) for name in context.paths)
    return next((name for name, path in held if path and not is_path(path)), None)


def _why(checkpoint: Checkpoint, kinds: Kinds) -> str | None:
    source, sources = checkpoint.source, _sources(kinds)
    place = f"context.{kinds.field}"
    if kinds.no_source and source not in sources:
        return f"checkpoint.source must be {_one_of(sources)}; or give {kinds.no_source}"
    if sources and source in SOURCES and source not in sources:
        return (
            f"checkpoint.source must be {_one_of(sources)} or be left out, because {place} is of a"
            f" step without codes of {source}; or give the context of the step that has them"
        )
    types = [each for each, its in kinds.by_type.items() if source in its or source not in sources]
    if types and checkpoint.type in TYPES and checkpoint.type not in types:
        what = f" and source {source}" if source in sources else ""
        return (
            f"checkpoint.type must be {_one_of(types)} with this {place}{what}; or give the context"
            f" of the step that is {checkpoint.type}"
        )
    return None


def _sources(kinds: Kinds) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for its in kinds.by_type.values() for each in its))


def _one_of(words: Iterable[str]) -> str:
    return " or ".join(words)

"""What an error keeps when it leaves: its kind, its text, where it came from, and no values."""

from __future__ import annotations

import asyncio
import traceback
from types import TracebackType

import pytest

from checkpoint_worker.tasks.tracebacks import no_values, places_of

SECRET = "canary-code"


def frames(trace: TracebackType | None) -> list[str]:
    """Return the functions a traceback holds."""
    return [frame.f_code.co_name for frame, _ in traceback.walk_tb(trace)]


def deep(code: str, error: BaseException) -> None:
    """Fail with a secret in a local variable, after having failed before."""
    try:
        {}[code]
    except KeyError as first:
        raise error from first


def left(error: BaseException, *known: type[BaseException]) -> BaseException:
    """Return an error as it leaves."""
    with pytest.raises(type(error)) as caught, no_values(*known):
        deep(SECRET, error)
    return caught.value


def test_frames_inside_are_gone_and_their_places_are_noted() -> None:
    """A bug has to be found all the same."""
    error = left(RuntimeError("a bug"))
    assert frames(error.__traceback__) == ["left"]
    assert "test_traces.py:" in places_of(error)
    assert places_of(error).count(";") == 1
    assert error.__notes__ == [f"at {places_of(error)}"]
    assert error.__cause__ is not None
    assert error.__cause__.__traceback__ is None


def test_an_error_that_says_all_by_itself_gets_no_note() -> None:
    """`CheckpointError`, say: a handler has its body."""
    error = left(ValueError(), ValueError)
    assert not hasattr(error, "__notes__")
    assert frames(error.__traceback__) == ["left"]
    assert places_of(error).startswith("test_traces.py:")
    assert places_of(KeyError()) == "?"


def test_places_are_noted_once_by_the_innermost() -> None:
    """Further out there are none left to see."""
    with pytest.raises(RuntimeError) as caught, no_values(), no_values():
        deep(SECRET, RuntimeError())
    assert len(caught.value.__notes__) == 1
    assert places_of(caught.value).count(";") == 1


def test_what_the_caller_was_handling_stays_whole() -> None:
    """It is the caller's error, with the caller's frames."""

    def own() -> None:
        raise LookupError

    try:
        own()
    except LookupError as handled:
        error, before = left(RuntimeError()), handled
    assert error.__cause__ is not None
    assert error.__cause__.__context__ is before
    assert frames(before.__traceback__)[-1] == "own"


def test_every_error_of_a_group_and_of_a_chain_is_emptied() -> None:
    """Task groups raise them; a circle ends, too."""

    def inner() -> BaseException:
        try:
            deep(SECRET, OSError())
        except OSError as error:
            return error
        raise AssertionError

    one, two = inner(), inner()
    assert one.__cause__ is not None
    one.__cause__.__context__ = one
    group = BaseExceptionGroup("both", [one, two])
    with pytest.raises(RuntimeError), no_values():
        raise RuntimeError from group
    assert {one.__traceback__, two.__traceback__, two.__cause__.__traceback__} == {None}  # type: ignore[union-attr]


async def test_a_call_that_is_cut_off_leaves_nothing_either() -> None:
    """A time-out of the caller's is raised from what came out of ours."""

    async def ours(code: str) -> None:
        with no_values():
            await asyncio.sleep(len(code) * 60)

    async def backend() -> BaseException | None:
        try:
            async with asyncio.timeout(0):
                await ours(SECRET)
        except TimeoutError as error:
            return error.__cause__
        return None

    cut = await backend()
    assert isinstance(cut, asyncio.CancelledError)
    assert frames(cut.__traceback__) == ["backend", "ours"]


def test_nothing_happens_where_nothing_fails() -> None:
    """And it may be entered on and on."""
    guard = no_values()
    with guard:
        pass
    with guard:
        pass

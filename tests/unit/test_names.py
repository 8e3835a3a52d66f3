"""Names of claims and commands: two that are alike would take one's effect for the other's."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from checkpoint_worker.tasks.storage import ids as names
from checkpoint_worker.tasks.storage.ids import process_unique_id, this_process

FORKS: Final[dict[str, Callable[[], int]]] = {
    "Python's": os.fork,
    # As a C program does it: none of Python's hooks runs in the child.
    "C's": ctypes.PyDLL(None).fork,
}
THREADS: Final = 8
# Newer Pythons warn of a fork beside threads, which a runner of tests may have.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def told_by_a_child(fork: Callable[[], int], tell: Callable[[], str]) -> str:
    """Fork a process; return what it tells."""
    reader, writer = os.pipe()
    if (child := fork()) == 0:
        try:
            os.write(writer, tell().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


def test_names_differ_and_are_short_words() -> None:
    """They stand in the ledger and in a message's delivery tag."""
    made = [process_unique_id() for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert all(len(name) == 16 and set(name) <= set("0123456789abcdef") for name in made)


@pytest.mark.parametrize("fork", FORKS.values(), ids=list(FORKS))
def test_a_forked_process_makes_other_names_than_its_parent(
    fork: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that forks its processes would have them take each other's commands for repeats."""
    monkeypatch.setattr("time.time_ns", lambda: 0)  # The processes have to tell them apart.
    told = [told_by_a_child(fork, process_unique_id) for _ in range(3)]
    assert len({*told, *(process_unique_id() for _ in range(3))}) == 6
    assert {len(name) for name in told} == {16}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux clears memory at a fork")
def test_a_forked_process_is_told_by_more_than_its_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pid is given again, and in a namespace of its own a child may have its parent's."""
    pid, name = os.getpid(), this_process().name
    monkeypatch.setattr("os.getpid", lambda: pid)
    told = told_by_a_child(FORKS["C's"], lambda: this_process().name)
    assert told not in {"", name}
    assert this_process().name == name


def test_a_forked_process_is_told_by_its_pid_where_memory_is_not_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on other kernels than Linux."""
    name = this_process().name
    monkeypatch.setattr(names, "_page", bytearray([1]))
    told = told_by_a_child(FORKS["C's"], lambda: this_process().name)
    assert told not in {"", name}


def test_threads_that_notice_a_fork_at_once_are_one_process() -> None:
    """Else one of two threads would go on with connections and a name that nobody else knows."""

    def tell() -> str:
        meet = threading.Barrier(THREADS)

        def look(_: int) -> str:
            meet.wait()
            return this_process().name

        with ThreadPoolExecutor(THREADS) as crowd:
            return " ".join(crowd.map(look, range(THREADS)))

    told = told_by_a_child(FORKS["Python's"], tell).split()
    assert len(told) == THREADS
    assert len(set(told)) == 1


def test_a_machine_that_was_copied_makes_other_names_than_its_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A snapshot that is resumed twice has one pid and one seed, and two instants."""
    process = this_process()
    state = process.random.getstate()
    first = process_unique_id()
    process.random.setstate(state)
    assert process_unique_id() != first
    monkeypatch.setattr("time.time_ns", lambda: 0)  # The random part is not what tells them apart.
    process.random.setstate(state)
    again = process_unique_id()
    process.random.setstate(state)
    assert process_unique_id() == again

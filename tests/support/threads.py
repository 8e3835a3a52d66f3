"""A process in which no further thread can be started."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def no_thread_starts(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Let the start of threads fail whose names begin so, as it does at a limit of the system."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread, *args: Any) -> None:
        if thread.name.startswith(name):
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread, *args)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield

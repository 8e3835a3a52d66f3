"""Ends a process of ours with its parent, or on SIGTERM and SIGHUP in the same way as on Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Final

LEAVE_S: Final = 5.0
"""Time for an orderly end after the parent's pipe has closed; then the process exits with 1."""


@contextlib.contextmanager
def ends_as_interrupted() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end a program as Ctrl-C does, with its clean-up."""

    def interrupt(_number: int, _frame: object) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # A shell ignores SIGINT for `… &`.
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    ends = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in ends]
    try:
        yield
    finally:
        for number, handler in zip(ends, before, strict=True):
            signal.signal(number, handler)


def end_with_stdin() -> None:
    """End this process when its stdin closes: the process that started it has ended."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(LEAVE_S)
        os._exit(1)

    threading.Thread(target=watch, name="stdin", daemon=True).start()

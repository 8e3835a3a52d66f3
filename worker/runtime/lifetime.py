"""Ends a process of ours with its parent, or on SIGTERM and SIGHUP in the same way as on Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from checkpoint_worker.worker.runtime.stop_signals import unblock

WORKER_SHUTDOWN_TIMEOUT_S: Final = 5.0
"""Time for an orderly end after the parent's pipe has closed; then the process exits with 1."""
WARM_STOP_S: Final = 60.0
"""Shortest bound of a worker's warm stop; jobs end by their deadline and drain, after 35 s."""
STOP_BEYOND_S: Final = 10.0
"""Time that a warm stop waits for running attempts beyond the instant at which their last outcome
is due."""
WIND_DOWN_S: Final = 20.0
"""Longest time from the end of a warm stop's wait to the end of the process: the bounds of the pool
for cancelled jobs, background coroutines and its loop add up to 19 s."""


def warm_stop_s(deadline_s: float, drain_s: float) -> float:
    """Return how long a worker that was asked to stop waits for attempts in flight, seconds."""
    return max(WARM_STOP_S, deadline_s + drain_s + STOP_BEYOND_S)


def stop_bound_s(deadline_s: float, drain_s: float) -> float:
    """Return the time after which a worker that was asked to stop has ended, seconds."""
    return warm_stop_s(deadline_s, drain_s) + WIND_DOWN_S


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
        unblock()
        yield
    finally:
        for number, handler in zip(ends, before, strict=True):
            signal.signal(number, handler)


def end_with_stdin() -> None:
    """End this process when its stdin closes: the process that started it has ended."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass

    _end_after(wait, WORKER_SHUTDOWN_TIMEOUT_S)


def end_with_peer(number: int, leave_s: float) -> None:
    """End this process when the other end of a socket closes; what is sent over it is left there.

    Args:
        number: File descriptor of a socket of a pair.
        leave_s: Time for an orderly end; then the process exits with 1.
    """
    poll = select.poll()
    poll.register(number, 0)  # A hang-up is reported without being asked for.
    _end_after(poll.poll, leave_s)


def _end_after(wait: Callable[[], object], leave_s: float) -> None:
    def watch() -> None:
        wait()
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(leave_s)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()

"""Ends a service that is asked to stop before Celery, uvicorn or Flower handle signals.

The kernel drops SIGTERM for process 1 of a container that has no handler for it. A worker stopped
during its start would then become ready, take codes and be killed with them. Therefore the first
import of this package installs the handlers, before any slow step. They stay until the service
installs its own, which replace them in one step.

Until then the service has taken no work, so the process ends at once with exit status 0, as at a
warm stop. This module imports only modules that the interpreter has loaded already.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` without its enums, which cost 3 ms.
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STOPPED = 0
"""Exit status of a service that is stopped before it was ready: it had taken no work."""
PROMPT_S = 1.0
"""Time for an orderly end of a worker that is not ready."""
CELERY_VALUES = frozenset(
    {"-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"}
)
"""Options before Celery's command that are followed by a value."""
STOPS = (_signal.SIGTERM, _signal.SIGINT)
HANDLED = (*STOPS, _signal.SIGQUIT, _signal.SIGHUP, _signal.SIGUSR1, _signal.SIGCHLD)
"""Signals that a service of ours handles at some time of its life."""
SERVICES = {
    (False, "worker"): STOPS,
    (True, "worker"): STOPS,
    (False, "gateway"): STOPS,
    (False, "up"): (_signal.SIGTERM,),
    (False, "sandbox"): (_signal.SIGTERM,),
    (False, "flower"): (_signal.SIGTERM,),
    (True, "flower"): (_signal.SIGTERM,),
}
"""Maps (whether Celery's program runs it, command) to the signals that stop the service.

Other commands return a result: their end by a signal is a failure.
"""

_cleanups: list[Callable[[], object]] = []


def signals_of(argv: Sequence[str], started: Sequence[str]) -> tuple[int, ...]:
    """Return the signals that stop this process, or none if it is no service of ours.

    A service that handles Ctrl-C itself keeps its KeyboardInterrupt.

    Args:
        argv: ``sys.argv``; while a package is imported for ``python -m`` it begins with ``-m``.
        started: ``sys.orig_argv``.
    """
    name, words = program(argv, started), argv[1:]
    if name == "checkpoint_worker.worker.monitor":
        command = "flower"
    elif name == "celery":
        command = _celery_command(words)
    else:
        command = (
            words[0] if words and name in {"checkpoint", "checkpoint_worker.worker.cli"} else ""
        )
    return SERVICES.get((name == "celery", command), ())


def program(argv: Sequence[str], started: Sequence[str]) -> str:
    """Return the name of the program, or of the module run by ``python -m``."""
    path = argv[0] if argv else ""
    if path == "-m":
        return started[started.index("-m") + 1] if "-m" in started else ""
    folder, name = os.path.split(path)
    return os.path.basename(folder) if name == "__main__.py" else name  # noqa: PTH119  no imports


def _celery_command(words: Sequence[str]) -> str:
    skip = False
    for word in words:
        if skip or word.startswith("-"):
            skip = word in CELERY_VALUES and not skip
        else:
            return word
    return ""


def install(signals: Sequence[int]) -> None:
    """End this process at these signals until the service installs its own handlers.

    SIGINT stays ignored where it was ignored: a shell starts background jobs in that way.
    """
    if not signals:
        return
    try:
        for number in signals:
            if number == _signal.SIGTERM or _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, _end)
    except ValueError:  # Not the main thread: a program that imports this there is no service.
        return
    unblock()


def unblock() -> None:
    """Let this thread, and the threads and processes that it starts, receive the signals of ours.

    A process inherits the signals that its starter has blocked, for example a program that waits
    for them with ``sigwait``. A blocked SIGTERM stays pending, and the service never stops. Call
    it after the handlers are installed: a pending signal is delivered here.
    """
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, HANDLED)


def before_end(cleanup: Callable[[], object]) -> None:
    """Register a function that runs before the process ends here, such as removing a PID file."""
    _cleanups.append(cleanup)


def _end(_number: int, _frame: object) -> None:
    for cleanup in _cleanups:
        try:
            cleanup()
        except Exception:  # noqa: BLE001, S112  the process ends in any case
            continue
    os._exit(STOPPED)


def end_promptly() -> Callable[[], None]:
    """Bound the stop of a worker that is still starting; return a function that lifts the bound.

    Celery's handlers run on the main thread, which may be blocked in the C library, for example
    while it resolves a name and no server answers. The thread started here receives the signal at
    once. The main thread calls the returned function when the worker is ready; from then on a stop
    waits for the work in flight.
    """
    import threading  # noqa: PLC0415  see the module

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    ready = threading.Event()

    def watch() -> None:
        while number := os.read(reading, 1):
            if number[0] in STOPS and not ready.wait(PROMPT_S):
                _end(number[0], None)
        os.close(reading)

    def done() -> None:
        if ready.is_set():  # Celery calls this again after each lost broker connection.
            return
        ready.set()
        _signal.set_wakeup_fd(before)
        os.close(writing)

    try:
        threading.Thread(target=watch, name="checkpoint-stop", daemon=True).start()
    except RuntimeError:  # No thread can be started: nothing would read the pipe.
        os.close(reading)
        os.close(writing)
        raise
    before = _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return done


install(signals_of(sys.argv, sys.orig_argv))

"""Ends a service that is asked to stop before Celery, uvicorn or Flower listen for signals.

The kernel drops SIGTERM for process 1 of a container while that has no handler: a worker stopped
while it starts would become ready, take codes and be killed with them. So the handler here is
installed by the first import of this package, before anything that takes time, and stays until
those who serve install their own, which replaces it in one step.

Until then nothing was taken, so the process ends at once, as a warm end: exit status 0. This
module imports only what the interpreter has loaded already.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` without the enums, which cost 3 ms.
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STOPPED = 0
"""Exit status of a service that was asked to stop before it was ready: it took nothing."""
PROMPT_S = 1.0
"""How long a worker that is not ready may take for an orderly end."""
CELERY_VALUES = frozenset(
    {"-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"}
)
"""Options before Celery's command that are followed by a value."""
STOPS = (_signal.SIGTERM, _signal.SIGINT)
SERVICES = {
    (False, "worker"): STOPS,
    (True, "worker"): STOPS,
    (False, "gateway"): STOPS,
    (False, "up"): (_signal.SIGTERM,),
    (False, "sandbox"): (_signal.SIGTERM,),
    (False, "flower"): (_signal.SIGTERM,),
    (True, "flower"): (_signal.SIGTERM,),
}
"""What runs until it is asked to stop (by Celery's command, which): by which signals.

Other commands have a result to tell: one that was ended has not ended well."""

_cleanups: list[Callable[[], object]] = []


def signals_of(argv: Sequence[str], started: Sequence[str]) -> tuple[int, ...]:
    """Return the signals by which this process is asked to stop, if it is a service of ours.

    Those that clean up at Ctrl-C themselves are left their KeyboardInterrupt.

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
    """Return the name of the program, or of the module that is run by ``python -m``."""
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
    """End this process at these signals until others handle them.

    SIGINT stays ignored where it was: a shell starts background jobs so.
    """
    try:
        for number in signals:
            if number == _signal.SIGTERM or _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, _end)
    except ValueError:  # Not the main thread: whoever imports this there is no service.
        return


def before_end(cleanup: Callable[[], object]) -> None:
    """Have something done before the process ends here, such as removing a PID file."""
    _cleanups.append(cleanup)


def _end(_number: int, _frame: object) -> None:
    for cleanup in _cleanups:
        try:
            cleanup()
        except Exception:  # noqa: BLE001, S112  it ends all the same
            continue
    os._exit(STOPPED)


def end_promptly() -> Callable[[], None]:
    """Bound the end of a worker that is asked to stop while it starts; return what ends that.

    Celery's handlers wait for the main thread, which may be inside the C library, looking up a
    name that no server answers. The thread here hears of the signal at once. The function that is
    returned is called by the main thread when the worker is ready: from then on what is in
    flight ends first.
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
        if ready.is_set():  # Celery says so again after each lost connection to the broker.
            return
        ready.set()
        _signal.set_wakeup_fd(before)
        os.close(writing)

    before = _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=watch, name="checkpoint-stop", daemon=True).start()
    return done


install(signals_of(sys.argv, sys.orig_argv))

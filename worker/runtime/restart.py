"""SIGHUP restarts a worker with the command that started it.

Celery restarts the program as ``python SCRIPT ARGUMENTS``, from ``sys.argv``. For ``python -m
celery`` the script is then a module of Celery run as a plain file, whose folder shadows other
modules: the new program fails at its first imports, and the worker has ended for good. Options of
the interpreter are lost too.

Celery also installs its handler where the starter ignores SIGHUP. ``nohup`` does that so that a
closed terminal changes nothing; the worker must not restart there.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Final

from celery import platforms
from celery.apps import worker as celery_worker

_install: Final = celery_worker.install_worker_restart_handler


def restart_as_started() -> None:
    """Make Celery restart this worker by the same command, and not at an ignored SIGHUP."""
    celery_worker._reload_current_worker = _start_again  # noqa: SLF001  it has no public name
    celery_worker.install_worker_restart_handler = _install_unless_ignored


def command() -> list[str]:
    """Return the command that started this process, with the interpreter that runs it."""
    return [sys.executable, *sys.orig_argv[1:]]


def _start_again() -> None:
    platforms.close_open_fds([sys.__stdin__, sys.__stdout__, sys.__stderr__])
    words = command()
    os.execv(words[0], words)  # noqa: S606  our own program


def _install_unless_ignored(worker: Any, sig: str = "SIGHUP") -> None:  # noqa: ANN401  Celery's
    if signal.getsignal(signal.Signals[sig]) is not signal.SIG_IGN:
        _install(worker, sig)

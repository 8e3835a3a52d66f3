"""Environment variables of other programs, which a process of ours neither heeds nor keeps.

Celery, uvicorn, prometheus_client and the TLS contexts of redis-py and amqp read variables that a
machine or a container sets for another program: another Celery application's broker, the number
of a web server's processes, the folder of its metrics, a developer's key log. `forget_foreign`
removes them, in a process that is ours alone, before the libraries are imported. This module
therefore imports none of them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Final

FOREIGN: Final = re.compile(
    r"(?:CELERY|CELERYD|CELERYBEAT|CELERYEV|KOMBU)_\w+"
    # Options of the `celery` command, some of them with common names.
    r"|APP|BROKER_URL|RESULT_BACKEND|LOADER|CONFIG_MODULE|SKIP_CHECKS"
    # Switches for the development of Celery.
    r"|AUTOSCALE_KEEPALIVE|C_[A-Z_]+|DISABLE_TRACEBACKS|EVENTLET_NOBLOCK|FORKED_BY_MULTIPROCESSING"
    r"|MP_LOG|MP_MAIN_FILE|NOSETPS|PICKLE_PROTOCOL|REMAP_SIGTERM|TIMER_DEBUG|USE_FAST_LOCALS"
    # The files in which the processes of a web server count: not there, or the server's.
    r"|PROMETHEUS_MULTIPROC_DIR|prometheus_multiproc_dir"
    # The processes of a web server; uvicorn fails at what is no number.
    r"|WEB_CONCURRENCY"
    # They write to a file or a log what is secret: the keys of TLS sessions, the settings.
    r"|SSLKEYLOGFILE|PYDANTIC_SETTINGS_DEBUG"
)
"""Pattern of the variables that our libraries read and this program ignores."""

_forgotten: Final[dict[str, None]] = {}


def foreign_variables(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names of other programs' variables, removed ones included."""
    environ = os.environ if environ is None else environ
    return tuple(sorted({*_forgotten, *filter(FOREIGN.fullmatch, environ)}))


def forget_foreign(environ: MutableMapping[str, str] | None = None) -> tuple[str, ...]:
    """Remove the variables of other programs from the environment of a process of ours.

    Do not call it in a process that another application shares, which needs them.

    Returns:
        The names for a report; never the values.
    """
    if environ is None:
        environ = os.environ
        _count_in_memory()
    names = foreign_variables(environ)
    for name in names:
        if environ.pop(name, None) is not None:
            _forgotten[name] = None
    return names


def _count_in_memory() -> None:
    """Take back what prometheus_client has chosen by a variable, if it is imported already.

    Celery's command imports Flower's, and with it this library, before any app of ours.
    """
    if values := sys.modules.get("prometheus_client.values"):
        vars(values)["ValueClass"] = vars(values)["MutexValue"]

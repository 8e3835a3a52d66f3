"""Celery apps of our own: other programs' variables do not reach them.

Celery asks the environment for its broker, backend, loader and configuration before it looks at
what an app was given, and its command reads more. In a process of a web backend these variables
belong to the backend's own Celery application; around a worker they are left over. `OwnCelery`
listens to none of them, so ``CHECKPOINT_*`` alone counts; `forget_foreign` takes them away from a
process that is ours, for what Celery's command would make of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from celery import Celery
from celery.app.utils import Settings as CelerySettings
from celery.loaders.app import AppLoader

FOREIGN: Final = re.compile(
    r"(?:CELERY|CELERYD|CELERYBEAT|CELERYEV|KOMBU)_\w+"
    # Options of the `celery` command, some with names that any program may use.
    r"|APP|BROKER_URL|RESULT_BACKEND|LOADER|CONFIG_MODULE|SKIP_CHECKS"
    # Switches for those who work on Celery.
    r"|AUTOSCALE_KEEPALIVE|C_[A-Z_]+|DISABLE_TRACEBACKS|EVENTLET_NOBLOCK|FORKED_BY_MULTIPROCESSING"
    r"|MP_LOG|MP_MAIN_FILE|NOSETPS|PICKLE_PROTOCOL|REMAP_SIGTERM|TIMER_DEBUG|USE_FAST_LOCALS"
)
"""Variables that Celery and its libraries read, and that mean nothing to this program."""

_forgotten: Final[dict[str, None]] = {}


class OwnLoader(AppLoader):  # type: ignore[misc]  # Celery has no types.
    """Reads no configuration module, whatever ``CELERY_CONFIG_MODULE`` names."""

    def read_configuration(self, env: str = "") -> dict[str, Any]:  # noqa: ARG002  Celery's
        """Return nothing: an app is told everything by its maker."""
        return {}


class _OwnSettings(CelerySettings):  # type: ignore[misc]
    """Celery's settings as they were set, without its look at ``os.environ``."""

    @property
    def broker_url(self) -> Any:  # noqa: ANN401  Celery's
        return self.first("broker_url", "broker_host")

    @property
    def broker_read_url(self) -> Any:  # noqa: ANN401
        return self.get("broker_read_url") or self.broker_url

    @property
    def broker_write_url(self) -> Any:  # noqa: ANN401
        return self.get("broker_write_url") or self.broker_url

    @property
    def result_backend(self) -> Any:  # noqa: ANN401
        return self.first("result_backend")


class OwnCelery(Celery):  # type: ignore[misc]
    """A Celery app that is configured by its maker alone."""

    def __init__(self, *, set_as_current: bool = True) -> None:
        """Make an app; its configuration follows."""
        super().__init__(
            "checkpoint",
            loader="checkpoint_worker.tasks.operations.celery_app:OwnLoader",
            fixups=(),  # Celery's only one sets up a Django project that a variable names.
            set_as_current=set_as_current,
        )
        # Celery makes it itself and loads into it later. To assign would be one of its settings.
        object.__setattr__(self._conf, "__class__", _OwnSettings)


def foreign_variables(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names of other Celery applications' variables, and those taken away before."""
    environ = os.environ if environ is None else environ
    return tuple(sorted({*_forgotten, *filter(FOREIGN.fullmatch, environ)}))


def forget_foreign(environ: MutableMapping[str, str] | None = None) -> tuple[str, ...]:
    """Take other Celery applications' variables away from a process that is ours.

    Not for a process that others share: their own Celery needs them.

    Returns:
        Their names, to be told; never their values.
    """
    environ = os.environ if environ is None else environ
    names = foreign_variables(environ)
    for name in names:
        if environ.pop(name, None) is not None:
            _forgotten[name] = None
    return names


__all__ = ["FOREIGN", "OwnCelery", "OwnLoader", "foreign_variables", "forget_foreign"]

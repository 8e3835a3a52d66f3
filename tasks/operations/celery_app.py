"""Celery apps that ignore the environment variables of other Celery applications.

Celery reads its broker, backend, loader and configuration from the environment before it reads an
app's own settings, and its command reads further variables. In the process of a web backend these
variables belong to the backend's own Celery application; in the environment of a worker they are
leftovers. `OwnCelery` ignores them, so only ``CHECKPOINT_*`` counts; `foreign.forget_foreign`
removes them from a worker's process, because Celery's command would use them.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.app.utils import Settings as CelerySettings
from celery.loaders.app import AppLoader


class OwnLoader(AppLoader):  # type: ignore[misc]  # Celery has no types.
    """A loader that reads no configuration module, also if ``CELERY_CONFIG_MODULE`` is set."""

    def read_configuration(self, env: str = "") -> dict[str, Any]:  # noqa: ARG002  Celery's
        """Return no configuration: the code that makes an app sets all of it."""
        return {}


class _OwnSettings(CelerySettings):  # type: ignore[misc]
    """Celery's settings without the values of ``os.environ``."""

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
    """A Celery app that only the code which makes it configures."""

    def __init__(self, *, set_as_current: bool = True) -> None:
        """Make an app without configuration, which the caller adds."""
        super().__init__(
            "checkpoint",
            loader="checkpoint_worker.tasks.operations.celery_app:OwnLoader",
            fixups=(),  # Celery's only fixup sets up a Django project that a variable names.
            set_as_current=set_as_current,
        )
        # Celery makes the settings object itself and fills it later, so its class is changed here.
        # A plain assignment would set a Celery setting of this name.
        object.__setattr__(self._conf, "__class__", _OwnSettings)

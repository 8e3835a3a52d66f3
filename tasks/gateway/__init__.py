"""The gateway: the HTTP endpoint over `AsyncCheckpointClient`.

`make_gateway` returns an application that runs on its own (``checkpoint gateway``) or is
mounted into a backend. The gateway keeps no state: if it ends, a submission goes on and can be
read by its id. It serves no pages, no documentation that loads foreign scripts, and no cookies.
"""

from __future__ import annotations

from checkpoint_worker.tasks.gateway.app import (
    Application,
    NoKeysError,
    close_gateway,
    make_gateway,
)
from checkpoint_worker.tasks.gateway.routes import Gateway

__all__ = ["Application", "Gateway", "NoKeysError", "close_gateway", "make_gateway"]

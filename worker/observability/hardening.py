"""Keeps the memory of a worker or a gateway to itself: for an instant it holds a code in clear.

No core dump, not even one that is piped to a collector, and no other process of the same user
may read its memory or its environment, which holds the secret keys. Root may.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

PR_SET_DUMPABLE: Final = 4
"""Of ``prctl(2)``. A limit of 0 alone does not stop a core that goes to a pipe (``core(5)``)."""


def keep_memory_private() -> None:
    """Forbid core dumps and peeking for this process; what it starts inherits the limit alone."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # Where a sandbox forbids it, the limit stands.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)

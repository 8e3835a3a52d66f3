"""Protects the memory of a worker or a gateway, which briefly holds a code in clear.

The process writes no core dump, not even to a collector's pipe, and other processes of the same
user cannot read its memory or its environment, which holds the secret keys. Root still can.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

PR_SET_DUMPABLE: Final = 4
"""An option of ``prctl(2)``. A core limit of 0 does not stop a dump to a pipe (``core(5)``)."""


def keep_memory_private() -> None:
    """Disable core dumps and ptrace for this process; its children inherit only the core limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # In a sandbox that forbids prctl, the core limit still applies.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)

"""Names that nobody else makes: of claims and commands in the ledger, of messages at the broker.

They tell two things apart and keep no secret. Asking the kernel for each would let go of Python's
global lock several times for every submission, and the worker's other thread takes it.
"""

from __future__ import annotations

import os
from random import Random
from typing import Final

BITS: Final = 64
_source: Final = Random()  # noqa: S311  a name, no secret; seeded by the kernel

# A forked process would go on with its parent's names, and take another's command for its own.
os.register_at_fork(after_in_child=_source.seed)


def new_name() -> str:
    """Return 16 hexadecimal digits, other than any before."""
    return f"{_source.getrandbits(BITS):016x}"


__all__ = ["new_name"]

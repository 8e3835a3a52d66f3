"""Finding where a head of HTTP ends in what a peer says, however small its pieces are."""

from __future__ import annotations

import re
from typing import Final

_BEGINS: Final = b"HTTP/"
_BLANK: Final = b"\r\n"
_END: Final = re.compile(rb"\n\r?\n")
"""Old servers and proxies leave out CR."""


class Heads:
    """Cuts one head after the other off what was heard.

    What was looked at once is not looked at again: fifty peers that sent a byte at a time made
    everybody's exchange wait, when each byte was a reason to begin anew.

    Attributes:
        end: Where the last head ends that was found.
        is_hopeless: Whether what follows it is no head, and never becomes one.
    """

    __slots__ = ("_looked", "end", "is_hopeless")

    def __init__(self) -> None:
        self.end = self._looked = 0
        self.is_hopeless = False

    def next_of(self, heard: bytearray) -> bytes | None:
        """Return the next head that is whole, with the blank line behind it, if there is one."""
        while self.end < len(heard) and heard[self.end] in _BLANK:
            self.end += 1
        if not _BEGINS.startswith(heard[self.end : self.end + len(_BEGINS)]):
            self.is_hopeless = True
            return None
        found = _END.search(heard, max(self.end, self._looked - 2))
        if found is None:
            self._looked = len(heard)
            return None
        head = bytes(heard[self.end : found.end()])
        self.end = self._looked = found.end()
        return head

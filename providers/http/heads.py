"""Finding where a head of HTTP ends in what a peer says, however small its pieces are."""

from __future__ import annotations

from typing import Final

_BEGINS: Final = b"HTTP/"
_BLANK: Final = b"\r\n"
_END: Final = b"\n\r\n"
_OLD_END: Final = b"\n\n"


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

    def next_of(self, heard: bytes | bytearray) -> bytes | None:
        """Return the next head that is whole, with the blank line behind it, if there is one."""
        if not heard.startswith(_BEGINS, self.end) and not self._may_begin(heard):
            self.is_hopeless = True
            return None
        start = max(self.end, self._looked - 2)
        end = heard.find(_END, start) + len(_END)
        # Old servers and proxies leave out CR.
        early = heard.find(_OLD_END, start, end if end >= start + len(_END) else len(heard))
        if early >= 0:
            end = early + len(_OLD_END)
        elif end < start + len(_END):
            self._looked = len(heard)
            return None
        head = bytes(heard[self.end : end])
        self.end = self._looked = end
        return head

    def _may_begin(self, heard: bytes | bytearray) -> bool:
        """Whether a head may begin behind the blank lines, which are skipped."""
        while self.end < len(heard) and heard[self.end] in _BLANK:
            self.end += 1
        return _BEGINS.startswith(heard[self.end : self.end + len(_BEGINS)])

"""Finding the end of an HTTP head in bytes that arrive in pieces of any size."""

from __future__ import annotations

from typing import Final

_BEGINS: Final = b"HTTP/"
_BLANK: Final = b"\r\n"
_END: Final = b"\n\r\n"
_OLD_END: Final = b"\n\n"


class Heads:
    """Finds one HTTP head after the other in the received bytes.

    The search continues where it stopped. When it started again at each piece, fifty peers that
    sent single bytes delayed all other exchanges.

    Attributes:
        end: Position at which the last head that was found ends.
        is_hopeless: Whether the bytes after it are no head and can never become one.
    """

    __slots__ = ("_looked", "end", "is_hopeless")

    def __init__(self) -> None:
        self.end = self._looked = 0
        self.is_hopeless = False

    def next_of(self, heard: bytes | bytearray) -> bytes | None:
        """Return the next complete head with the blank line after it, ``None`` if there is none."""
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
        """Skip blank lines; return whether a head may begin after them."""
        while self.end < len(heard) and heard[self.end] in _BLANK:
            self.end += 1
        return _BEGINS.startswith(heard[self.end : self.end + len(_BEGINS)])

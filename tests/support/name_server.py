"""A name server on the loopback that answers some names and is silent about others."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Final, Self

SILENT: Final = "dead"
"""A name whose first label begins so is never answered: its own name server is dead."""
_TYPES: Final = {1: "A", 28: "AAAA"}
_OK: Final = 0x8180
_NO_SUCH_NAME: Final = 0x8183


class NameServer:
    """Answers over UDP what it is told.

    Args:
        addresses: Name to its addresses; other names do not exist, but for silent ones.
        aliases: Name to what it is another name of (CNAME).
    """

    def __init__(
        self, addresses: dict[str, list[str]], aliases: dict[str, str] | None = None
    ) -> None:
        self._addresses, self._aliases = addresses, aliases or {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.asked: list[str] = []
        """Names in the order of the questions, each with its kind: ``a.test A``."""

    @property
    def address(self) -> str:
        """Where it listens, ``address:port``."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        stop = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stop.sendto(b"", self._socket.getsockname())  # A thread in recvfrom hears of no close.
        stop.close()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, client = self._socket.recvfrom(4096)
            if not question:
                return
            if (answer := self._answer(question)) is not None:
                self._socket.sendto(answer, client)

    def _answer(self, question: bytes) -> bytes | None:
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kind = _TYPES.get(struct.unpack(">H", question[at + 1 : at + 3])[0], "")
        name = ".".join(labels).lower()
        self.asked.append(f"{name} {kind}")
        if name.startswith(SILENT):
            return None
        records = []
        if (alias := self._aliases.get(name)) is not None:
            target = b"".join(bytes([len(part)]) + part.encode() for part in alias.split("."))
            records.append(struct.pack(">HHHIH", 0xC00C, 5, 1, 0, len(target) + 1) + target + b"\0")
        known = self._addresses.get(alias or name)
        for text in known or ():
            family = socket.AF_INET6 if ":" in text else socket.AF_INET
            if (kind == "AAAA") is (family == socket.AF_INET6):
                packed = socket.inet_pton(family, text)
                # The alias' name follows the question and the fixed part of its record.
                owner = 0xC00C if alias is None else 0xC000 | (at + 5 + 12)
                number = 28 if kind == "AAAA" else 1
                records.append(struct.pack(">HHHIH", owner, number, 1, 0, len(packed)) + packed)
        status = _NO_SUCH_NAME if known is None else _OK
        head = question[:2] + struct.pack(">HHHHH", status, 1, len(records), 0, 0)
        return head + question[12 : at + 5] + b"".join(records)

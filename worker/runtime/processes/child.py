"""The part of the supervisor inside each child: which one it is, and its channel.

The stdin of a child is one end of a pair of sockets. Over it the supervisor asks the child's health
pages, and its close tells the child that the supervisor has ended, even by SIGKILL: the child then
takes nothing more, lets what is in flight end, and ends.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Final

from checkpoint_worker.worker.runtime.lifetime import end_with_peer

STDIN: Final = 0


@dataclass(slots=True)
class Child:
    """The role of this process under its supervisor.

    Attributes:
        number: 1 for the first child, ``None`` in a process without a supervisor.
        channel: The connection for the health pages, ``None`` in a process without a supervisor.
    """

    number: int | None = None
    channel: socket.socket | None = None

    def node_name(self, given: str) -> str:
        """Return the name of this process for Celery: the name that was given, made unique.

        Args:
            given: ``name@host``, as Celery has it after its options are parsed.
        """
        name, _, host = given.rpartition("@")
        return f"{name}-{self.number}@{host}"


CHILD: Final = Child()
"""The instance of this process."""


def become(number: int, leave_s: float) -> None:
    """Make this process the child of the supervisor at its stdin.

    Args:
        number: 1 for the first child.
        leave_s: Longest time for an orderly end after the supervisor has ended, seconds.

    Raises:
        OSError: Stdin is no socket, so no supervisor has started this process.
    """
    CHILD.channel = socket.socket(fileno=os.dup(STDIN))
    CHILD.number = number
    end_with_peer(STDIN, leave_s)

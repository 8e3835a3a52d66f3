"""Decides when child processes are started, killed and given up; does none of that itself.

The first child is started alone. Once one has answered, all settings, options and the installation
are known to be good, and the others follow. From then on the failure of one child is not the
failure of the command.

================================ =================================================================
what happens                     what follows
================================ =================================================================
a child ends by itself, before   the command ends with its status: the settings, an option or the
any child has answered           installation is wrong, and the child has written a sentence
a child ends (crash, kill -9)    a new one after `DELAY_S`, doubled for each failure in a row up to
                                 `DELAY_MAX_S`; a child that answered for `STABLE_S` clears the row
each child has failed            the command ends, so that its service manager sees it
`FAILURES_MAX` times in a row
a child does not answer for      it is killed, as by a service manager's watchdog
`STUCK_S`, or `START_S` at first
a stop was requested             nothing is started; a child that runs after the bound is killed
a child alone was asked to stop  it is killed after the same bound, and replaced
================================ =================================================================

All times are seconds on the supervisor's clock, which stands still while the supervisor does: after
a suspended machine or a frozen container resumes, no child counts as silent for that time.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Final

DELAY_S: Final = 1.0
"""Pause before the first replacement, whatever ended the child: never a tight loop."""
DELAY_MAX_S: Final = 60.0
"""Longest pause. A start costs a second or two of CPU, so a child that always fails costs about
three percent of a core."""
STABLE_S: Final = 60.0
"""Time of answering after which earlier failures no longer count."""
FAILURES_MAX: Final = 5
"""Failures in a row at which a child counts as failing; if all do, the command ends."""
FAILURES_COUNTED: Final = 10
"""Failures up to which the pause doubles: after weeks of them the power would be no float."""
START_S: Final = 120.0
"""Longest time from the start of a child to its first answer; normally two seconds."""
STUCK_S: Final = 60.0
"""Longest time without an answer that says ``live``; systemd's ``WatchdogSec`` is as long."""
FAILED: Final = 1
"""Exit status of the command after a child that was killed or gave up codes."""
UNHEARD: Final = (-signal.SIGTERM, -signal.SIGINT)
"""Statuses of a child that was stopped while its interpreter started: it had taken no work."""


@dataclass(slots=True)
class Slot:
    """The place of one child; its number stays, its process changes.

    Attributes:
        number: 1 for the first child.
        pid: Process id, ``None`` while none runs.
        answering_s: First answer of the process, ``None`` before it.
        live_s: Last answer that said ``live``, or the start.
        draining_s: First answer that said that it was asked to stop, ``None`` before it.
        due_s: Earliest time of the next start.
        failures: Ends in a row of processes that had not become stable.
        killed: Whether the supervisor has killed the process.
    """

    number: int
    pid: int | None = None
    answering_s: float | None = None
    live_s: float = 0.0
    draining_s: float | None = None
    due_s: float = 0.0
    failures: int = 0
    killed: bool = False

    def is_stable(self, now_s: float) -> bool:
        """Whether the process has answered for `STABLE_S`."""
        return self.answering_s is not None and now_s - self.answering_s >= STABLE_S


@dataclass(slots=True)
class Supervision:
    """The state of all children of a command.

    Args:
        count: Number of children.
        drain_s: Time after a requested stop at which a child that still runs is killed.

    Attributes:
        slots: The children's places.
        proven: Whether any child has answered.
        status: Exit status of the command once it is decided, ``None`` before.
    """

    count: int
    drain_s: float
    slots: list[Slot] = field(init=False)
    proven: bool = False
    status: int | None = None
    _stop_s: float | None = None

    def __post_init__(self) -> None:
        self.slots = [Slot(number + 1) for number in range(self.count)]

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested, or the command has given up."""
        return self._stop_s is not None

    @property
    def ended(self) -> bool:
        """Whether the command has nothing left to wait for."""
        return self.stopping and all(slot.pid is None for slot in self.slots)

    def due(self, now_s: float) -> list[Slot]:
        """Return the children to start now."""
        if self.stopping:
            return []
        return [slot for slot in self._used() if slot.pid is None and slot.due_s <= now_s]

    def started(self, slot: Slot, pid: int, now_s: float) -> None:
        """Record the start of a process."""
        slot.pid, slot.live_s, slot.killed = pid, now_s, False

    def answered(self, slot: Slot, now_s: float, *, live: bool, draining: bool = False) -> None:
        """Record an answer of a child's health page."""
        self.proven = True
        if slot.answering_s is None:
            slot.answering_s = now_s
        if live:
            slot.live_s = now_s
        if draining and slot.draining_s is None:
            slot.draining_s = now_s

    def ended_with(self, slot: Slot, status: int, now_s: float, *, asked: bool = False) -> None:
        """Record the end of a process.

        Args:
            slot: The child.
            status: Its exit status; the negative number of the signal that killed it.
            now_s: The time.
            asked: Whether the supervisor asked it to end; then it is no failure.
        """
        if not asked:
            slot.failures = 0 if slot.is_stable(now_s) else slot.failures + 1
        slot.pid = slot.answering_s = slot.draining_s = None
        slot.due_s = now_s + _delay_s(slot.failures)
        if self.stopping:
            good = status == 0 or status in UNHEARD
            self.status = self.status or (0 if good else FAILED)
        elif (status >= 0 and not self.proven) or all(
            each.failures >= FAILURES_MAX and not each.is_stable(now_s) for each in self._used()
        ):
            # A child ends with 0 for `-- --help`; the 0 of a child that keeps ending is a failure.
            self.status = FAILED if status < 0 or (status == 0 and self.proven) else status
            self._stop_s = now_s

    def stuck(self, now_s: float) -> list[Slot]:
        """Return the children to kill now, each once."""
        found = [slot for slot in self.slots if slot.pid and not slot.killed]
        if self._stop_s is None:
            found = [slot for slot in found if self._hangs(slot, now_s)]
        elif now_s - self._stop_s < self.drain_s:
            found = []
        for slot in found:
            slot.killed = True
        return found

    def _hangs(self, slot: Slot, now_s: float) -> bool:
        """Whether a child is silent, or was asked to stop by any process and does not end."""
        patience_s = START_S if slot.answering_s is None else STUCK_S
        since_s = now_s if slot.draining_s is None else slot.draining_s
        return now_s - slot.live_s >= patience_s or now_s - since_s >= self.drain_s

    def stop(self, now_s: float) -> None:
        """Record that a stop was requested; the status is 0 until a child ends by an error."""
        if self._stop_s is None:
            self._stop_s, self.status = now_s, 0

    def _used(self) -> list[Slot]:
        """Return the places in use: the first alone until a child has answered."""
        return self.slots if self.proven else self.slots[:1]


def _delay_s(failures: int) -> float:
    doubled: int = 1 << min(max(0, failures - 1), FAILURES_COUNTED)
    return min(DELAY_MAX_S, DELAY_S * doubled)

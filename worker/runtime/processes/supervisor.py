"""Runs several workers as child processes under one command, with one drain and one health address.

The supervisor takes no codes and has no connection to Redis. A child is a fresh interpreter, not a
fork of a warmed one, and is a complete worker: its own name in the ledger and in Flower, its own
connections and limits. The children write to the supervisor's stderr themselves, so a supervisor
that stands still holds up neither codes nor log lines.

Signals: SIGTERM, SIGINT and SIGQUIT go on to every child, SIGUSR1 (stacks into the log) too. SIGHUP
replaces the children one after the other where stdout is no terminal, as it restarts a single
worker. Each child has a process group of its own, so Ctrl-C reaches it through the supervisor alone
and not twice.

No child outlives the supervisor by more than one drain; see `child`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import structlog

from checkpoint_worker.tasks.operations.foreign import foreign_variables
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.worker.observability import logs
from checkpoint_worker.worker.observability.hardening import keep_memory_private
from checkpoint_worker.worker.observability.pages import AddressError, Checks, fine
from checkpoint_worker.worker.observability.stdio import make_streams_fail_safe
from checkpoint_worker.worker.runtime.lifetime import stop_bound_s
from checkpoint_worker.worker.runtime.processes.channel import Channel
from checkpoint_worker.worker.runtime.processes.report import Report
from checkpoint_worker.worker.runtime.processes.rules import FAILED, Slot, Supervision
from checkpoint_worker.worker.runtime.stop_signals import unblock

TICK_S: Final = 0.5
"""Longest interval between two looks at the children; the end of one is noticed at once."""
STEP_MAX_S: Final = 2.0
"""Longest step of the supervisor's clock; a longer one means that the supervisor stood still."""
KILL_BEYOND_S: Final = 5.0
"""Time beyond the bound of a worker's own stop at which it is killed: 85 s with the usual
settings, within the 90 s that `deploy/` gives a service."""
STDOUT: Final = 1
STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
ALWAYS: Final = (signal.SIGTERM, signal.SIGCHLD)
"""Signals that are handled also where the starter ignored them."""
STRANGERS_MAX: Final = 100
"""Orphans that process 1 reaps at one look."""
MANAGER: Final = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
"""Variables by which a service manager addresses this process alone."""

log = structlog.get_logger("checkpoint.supervisor")


def supervise(settings: Settings, count: int, options: Sequence[str]) -> int:
    """Run several workers until a stop; return the exit status of the command.

    Args:
        settings: The settings, which the children read again.
        count: Number of children.
        options: Arguments after ``checkpoint worker`` in each child's command.
    """
    make_streams_fail_safe()
    logs.configure(settings)
    keep_memory_private()
    if foreign := foreign_variables():  # They are gone, and the children know of none.
        log.warning("environment.foreign", ignored=foreign)
    supervisor = Supervisor(
        Supervision(count, stop_bound_s(settings.deadline_s, settings.drain_s) + KILL_BEYOND_S),
        command=lambda number: worker_command(number, options),
        health_address=settings.health_address,
        heartbeat_file=settings.heartbeat_file,
    )
    return asyncio.run(supervisor.run())


def worker_command(number: int, options: Sequence[str]) -> list[str]:
    """Return the command of a child; like that of the supervisor it holds no secret."""
    # -P: modules of the working directory shadow none of ours, as with the console script.
    program = [sys.executable, "-P", "-m", "checkpoint_worker.worker.cli", "worker"]
    return [*program, "--child", str(number), *options]


class OwnClock:
    """A clock that stands still while this process does: suspended, stopped or starved."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_s = clock()
        self.now_s = 0.0

    def turn(self) -> float:
        """Advance to now; return the time in seconds."""
        now_s = self._clock()
        self.now_s += min(now_s - self._last_s, STEP_MAX_S)
        self._last_s = now_s
        return self.now_s


class Supervisor:
    """Starts and watches the children; `Supervision` decides.

    Args:
        supervision: The rules and the state of the children.
        command: Returns the command of a child by its number.
        health_address: ``host:port`` of the health pages, or ``None`` for none.
        heartbeat_file: Path of the heartbeat file, or ``None`` for none.
    """

    def __init__(
        self,
        supervision: Supervision,
        *,
        command: Callable[[int], Sequence[str]],
        health_address: str | None = None,
        heartbeat_file: str | None = None,
    ) -> None:
        self.report = Report(supervision, heartbeat_file)
        self._supervision = supervision
        self._command = command
        self._health_address = health_address
        self._clock = OwnClock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._signals: list[int] = []
        self._rolling: list[tuple[Slot, int]] = []
        """Children that are still to be replaced after SIGHUP, each with its process."""
        self._asked: int | None = None
        """The process that was asked last to end for its replacement."""
        self._wake = asyncio.Event()

    async def run(self) -> int:
        """Run until a stop, or until the rules give the command up; return the exit status."""
        self._hear(asyncio.get_running_loop())
        if self._health_address is not None:
            try:
                await self.report.pages.listen(self._health_address)
            except AddressError as error:
                log.critical("health.cannot_listen", why=str(error))
                return FAILED
        log.info("supervisor.started", processes=self._supervision.count)
        try:
            while not await self._turn():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), TICK_S)
                self._wake.clear()
        finally:
            await self._close()
        status = self._supervision.status or 0
        log.info("supervisor.ended", status=status)
        return status

    def _hear(self, loop: asyncio.AbstractEventLoop) -> None:
        """Install the signal handlers; a signal that is ignored (SIGINT after ``… &``) stays so.

        Not SIGCHLD: while it is ignored, the kernel reaps the children and their statuses are lost,
        so a failure would look like a good end.
        """

        def hear(number: int, _frame: object) -> None:
            if number != signal.SIGCHLD:
                self._signals.append(number)
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._wake.set)

        numbers = [*STOPS, signal.SIGUSR1, signal.SIGCHLD]
        if not os.isatty(STDOUT):
            numbers.append(signal.SIGHUP)
        # The handlers stay to the end of the process: a late signal must not change its status.
        for number in numbers:
            if number in ALWAYS or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, hear)
        unblock()  # The children inherit the mask, too.

    async def _turn(self) -> bool:
        """Run one turn: signals, ended children, silent children, starts.

        Returns:
            Whether the supervision has ended.
        """
        now_s = self._clock.turn()
        while self._signals:
            self._obey(self._signals.pop(0), now_s)
        for slot in self._supervision.slots:
            if slot.pid is not None:
                await self._reap(slot, now_s)
        if os.getpid() == 1:
            reap_strangers({process.pid for process in self._processes.values()})
        for slot in self._supervision.stuck(now_s):
            log.error(
                "process.killed", process=slot.number, pid=slot.pid, why="does not answer or end"
            )
            self._send(slot, signal.SIGKILL)
        self._roll()
        for slot in self._supervision.due(now_s):
            await self._start(slot, now_s)
        self.report.publish(now_s)
        return self._supervision.ended

    async def _start(self, slot: Slot, now_s: float) -> None:
        try:
            process, ours = _spawn(self._command(slot.number))
        except OSError as error:
            log.warning("process.not_started", process=slot.number, error=error.strerror)
            self._end(slot, FAILED, now_s)
            return
        self._processes[slot.number] = process
        self._supervision.started(slot, process.pid, now_s)
        channel = self.report.channels[slot.number] = Channel(
            lambda checks: self._heard(slot, process.pid, checks)
        )
        await channel.open(ours)
        log.info("process.started", process=slot.number, pid=process.pid)

    def _heard(self, slot: Slot, pid: int, checks: Checks) -> None:
        if slot.pid == pid:
            if not self._supervision.proven:
                self._wake.set()  # The others start now.
            self.report.heard(slot, checks, self._clock.now_s)

    async def _reap(self, slot: Slot, now_s: float) -> None:
        status = self._processes[slot.number].poll()
        if status is not None:
            del self._processes[slot.number]
            await self.report.channels.pop(slot.number).close()
            self.report.forget(slot)
            self._end(slot, status, now_s)

    def _end(self, slot: Slot, status: int, now_s: float) -> None:
        """Record the end of a child, or that it could not be started."""
        asked = self._supervision.stopping or (slot.pid is not None and slot.pid == self._asked)
        self._supervision.ended_with(slot, status, now_s, asked=asked)
        if asked:
            log.info("process.ended", process=slot.number, status=status)
            return
        self.report.ends[slot.number] += 1
        if not self._supervision.stopping:
            log.warning(
                "process.ended", process=slot.number, status=status, failures=slot.failures,
                starts_in_s=round(slot.due_s - now_s),
            )  # fmt: skip
            return
        if self._supervision.status:
            log.critical("supervisor.gives_up", process=slot.number, status=status)
        for each in self._supervision.slots:
            self._send(each, signal.SIGTERM)

    def _obey(self, number: int, now_s: float) -> None:
        """Pass a signal on; SIGHUP begins to replace the children."""
        if number == signal.SIGHUP:
            self._rolling = [(each, each.pid) for each in self._supervision.slots if each.pid]
            return
        if number in STOPS:
            if not self._supervision.stopping:
                log.info("supervisor.stopping", signal=signal.Signals(number).name)
            self._supervision.stop(now_s)
        for slot in self._supervision.slots:
            self._send(slot, number)

    def _roll(self) -> None:
        """Replace one child after the other: the next is asked when all others are ready again."""
        if not self._rolling or self._supervision.stopping:
            return
        slot, pid = self._rolling[0]
        if slot.pid == pid != self._asked:
            self._asked = pid
            self._send(slot, signal.SIGTERM)
        elif slot.pid != pid and fine(self.report.ready()):
            self._rolling.pop(0)

    def _send(self, slot: Slot, number: int) -> None:
        """Send a signal to a child that has not been reaped: its number is not another's."""
        if slot.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                self._processes[slot.number].send_signal(number)

    async def _close(self) -> None:
        """Close the pages and all channels, which ends a child that an error here has left."""
        for channel in self.report.channels.values():
            await channel.close()
        await self.report.close()


def _spawn(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a child; return it and our end of the channel, whose other end is its stdin.

    Raises:
        OSError: There is no memory, no place in the process table, or no such program.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = subprocess.Popen(  # noqa: S603  our own program
                command,
                stdin=theirs.fileno(),
                env={name: text for name, text in os.environ.items() if name not in MANAGER},
                process_group=0,
            )
    except OSError:
        ours.close()
        raise
    return process, ours


def reap_strangers(own: AbstractSet[int]) -> None:
    """Reap ended processes that are no children of ours: process 1 inherits the orphans.

    Args:
        own: The children, whose end has to be noticed elsewhere.
    """
    with contextlib.suppress(ChildProcessError):
        for _ in range(STRANGERS_MAX):
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or found.si_pid in own:
                return
            os.waitpid(found.si_pid, os.WNOHANG)

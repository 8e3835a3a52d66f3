"""When a child is started, replaced, killed and given up: the rules on a clock of the test."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator

import pytest

from checkpoint_worker.worker.runtime.lifetime import (
    STOP_BEYOND_S,
    WARM_STOP_S,
    WIND_DOWN_S,
    stop_bound_s,
)
from checkpoint_worker.worker.runtime.loop import BACKGROUND_STOP_S, LOOP_STOP_S
from checkpoint_worker.worker.runtime.pool import COLD_STOP_S
from checkpoint_worker.worker.runtime.processes.rules import (
    DELAY_MAX_S,
    DELAY_S,
    FAILURES_MAX,
    STABLE_S,
    START_S,
    STUCK_S,
    Slot,
    Supervision,
)
from checkpoint_worker.worker.runtime.processes.supervisor import (
    KILL_BEYOND_S,
    STEP_MAX_S,
    OwnClock,
)

DRAIN_S = 85.0


class Children:
    """Children without processes, and a clock."""

    def __init__(self, count: int = 3) -> None:
        self.rules = Supervision(count, DRAIN_S)
        self.now_s = 0.0
        self._pids = iter(range(100, 10**6))
        self.started: list[tuple[float, int]] = []
        """When which child was started."""

    def start(self) -> list[Slot]:
        """Start what is due."""
        due = self.rules.due(self.now_s)
        for slot in due:
            self.started.append((self.now_s, slot.number))
            self.rules.started(slot, next(self._pids), self.now_s)
        return due

    def answer(self, *, live: bool = True) -> None:
        """Let every child that runs answer."""
        for slot in self.rules.slots:
            if slot.pid is not None:
                self.rules.answered(slot, self.now_s, live=live)

    def end(self, number: int, status: int, *, asked: bool = False) -> None:
        """End a child."""
        self.rules.ended_with(self.rules.slots[number - 1], status, self.now_s, asked=asked)

    def serving(self) -> Children:
        """Let all of them run and answer."""
        self.start()
        self.answer()
        self.start()
        self.answer()
        return self

    def seconds(self, count: float) -> Iterator[None]:
        """Pass time, a second at a step, in which those that run answer."""
        for _ in range(round(count)):
            self.now_s += 1
            self.start()
            self.answer()
            yield


def test_the_others_start_when_the_first_has_answered() -> None:
    """What is wrong with the settings is said once, by one child, not by each of them."""
    children = Children()
    assert [slot.number for slot in children.start()] == [1]
    assert children.start() == []
    children.answer()
    assert [slot.number for slot in children.start()] == [2, 3]


@pytest.mark.parametrize(("status", "told"), [(2, 2), (1, 1), (73, 73), (0, 0)])
def test_a_child_that_cannot_start_ends_the_command_with_its_status(status: int, told: int) -> None:
    """A wrong setting stays wrong: another start would only say it again. 0 is ``-- --help``."""
    children = Children()
    children.start()
    children.end(1, status)
    assert (children.rules.status, children.rules.ended) == (told, True)
    children.now_s += 1_000
    assert children.start() == []


def test_a_first_child_that_is_killed_is_started_again_and_not_for_ever() -> None:
    """Out of memory is no matter of settings; a machine too small for one child never serves."""
    children = Children()
    for _ in range(FAILURES_MAX):
        assert children.rules.status is None
        children.start()
        children.end(1, -signal.SIGKILL)
        children.now_s += DELAY_MAX_S
    assert children.rules.status == 1
    assert children.rules.ended


def test_a_child_that_ends_is_replaced_and_the_others_go_on() -> None:
    """After a pause, under its own number."""
    children = Children().serving()
    children.end(2, -signal.SIGKILL)
    assert children.start() == []
    children.now_s += DELAY_S
    assert [slot.number for slot in children.start()] == [2]
    assert children.rules.status is None


def test_a_child_that_crashes_for_an_hour_costs_a_start_a_minute() -> None:
    """No storm: the pause doubles up to its bound, and what serves is not touched."""
    children = Children().serving()
    children.started.clear()
    for _ in children.seconds(3_600):
        if children.rules.slots[1].pid is not None:
            children.end(2, 1)
    times = [at_s for at_s, _ in children.started]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert {number for _, number in children.started} == {2}
    assert pauses[:5] == [2, 4, 8, 16, 32]
    assert set(pauses[5:]) == {DELAY_MAX_S}
    assert 55 <= len(times) <= 66
    assert children.rules.status is None


def test_a_child_that_crashes_for_a_month_still_has_its_pause() -> None:
    """A pause that doubles without end is no number any more."""
    children = Children(2).serving()
    children.now_s += STABLE_S
    for _ in range(5_000):
        children.end(2, 1)
        children.now_s += DELAY_MAX_S
        assert [slot.number for slot in children.start()] == [2]


def test_a_child_that_served_long_enough_begins_anew() -> None:
    """One crash a day is not the fifth of a row."""
    children = Children().serving()
    for _ in range(3 * FAILURES_MAX):
        for _ in children.seconds(DELAY_S + STABLE_S):
            pass
        for number in (1, 2, 3):
            children.end(number, 1)
    assert children.rules.status is None
    assert children.rules.slots[0].failures == 0


def test_the_command_ends_when_every_child_fails_in_a_row() -> None:
    """None serves: the service manager has to know, and sees the status of a child."""
    children = Children(2).serving()
    while children.rules.status is None:
        assert children.now_s < 10 * DELAY_MAX_S
        for number in (1, 2):
            if children.rules.slots[number - 1].pid is not None and not children.rules.stopping:
                children.end(number, 3)
        next(children.seconds(1))
    assert children.rules.status == 3
    assert all(slot.failures >= FAILURES_MAX for slot in children.rules.slots)


def test_children_that_keep_ending_well_are_no_good_end_of_the_command() -> None:
    """Status 0 would tell a service manager that all is done."""
    children = Children(1).serving()
    for _ in range(FAILURES_MAX):
        children.end(1, 0)
        children.now_s += DELAY_MAX_S
        children.start()
    assert children.rules.status == 1


def test_a_child_that_was_asked_to_end_has_not_failed() -> None:
    """SIGHUP five times in a minute is an operator, not a crash."""
    children = Children(1).serving()
    for _ in range(3 * FAILURES_MAX):
        children.end(1, 0, asked=True)
        children.now_s += DELAY_S
        assert len(children.start()) == 1
        children.answer()
    assert children.rules.status is None


def test_a_child_that_never_answers_is_killed_once() -> None:
    """It holds a place; a second SIGKILL would say nothing new."""
    children = Children()
    children.start()
    children.now_s = START_S - 1
    assert children.rules.stuck(children.now_s) == []
    children.now_s = START_S
    assert [slot.number for slot in children.rules.stuck(children.now_s)] == [1]
    assert children.rules.stuck(children.now_s + 1) == []


@pytest.mark.parametrize("answers", [True, False])
def test_a_child_that_is_not_alive_any_more_is_killed(*, answers: bool) -> None:
    """Whether it says nothing, or says that its loops stand still."""
    children = Children().serving()
    for _ in range(round(STUCK_S)):
        children.now_s += 1
        if answers:
            children.answer(live=False)
        for slot in children.rules.slots[1:]:
            children.rules.answered(slot, children.now_s, live=True)
    assert [slot.number for slot in children.rules.stuck(children.now_s)] == [1]


def test_a_child_stuck_in_its_drain_is_killed_at_the_bound() -> None:
    """And not before: its exchanges may still end. The command then says 1."""
    children = Children().serving()
    children.rules.stop(children.now_s)
    children.end(1, 0)
    children.end(2, 0)
    children.now_s += DRAIN_S - 0.1
    assert children.rules.stuck(children.now_s) == []
    children.now_s += 0.1
    assert [slot.number for slot in children.rules.stuck(children.now_s)] == [3]
    assert not children.rules.ended
    children.end(3, -signal.SIGKILL)
    assert (children.rules.status, children.rules.ended) == (1, True)


def test_a_child_that_alone_was_asked_to_stop_has_the_same_bound() -> None:
    """An operator may stop one; stuck in that, it would keep its place and take nothing."""
    children = Children().serving()
    for _ in range(round(DRAIN_S)):
        assert children.rules.stuck(children.now_s) == []
        for slot in children.rules.slots:
            drains = slot.number == 2
            children.rules.answered(slot, children.now_s, live=True, draining=drains)
        children.now_s += 1
    assert [slot.number for slot in children.rules.stuck(children.now_s)] == [2]
    children.end(2, -signal.SIGKILL)
    children.now_s += DELAY_S
    assert [slot.number for slot in children.start()] == [2]
    children.now_s += START_S - 1
    assert children.rules.slots[1] not in children.rules.stuck(children.now_s)


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        ((0, 0, 0), 0),
        ((0, -signal.SIGTERM, -signal.SIGINT), 0),
        ((0, 1, 0), 1),
        ((-signal.SIGQUIT, 0, 0), 1),
    ],
)
def test_the_status_of_a_stop_is_that_of_the_worst_child(
    statuses: tuple[int, ...], told: int
) -> None:
    """One stopped while its interpreter started had taken nothing; one that gave up codes had."""
    children = Children().serving()
    children.rules.stop(children.now_s)
    children.rules.stop(children.now_s + 1)
    for number, status in enumerate(statuses, 1):
        children.end(number, status)
    assert (children.rules.status, children.rules.ended) == (told, True)
    children.now_s += DELAY_MAX_S
    assert children.start() == []


def test_a_stop_before_the_first_answer_starts_nothing_more() -> None:
    """The first child alone has to end."""
    children = Children()
    children.start()
    children.rules.stop(0.0)
    children.answer()
    assert children.start() == []
    children.end(1, 0)
    assert (children.rules.status, children.rules.ended) == (0, True)


def test_the_bound_is_above_what_a_worker_takes_and_below_what_a_service_is_given() -> None:
    """Killed earlier, it would lose verdicts; later, the service manager would kill all."""
    wind_down_s = COLD_STOP_S + 2 * (BACKGROUND_STOP_S + LOOP_STOP_S)
    assert wind_down_s <= WIND_DOWN_S
    assert stop_bound_s(30.0, 5.0) == WARM_STOP_S + WIND_DOWN_S
    assert stop_bound_s(30.0, 5.0) + KILL_BEYOND_S < 90
    assert stop_bound_s(300.0, 5.0) == 305 + STOP_BEYOND_S + WIND_DOWN_S


def test_a_machine_that_was_suspended_kills_no_child() -> None:
    """All of them were silent for an hour, and so was the supervisor."""
    real_s = 1_000.0
    clock = OwnClock(lambda: real_s)
    real_s += 0.5
    assert clock.turn() == 0.5
    real_s += 3_600
    assert clock.turn() == 0.5 + STEP_MAX_S

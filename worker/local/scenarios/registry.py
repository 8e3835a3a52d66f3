"""The list of scenarios, and the decorator that adds a function to it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from checkpoint_worker.worker.local.scenarios.context import ScenarioContext
from checkpoint_worker.worker.local.scenarios.labels import LINKEDIN, SOURCES

Story = Callable[[ScenarioContext], Awaitable[None]]


class Start(enum.Enum):
    """The time at which a scenario starts."""

    WITH_WORKER = "as soon as a worker runs"
    BEFORE_WORKER = "while none runs; the stage is told when one may start"
    WITHOUT_WORKER = "at once; it needs none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario of the demo.

    Attributes:
        name: The name for ``--scenario``.
        about: A description in a few words.
        story: The function that runs it.
        provider: The provider that it uses.
        start: The time at which it starts.
    """

    name: str
    about: str
    story: Story
    provider: str = LINKEDIN
    start: Start = Start.WITH_WORKER


_ADDED: Final[list[Scenario]] = []


def scenario(
    name: str,
    *providers: str,
    about: str | None = None,
    start: Start = Start.WITH_WORKER,
) -> Callable[[Story], Story]:
    """Add the decorated function to the scenarios, once for each provider.

    Args:
        name: The name for ``--scenario``; ``{}`` stands for the provider.
        providers: The providers; LinkedIn by default.
        about: A description in a few words; by default the function's docstring.
        start: The time at which it starts.
    """

    def add(story: Story) -> Story:
        text = about or (story.__doc__ or "").rstrip(".")
        for provider in providers or (LINKEDIN,):
            _ADDED.append(
                Scenario(
                    name=name.format(provider.lower()),
                    about=text if text[1:2].isupper() else text[:1].lower() + text[1:],
                    story=story,
                    provider=provider,
                    start=start,
                )
            )
        return story

    return add


def added() -> tuple[Scenario, ...]:
    """Return the scenarios, those of one provider side by side, else in the order of addition."""
    order = list(SOURCES)
    return tuple(sorted(_ADDED, key=lambda each: order.index(each.provider)))

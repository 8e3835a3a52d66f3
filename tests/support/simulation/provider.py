"""The simulated provider and the way to it: one effect, an answer or silence, and a memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from checkpoint_worker.providers.contract import (
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    CodeFormat,
    CodeRequest,
    Context,
    ExchangeRefusedError,
    NetworkDownError,
    NextCheckpoint,
    ProviderTimeoutError,
    Rejected,
    Reply,
    Request,
    SessionMismatchError,
    UnreadableAnswerError,
    Verdict,
)

if TYPE_CHECKING:
    from tests.support.simulation.world import Process, World

SUBMISSION: ContextVar[str] = ContextVar("submission")
"""Whose attempt runs here; for the records of the simulation, not for the product."""

VERDICTS = ("cleared", "rejected", "next", "silence", "broken", "mismatch")
WEIGHTS = (3, 8, 3, 5, 3, 1)
URL = "https://provider.sim/code"


class SimContext(Context):
    """A context that changes with every answer, as the tokens of real ones do."""

    account_id: str
    token: int = 0


@dataclass(kw_only=True)
class Send:
    """A code that has reached the provider: the effect that must happen once."""

    member: str
    submission_id: str
    claim: str
    code: str
    generation: int
    process: Process
    at_s: float
    verdict: str
    closed_s: float | None = None
    heard_s: float | None = None


class SimExchange:
    """One attempt's way to the provider, which honours claim and ``send_before``."""

    def __init__(
        self, world: World, process: Process, claim: Callable[[], Awaitable[ClaimTicket]]
    ) -> None:
        self.world, self.process, self._claim = world, process, claim
        self._code_sent = False

    @property
    def code_sent(self) -> bool:
        return self._code_sent

    async def fetch(self, request: Request) -> Reply:
        await self._travel()
        return Reply(status=200, headers={})

    async def send_code(self, request: CodeRequest) -> Reply:
        await self._travel()
        self.world.landmark(self.process)
        ticket = await self._claim()
        self.world.landmark(self.process)
        await asyncio.sleep(0)  # Here the real one puts the body in place.
        if self.process.loop.time() > ticket.send_before:
            raise ExchangeRefusedError
        self._code_sent = True
        send = self.world.receive(self.process, request.headers, request.body(ticket.code).decode())
        try:
            self.world.landmark(self.process)
            await asyncio.sleep(self._patience_s(send))
            send.heard_s = self.world.clock.now_s
        finally:
            send.closed_s = self.world.clock.now_s
        self.world.note(self.process, f"answer to {send.submission_id}: {send.verdict}")
        return Reply(status=200, headers={}, body=send.verdict.encode())

    def _patience_s(self, send: Send) -> float:
        rng, limits = self.world.rng, self.world.store.limits
        if send.verdict == "silence":
            return 10_000.0
        whole_s = limits.provider_timeout_ms / 1000
        return rng.uniform(0.01, 0.5) if rng.random() < 0.5 else rng.uniform(0.5, 1.1 * whole_s)

    async def _travel(self) -> None:
        rng = self.world.rng
        dice = rng.random()
        if dice < 0.02:
            raise NetworkDownError
        if dice < 0.04:
            await asyncio.sleep(self.world.settings.connect_timeout_s)
            raise ProviderTimeoutError
        slow = rng.random() < 0.2
        await asyncio.sleep(rng.uniform(0.2, 1.5) if slow else rng.uniform(0.001, 0.1))


class SimAdapter:
    """Turns the provider's words into verdicts."""

    default_url = URL
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType({"http": SimContext})
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType({})
    knows_another_way = True

    def __init__(self, provider: str, *, prepares: bool) -> None:
        self.provider, self.prepares = provider, prepares

    async def verify(self, challenge: Challenge, exchange: SimExchange) -> Verdict:
        context = challenge.context
        assert isinstance(context, SimContext)
        if self.prepares:
            await exchange.fetch(Request(method="GET", url=URL))
        request = CodeRequest(
            method="POST",
            url=URL,
            headers={"account": context.account_id, "token": str(context.token)},
            body=str.encode,
        )
        reply = await exchange.send_code(request)
        after = context.model_copy(update={"token": context.token + 1})
        word, _, user_id = reply.text.partition(" ")
        match word:
            case "cleared":
                return Cleared(user_id=user_id, session=json.loads('{"cookie": "made-up"}'))
            case "rejected":
                return Rejected(context=after)
            case "next":
                app = Checkpoint(type="2FA", source="APP")
                return NextCheckpoint(checkpoint=app, context=after)
            case "mismatch":
                raise SessionMismatchError(context=after)
            case _:
                raise UnreadableAnswerError(context=after)


ADAPTERS = {
    "LINKEDIN": SimAdapter("LINKEDIN", prepares=False),
    "TWITTER": SimAdapter("TWITTER", prepares=True),
}


def adapter_for(provider: str, route: str | None = None) -> SimAdapter | None:
    """Stand for `providers.adapter_for`."""
    return ADAPTERS.get(provider)

"""The exchange of an attempt with a client session, over a `SessionChannel`."""

from __future__ import annotations

import asyncio
import secrets
from asyncio import Future
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Protocol

from checkpoint_worker.providers.contract import (
    ClaimTicket,
    CodeRequest,
    ExchangeRefusedError,
    NoChannelError,
    NoClientSessionError,
    NoHandlerError,
    ProviderTimeoutError,
    Reply,
    Request,
)
from checkpoint_worker.providers.live_session.protocol import (
    VERSION,
    AskedCheckpoint,
    AskMessage,
    CancelMessage,
    RequestHead,
)
from checkpoint_worker.providers.live_session.sealing import (
    DETAIL_UNREADABLE,
    Seal,
    SessionKeys,
    agree_with,
    open_answer,
    read_registration,
    seal_solution,
)

CANCEL_S: Final = 0.3
"""Timeout for the message that cancels a request at the session."""


class SessionChannel(Protocol):
    """The connection to one account's client session."""

    @property
    def reply_to(self) -> str:
        """The name of the channel for replies."""
        ...

    async def registration(self) -> str | None:
        """Return the session's registration, ``None`` if no session runs."""
        ...

    def reply(
        self, request_id: str, read: Callable[[str], bytes | None]
    ) -> AbstractAsyncContextManager[Future[bytes]]:
        """Listen for a request's reply; enter the context before sending the request.

        Args:
            request_id: The request.
            read: Receives the ``sealed`` value of each reply to it. The first answer that it
                returns is the future's result; on ``None`` the channel ignores the reply.
        """
        ...

    async def publish(self, text: str) -> int:
        """Publish to the session; return how many listeners received it.

        Raises:
            ProviderTimeoutError: It is unknown whether the session received it.
        """
        ...


class LiveExchange:
    """The exchange of one attempt with a client session. See `contract.Exchange`.

    Args:
        claim: Grants the code, once, before the request is published.
        channel: The connection to the session.
        keys: The keys that the intent shares with the session.
        submission_id: Submission of the request, which the message names.
        deadline_ms: Deadline of the request, milliseconds since the epoch.
        clock: Returns seconds on the clock of ``ClaimTicket.send_before``.
    """

    def __init__(
        self,
        *,
        claim: Callable[[], Awaitable[ClaimTicket]],
        channel: SessionChannel,
        keys: SessionKeys,
        submission_id: str,
        deadline_ms: int,
        clock: Callable[[], float],
    ) -> None:
        self._claim, self._channel, self._clock = claim, channel, clock
        self._keys = keys
        self._submission_id, self._deadline_ms = submission_id, deadline_ms
        self._code_sent = False

    @property
    def code_sent(self) -> bool:
        """Whether the code may have reached the session."""
        return self._code_sent

    async def send_code(self, request: CodeRequest) -> Reply:
        """Ask the session and await its answer; the reply's body is the answer.

        Raises:
            NoClientSessionError: No session is registered.
            NoHandlerError: It does not handle this type of checkpoint.
            NoChannelError: No listener received the request; the code was not sent.
            ProviderTimeoutError: It is unknown whether the session received the request.
            ExchangeRefusedError: The claim was refused, or its time had run out.
        """
        head = RequestHead(secrets.token_hex(16), self._submission_id, self._deadline_ms)
        words = {name: word or None for name, word in request.headers.items()}
        asked = AskedCheckpoint.model_validate(words)
        public, seal = await self._meet(asked.type, head)
        async with self._channel.reply(head.request_id, partial(open_answer, seal)) as answer:
            ticket = await self._claim()
            ask = AskMessage(
                v=VERSION,
                request_id=head.request_id,
                submission_id=head.submission_id,
                checkpoint=asked,
                solution=seal_solution(public, seal, request.body(ticket.code)),
                deadline_ms=head.deadline_ms,
                reply_to=self._channel.reply_to,
                proof="",
            )
            try:
                await self._ask(self._keys.prove(ask).model_dump_json(), ticket.send_before)
                return Reply(status=200, headers={}, body=await answer)
            except (asyncio.CancelledError, ProviderTimeoutError):
                await self._cancel(head)
                raise

    async def fetch(self, request: Request) -> Reply:
        """Raise, because the session sends all further requests itself."""
        raise NotImplementedError(request.method)

    async def _meet(self, checkpoint_type: str, head: RequestHead) -> tuple[bytes, Seal]:
        """Read the registration and agree on keys with the session, before the claim."""
        text = await self._channel.registration()
        if text is None:
            raise NoClientSessionError
        registration = read_registration(text, self._keys)
        try:
            met = agree_with(registration, self._keys, head)
        except ValueError:
            raise NoHandlerError(DETAIL_UNREADABLE) from None
        if checkpoint_type not in registration.types:
            raise NoHandlerError
        return met

    async def _ask(self, text: str, send_before: float) -> None:
        """Publish the request, not later than ``send_before``."""
        left_s = send_before - self._clock()
        if left_s <= 0:
            raise ExchangeRefusedError
        self._code_sent = True
        try:
            async with asyncio.timeout(left_s):
                heard = await self._channel.publish(text)
        except TimeoutError:
            raise ProviderTimeoutError from None
        if heard == 0:
            self._code_sent = False
            raise NoChannelError

    async def _cancel(self, head: RequestHead) -> None:
        """Publish a cancel message to the session, within `CANCEL_S`."""
        cancel = CancelMessage(
            v=VERSION,
            request_id=head.request_id,
            deadline_ms=head.deadline_ms,
            cancel=True,
            proof="",
        )
        try:
            async with asyncio.timeout(CANCEL_S):
                await self._channel.publish(self._keys.prove(cancel).model_dump_json())
        except Exception:  # noqa: BLE001, S110  best effort: no outcome depends on it
            pass

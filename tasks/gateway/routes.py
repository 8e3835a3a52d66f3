"""The handlers of the gateway's endpoints."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.client import AsyncCheckpointClient, IntentInfo
from checkpoint_worker.tasks.client.awaiting import running_loop
from checkpoint_worker.tasks.gateway.access import audit, charged, check_account, key_for, key_of
from checkpoint_worker.tasks.gateway.http import (
    BODY_IN_SCOPE,
    JSON,
    NOT_FOUND,
    ApiError,
    json_response,
    outcome_response,
    read_after,
    read_fields,
    read_idempotency_key,
    read_limit,
    read_preferences,
    read_query,
    record_response,
    refuse_form,
    root_of,
    to_json,
    whole,
)
from checkpoint_worker.tasks.gateway.keys import OPEN_BYTES, SEALED_SHARE, SUBMISSION_BYTES
from checkpoint_worker.tasks.gateway.middleware import refusal_of
from checkpoint_worker.tasks.gateway.models import (
    INTENT_FIELDS,
    LINE_PATTERN,
    SESSION_FIELDS,
    SUBMISSION_FIELDS,
)
from checkpoint_worker.tasks.gateway.waiting import Waiting, cut_off_with, still_open
from checkpoint_worker.tasks.operations.acceptance import Submitted
from checkpoint_worker.tasks.operations.validation import ACCOUNT_ID_MAX, CheckpointError, new_id
from checkpoint_worker.tasks.records import Outcome, RecordState, Timestamp
from checkpoint_worker.tasks.settings import Settings

Handler = Callable[..., Awaitable[Response]]


class Gateway:
    """The handlers of all endpoints.

    Args:
        settings: The settings of this deployment.
        client: A client of the backend, or ``None`` to make one when it is first needed.
    """

    def __init__(self, settings: Settings, client: AsyncCheckpointClient | None) -> None:
        self.settings = settings
        self._given = client
        self._own: AsyncCheckpointClient | None = None
        self._waiting = Waiting(lambda: self.client, settings.deadline_s)
        self._document = b""

    @property
    def routes(self) -> tuple[tuple[str, str, Handler], ...]:
        """Method, path and handler of every endpoint."""
        return (
            ("POST", "/v1/accounts/checkpoint", self.submit),
            ("GET", "/v1/submissions/{submission_id}", self.result),
            ("DELETE", "/v1/submissions/{submission_id}", self.cancel),
            ("GET", "/v1/submissions/{submission_id}/events", self.events),
            ("GET", "/v1/outcomes", self.outcomes),
            ("POST", "/v1/intents", self.open_intent),
            ("GET", "/v1/intents", self.intent),
            ("POST", "/v1/sessions", self.take_session),
            ("GET", "/openapi.json", self.openapi),
        )

    @property
    def client(self) -> AsyncCheckpointClient:
        """The client; the first request of a mounted gateway makes it."""
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = AsyncCheckpointClient(self.settings)
        return self._own

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Make the client when the application starts, and close it when the application ends.

        Raises:
            RuntimeError: No event loop of asyncio runs: no request could be served.
        """
        running_loop()
        self._waiting.begin()
        assert self.client is not None
        try:
            yield
        finally:
            await self.close()

    def leave(self) -> None:
        """Answer all waiting callers now; their submissions go on without this process."""
        self._waiting.leave()

    async def close(self) -> None:
        """Answer all waiting callers, and close the client if the gateway made it."""
        self.leave()
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    # Submissions ---------------------------------------------------------------------------

    async def submit(self, request: Request) -> Response:
        """Submit a code and answer with its outcome."""
        fields = await self._read(request, SUBMISSION_FIELDS)
        key = key_for(request, fields)
        prefer = read_preferences(request)
        given = read_idempotency_key(request)
        submission_id = new_id() if given is None else given
        told = {"X-Submission-ID": submission_id, **prefer.applied}
        wait_s = self._waiting.longest_s
        if prefer.respond_async:
            wait_s = min(wait_s, prefer.wait_s)
        with cut_off_with(submission_id):
            with charged(key, SUBMISSION_BYTES) as charge:
                submitted = await self._accept(fields, submission_id)
                charge.stands = submitted.accepted
            record: Outcome | None = submitted.outcome
            if record is not None and not record.is_final and wait_s > 0:
                record = await self._waiting.outcome(
                    request, submission_id, wait_s, cancels=prefer.cancel_on_disconnect
                )
        if record is None:
            msg = "The ledger has forgotten this submission; its code may have been used."
            raise ApiError(catalogue.TIMED_OUT, msg, instance=submission_id, headers=told)
        if prefer.respond_async and not (prefer.wait_s and record.is_final):
            where = f"{root_of(request)}/v1/submissions/{submission_id}"
            return record_response(record, 202, {"Location": where, **told})
        if not record.is_final:
            raise still_open(submission_id, "There is no outcome yet.")
        return outcome_response(record, told)

    async def _accept(self, fields: dict[str, Any], submission_id: str) -> Submitted:
        try:
            return await self.client.submit(
                account_id=fields.get("account_id"),  # type: ignore[arg-type]  # the client validates it
                provider=fields.get("provider"),  # type: ignore[arg-type]
                code=fields.get("code"),  # type: ignore[arg-type]
                submission_id=submission_id,
                checkpoint_step=whole(fields.get("checkpoint_step")),  # type: ignore[arg-type]
            )
        except CheckpointError as error:
            # An error about the form of the request names no submission.
            named = error.body["instance"] == submission_id
            raise refusal_of(error, submission_id if named else None) from error

    async def result(self, request: Request, submission_id: str) -> Response:
        """Answer with the record of a submission."""
        return record_response(await self._known(request, self.client.result(submission_id)))

    async def cancel(self, request: Request, submission_id: str) -> Response:
        """Cancel a submission; answer with its record, which is final afterwards."""
        if key_of(request).prefix:
            await self._known(request, self.client.result(submission_id))
        record = await self._known(request, self.client.cancel(submission_id))
        who = (record.account_id, record.provider)
        audit(request, "submission.canceled", *who, submission_id=submission_id)
        return record_response(record)

    @staticmethod
    async def _known(request: Request, asking: Awaitable[Outcome | None]) -> Outcome:
        record = await asking
        if record is None or not key_of(request).may_name(record.account_id):
            raise ApiError(NOT_FOUND, "There is no submission of this id, or no longer.")
        return record

    async def events(self, request: Request, submission_id: str) -> Response:
        """Stream the record and each change of it, up to the final record."""
        record = await self._known(request, self.client.result(submission_id))
        if record.is_final and request.headers.get("last-event-id") == RecordState.FINAL:
            return Response(status_code=HTTPStatus.NO_CONTENT)  # An EventSource stops on 204.
        return StreamingResponse(
            self._waiting.tell(record),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    async def outcomes(self, request: Request) -> Response:
        """List a page of final records, the newest first, from a bounded part of the stream."""
        key = key_of(request)
        account_id, limit = read_query(request, "account_id"), read_limit(request)
        if account_id is not None and not _is_account(account_id):
            refuse_form(
                f"`account_id` has 1 to {ACCOUNT_ID_MAX} characters, no control characters."
            )
        check_account(key, account_id)
        after = read_after(request)
        # One listing at a time for each key, so that keys share fairly.
        async with key.listing.get():
            page = await self.client.page(account_id, limit, prefix=key.prefix, after=after)
        items = ",".join([record.to_json() for record in page.records])
        body = f'{{"object":"OutcomeList","items":[{items}],"next":'.encode()
        return Response(body + to_json(page.after) + b"}", media_type=JSON)

    # Intents -------------------------------------------------------------------------------

    async def open_intent(self, request: Request) -> Response:
        """Open an intent, or open an existing one again."""
        fields = await self._read(request, INTENT_FIELDS)
        key = key_for(request, fields)
        purpose = fields.get("purpose")
        size = OPEN_BYTES + request.scope[BODY_IN_SCOPE] * SEALED_SHARE
        with charged(key, size) as charge:
            info = await self.client.open_intent(
                account_id=fields.get("account_id"),  # type: ignore[arg-type]  # the client validates it
                provider=fields.get("provider"),  # type: ignore[arg-type]
                checkpoint=fields.get("checkpoint"),  # type: ignore[arg-type]
                context=fields.get("context"),  # type: ignore[arg-type]
                proxy=fields.get("proxy"),
                purpose="connect" if purpose is None else purpose,
                user_id=fields.get("user_id"),
            )
            charge.stands = True
        audit(request, "intent.opened", info.account_id, info.provider, generation=info.generation)
        return json_response(_intent_body(info), HTTPStatus.CREATED)

    async def intent(self, request: Request) -> Response:
        """Answer with the state of an intent."""
        account_id = read_query(request, "account_id")
        check_account(key_of(request), account_id)
        info = await self.client.intent(
            account_id,  # type: ignore[arg-type]  # the client validates it
            read_query(request, "provider"),  # type: ignore[arg-type]
        )
        if info is None:
            raise ApiError(NOT_FOUND, "There is no intent for this account, or no longer.")
        return json_response(_intent_body(info))

    async def take_session(self, request: Request) -> Response:
        """Answer with the session of a finished login, once."""
        fields = await self._read(request, SESSION_FIELDS)
        account_id: Any = fields.get("account_id")
        provider: Any = fields.get("provider")
        key_for(request, fields)
        # The Idempotency-Key lets a caller that lost the answer take the session again.
        token = read_idempotency_key(request) or secrets.token_hex(16)
        info = await self.client.intent(account_id, provider)
        session = await self.client.take_session(account_id, provider, token)
        if session is None:
            raise ApiError(NOT_FOUND, "There is no session to take, or it was taken.")
        generation = info.generation if info is not None else "-"
        audit(request, "session.taken", account_id, provider, generation=generation)
        body = {"object": "Session", "account_id": account_id, "provider": provider}
        return json_response({**body, "session": session})

    async def openapi(self, request: Request) -> Response:
        """Answer with the OpenAPI document, which is written once: strangers may ask for it."""
        self._document = self._document or to_json(request.app.openapi()).removesuffix(b"}")
        servers = to_json([{"url": root_of(request) or "/"}])
        return Response(self._document + b',"servers":' + servers + b"}", media_type=JSON)

    async def _read(self, request: Request, names: tuple[str, ...]) -> dict[str, Any]:
        return await read_fields(request, names, self.settings.request_bytes_max)


def _is_account(account_id: str) -> bool:
    return len(account_id) <= ACCOUNT_ID_MAX and LINE_PATTERN.match(account_id) is not None


_TIMES: Final = TypeAdapter(dict[str, Timestamp])


def _intent_body(info: IntentInfo) -> dict[str, Any]:
    times = {"opened_at": info.opened_at, "expires_at": info.expires_at}
    body = info.model_dump(mode="json")
    return {"object": "Intent", **body, **_TIMES.dump_python(times, mode="json")}

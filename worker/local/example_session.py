"""A small client session: holds one login and answers the codes it is asked for.

For someone with a browser-driven or native session this is the thing to copy: replace `Held`
by what drives yours. This one continues the login over HTTP with the provider's own adapter.

    python -m checkpoint_worker.worker.local.example_session --provider LINKEDIN --account acc_1 < login.json

It reads ``{"secret": …, "context": …}`` from stdin: the session's secret (`new_session_secret`),
which the intent's context has too, and the challenge context of the provider, which it alone has.
It registers, answers until it is ended, and needs ``CHECKPOINT_REDIS_URL`` and
``CHECKPOINT_PREFIX`` alone: no secret key, no Celery.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from checkpoint_worker.providers import adapter_for
from checkpoint_worker.providers.contract import (
    TRY_ANOTHER_WAY,
    Adapter,
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    Context,
    NextCheckpoint,
    ProviderFailure,
    Rejected,
    SolutionKind,
    Verdict,
)
from checkpoint_worker.providers.http.exchange import HttpExchange
from checkpoint_worker.tasks.live_session.channel import Question, SessionHost, SessionReplacedError
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import connect_async
from checkpoint_worker.tasks.storage.keys import Keys

TYPES = ("OTP", "2FA")


class Held:
    """A login held by this process: its context changes with every answer."""

    def __init__(
        self, adapter: Adapter, base_url: str, context: Context, settings: Settings
    ) -> None:
        self.adapter, self.base_url, self.context = adapter, base_url, context
        self.settings = settings

    async def answer(self, question: Question) -> Mapping[str, object]:
        """Clear the checkpoint, or say what stands against it. Never raises a failure."""
        another_way = question.code == TRY_ANOTHER_WAY
        if another_way and not self.adapter.knows_another_way:
            return {"status": 403, "type": "action_required"}

        async def claim() -> ClaimTicket:
            # The worker has claimed already: this code is ours to send, once.
            return ClaimTicket(code=question.code, send_before=time.monotonic() + 1)

        exchange = HttpExchange(claim=claim, connect_timeout_s=self.settings.connect_timeout_s)
        challenge = Challenge(
            checkpoint=Checkpoint(
                type=question.checkpoint["type"] or "", source=question.checkpoint.get("source")
            ),
            context=self.context,
            base_url=self.base_url,
            solution=SolutionKind.ANOTHER_WAY if another_way else SolutionKind.CODE,
        )
        try:
            return self._told(await self.adapter.verify(challenge, exchange))
        except ProviderFailure as failure:
            self.context = failure.context or self.context
            told = {"status": failure.status, "type": failure.type}
            doubt = failure.in_doubt and exchange.code_sent
            return {**told, "in_doubt": True} if doubt else told

    def _told(self, verdict: Verdict) -> Mapping[str, object]:
        """Keep the context after an answer; return the answer in the words of the route."""
        match verdict:
            case Cleared(user_id=user_id, session=session):
                return {"verdict": "cleared", "user_id": user_id, "session": session}
            case Rejected(context=context):
                self.context = context or self.context
                return {"verdict": "rejected"}
            case NextCheckpoint(checkpoint=checkpoint, context=context):
                self.context = context
                return {"verdict": "next_checkpoint", "checkpoint": checkpoint.as_wire()}


async def serve(provider: str, account_id: str, context: Mapping[str, Any], secret: str) -> None:
    """Hold one login and answer until cancelled or told to end (SIGTERM).

    Args:
        provider: Whose login it is.
        account_id: The same.
        context: The challenge context, of an http route.
        secret: Of this session.

    Raises:
        SessionReplacedError: A later session of the account has registered.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    settings = Settings()
    adapter = adapter_for(provider)
    if adapter is None:
        msg = f"no adapter for {provider}"
        raise SystemExit(msg)
    model = adapter.contexts[str(context.get("route", "http"))].model_validate(context)
    held = Held(adapter, settings.provider_url(provider) or adapter.default_url, model, settings)
    client = connect_async(settings.redis_url.get_secret_value(), settings.prefix)
    host = SessionHost(
        client=client,
        keys=Keys(settings.prefix),
        secret=secret,
        provider=provider,
        account_id=account_id,
        types=TYPES,
        handle=held.answer,
    )
    try:
        await host.run()
    finally:
        await client.aclose()


def main() -> None:
    """Read arguments and the login, then serve."""
    parser = argparse.ArgumentParser(description="Hold one login as a live client session.")
    parser.add_argument("--provider", required=True)
    parser.add_argument("--account", required=True, dest="account_id")
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="the login is the first line of stdin; end when stdin does",
    )
    options = parser.parse_args()
    login = json.loads(sys.stdin.readline() if options.until_stdin_closes else sys.stdin.read())
    if options.until_stdin_closes:
        from checkpoint_worker.worker.runtime.lifetime import end_with_stdin  # noqa: PLC0415  a copy of this needs it not

        end_with_stdin()
    try:
        asyncio.run(serve(options.provider, options.account_id, login["context"], login["secret"]))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return
    except SessionReplacedError:
        sys.exit("a later session of this account has registered")


if __name__ == "__main__":
    main()

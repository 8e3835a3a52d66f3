r"""A small client session: holds one login and answers the codes that workers send to it.

Copy this program as a starting point for a browser-driven or native session, and replace `Held` by
code that drives yours. This version continues the login over HTTP with the adapter of the provider.

    python -m checkpoint_worker.worker.local.example_session \
        --provider LINKEDIN --account acc_1 < login.json

It reads ``{"secret": …, "context": …}`` from stdin: the session's secret (`new_session_secret`),
which the intent's context contains too, and the challenge context of the provider, which only this
program has. It registers and answers until it is stopped. It needs only ``CHECKPOINT_REDIS_URL``
and ``CHECKPOINT_PREFIX``: no secret key and no Celery.
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
from checkpoint_worker.tasks.live_session import Question, SessionHost, SessionReplacedError
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import connect_async
from checkpoint_worker.tasks.storage.keys import Keys

TYPES = ("OTP", "2FA")


class Held:
    """A login held by this process; each answer of the provider changes its context."""

    def __init__(
        self, adapter: Adapter, base_url: str, context: Context, settings: Settings
    ) -> None:
        self.adapter, self.base_url, self.context = adapter, base_url, context
        self.settings = settings

    async def answer(self, question: Question) -> Mapping[str, object]:
        """Submit the code to the provider; return the verdict, or the failure as a value."""
        another_way = question.code == TRY_ANOTHER_WAY
        if another_way and not self.adapter.knows_another_way:
            return {"status": 403, "type": "action_required"}

        async def claim() -> ClaimTicket:
            # The worker has made the claim: this session sends the code, once.
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
            return self._encode_verdict(await self.adapter.verify(challenge, exchange))
        except ProviderFailure as failure:
            self.context = failure.context or self.context
            told = {"status": failure.status, "type": failure.type}
            doubt = failure.in_doubt and exchange.code_sent
            return {**told, "in_doubt": True} if doubt else told

    def _encode_verdict(self, verdict: Verdict) -> Mapping[str, object]:
        """Keep the new context of the login; return the verdict in the protocol's form."""
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
    """Hold one login and answer until cancelled or stopped by SIGTERM.

    Args:
        provider: The provider of the login.
        account_id: The account of the login.
        context: The challenge context, of an HTTP route.
        secret: The secret of this session.

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
    """Read the arguments and the login, then serve."""
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
        from checkpoint_worker.worker.runtime.lifetime import end_with_stdin  # noqa: PLC0415  not needed in a copy of this program

        end_with_stdin()
    try:
        asyncio.run(serve(options.provider, options.account_id, login["context"], login["secret"]))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return
    except SessionReplacedError:
        sys.exit("a later session of this account has registered")


if __name__ == "__main__":
    main()

"""A program that holds a login and answers the codes of its live session."""

import asyncio
import os

from checkpoint_worker.tasks.live_session import Question, SessionHost
from checkpoint_worker.tasks.storage.executor import connect_async
from checkpoint_worker.tasks.storage.keys import Keys


async def handle(question: Question) -> dict[str, object]:  # cancelled when nobody waits any more
    if question.code != "123456":  # here your program types the code and looks what comes
        return {"verdict": "rejected"}
    return {"verdict": "cleared", "user_id": "12345", "session": {"cookies": []}}
    # or {"verdict": "next_checkpoint", "checkpoint": {"type": "2FA", "source": "APP"}}
    # or {"status": 403, "type": "action_required"}, any error a provider may cause


async def main() -> None:
    client = connect_async(os.environ["CHECKPOINT_REDIS_URL"])
    keys = Keys(os.environ.get("CHECKPOINT_PREFIX", "checkpoint"))
    host = SessionHost(
        client=client,
        keys=keys,
        secret=os.environ["SESSION_SECRET"],  # as in the context of open_intent
        provider="LINKEDIN",
        types=("OTP", "2FA"),
        account_id="acc_01HXYZ4QK3WJ8FN3M6QH7TZ8GR",
        handle=handle,
    )
    await host.run()  # until cancelled, through every restart of Redis


asyncio.run(main())

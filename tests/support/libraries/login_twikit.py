"""twikit: `stop_at_code` ends its login where it would ask on the terminal."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

import os

from twikit import Client

from checkpoint_worker.providers import bridges
from checkpoint_worker.providers.bridges.twikit import CodeDue, stop_at_code

bridge = bridges.of("twikit")


async def begin(worker, account_id, username, password, source=None):
    client = Client("en-US", proxy=os.environ["HTTPS_PROXY"])
    stop_at_code(client)
    try:
        await client.login(auth_info_1=username, password=password)
    except CodeDue as due:
        checkpoint, context = bridge.context_from(client, due, source=source)
        worker.open_intent(
            account_id=account_id, provider="TWITTER", checkpoint=checkpoint, context=context
        )


async def go_on(worker, account_id):
    client = Client("en-US", proxy=os.environ["HTTPS_PROXY"])
    bridge.restore(worker.take_session(account_id=account_id, provider="TWITTER"), client)
    return await client.user_id()

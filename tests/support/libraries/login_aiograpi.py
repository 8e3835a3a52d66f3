"""aiograpi, as the example of instagrapi."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

from aiograpi import Client
from aiograpi.exceptions import ChallengeRequired, TwoFactorRequired

from checkpoint_worker.providers import bridges

bridge = bridges.of("aiograpi")


async def begin(worker, account_id, username, password, source=None):
    client = Client(private_transport="requests")

    async def none(_username, _choice) -> str:
        return ""

    client.challenge_code_handler = none
    try:
        await client.login_legacy(username, password)
    except (ChallengeRequired, TwoFactorRequired):
        checkpoint, context = bridge.context_from(client, source=source)
        worker.open_intent(
            account_id=account_id, provider="INSTAGRAM", checkpoint=checkpoint, context=context
        )


async def go_on(worker, account_id):
    client = Client(private_transport="requests")
    bridge.restore(worker.take_session(account_id=account_id, provider="INSTAGRAM"), client)
    return (await client.account_info()).pk

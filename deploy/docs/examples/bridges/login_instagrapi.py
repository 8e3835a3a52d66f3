"""INSTAGRAM with instagrapi: the first step and everything after the code are the library's."""

from instagrapi import Client
from instagrapi.exceptions import ChallengeRequired, TwoFactorRequired

from checkpoint_worker.providers import bridges

bridge = bridges.of("instagrapi")


def begin(worker, account_id, username, password, source=None):
    client = Client(private_transport="requests")
    client.challenge_code_handler = lambda _username, _choice: ""  # The code comes elsewhere.
    try:
        client.login_legacy(username, password)
    except (ChallengeRequired, TwoFactorRequired):
        checkpoint, context = bridge.context_from(client, source=source)
        worker.open_intent(
            account_id=account_id, provider="INSTAGRAM", checkpoint=checkpoint, context=context
        )


# The person types the code: `worker.submit` or POST /v1/submissions, until its outcome is 201.


def go_on(worker, account_id):
    client = Client(private_transport="requests")
    bridge.restore(worker.take_session(account_id=account_id, provider="INSTAGRAM"), client)
    return client.account_info().pk

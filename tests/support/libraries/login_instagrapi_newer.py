"""instagrapi's newer login: the client opens the screen of the code, and stops there."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

from instagrapi import Client
from instagrapi.exceptions import TwoFactorRequired
from login_instagrapi import bridge, go_on

__all__ = ["begin", "bridge", "go_on"]

METHODS = {"APP": "totp", "SMS": "sms", "BACKUP": "backup_codes"}


def begin(worker, account_id, username, password, source=None):
    client = Client(private_transport="requests")
    try:
        client.login(username, password)
    except TwoFactorRequired as error:
        screen = error.two_step_verification_context
        client.bloks_two_step_verification_entrypoint(screen)
        client.bloks_two_step_verification_method_picker(screen)
        client.bloks_two_step_verification_select_method(screen, selected_method=METHODS[source])
        checkpoint, context = bridge.context_from(client, error, source=source)
        worker.open_intent(
            account_id=account_id, provider="INSTAGRAM", checkpoint=checkpoint, context=context
        )

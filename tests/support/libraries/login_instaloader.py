"""instaloader: the site's login."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

import instaloader

from checkpoint_worker.providers import bridges

bridge = bridges.of("instaloader")


def begin(worker, account_id, username, password, source=None):
    loader = instaloader.Instaloader(quiet=True, max_connection_attempts=1)
    try:
        loader.login(username, password)
    except instaloader.TwoFactorAuthRequiredException:
        checkpoint, context = bridge.context_from(loader, source=source)
        worker.open_intent(
            account_id=account_id, provider="INSTAGRAM", checkpoint=checkpoint, context=context
        )


def go_on(worker, account_id):
    loader = instaloader.Instaloader(quiet=True, max_connection_attempts=1)
    bridge.restore(worker.take_session(account_id=account_id, provider="INSTAGRAM"), loader)
    return instaloader.Profile.own_profile(loader.context).userid

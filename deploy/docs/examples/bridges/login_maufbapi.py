"""MESSENGER with maufbapi: the first step and everything after the code are the library's."""

from maufbapi import AndroidAPI, AndroidState
from maufbapi.http.errors import TwoFactorRequired
from mautrix.util.proxy import ProxyHandler

from checkpoint_worker.providers import bridges

bridge = bridges.of("maufbapi")


async def begin(worker, account_id, username, password, source=None):
    state = AndroidState()
    state.generate(account_id)
    api = AndroidAPI(state, proxy_handler=ProxyHandler(None))
    await api.mobile_config_sessionless()
    try:
        await api.login(username, password)
    except TwoFactorRequired:
        checkpoint, context = bridge.context_from(state, source=source, login=username)
        worker.open_intent(
            account_id=account_id, provider="MESSENGER", checkpoint=checkpoint, context=context
        )
    await api.http.close()


# The person types the code: `worker.submit` or POST /v1/submissions, until its outcome is 201.


async def go_on(worker, account_id):
    state = AndroidState()
    state.generate(account_id)
    bridge.restore(worker.take_session(account_id=account_id, provider="MESSENGER"), state)
    api = AndroidAPI(state, proxy_handler=ProxyHandler(None))
    user = await api.fetch_logged_in_user()
    await api.http.close()
    return user.id

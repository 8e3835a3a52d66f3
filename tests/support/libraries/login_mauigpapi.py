"""mauigpapi: the app's login with a second factor, and the checkpoint."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

from mauigpapi.errors import IGChallengeError, IGLoginTwoFactorRequiredError
from mauigpapi.http import AndroidAPI
from mauigpapi.state import AndroidState
from mautrix.util.proxy import ProxyHandler

from checkpoint_worker.providers import bridges

bridge = bridges.of("mauigpapi")


async def begin(worker, account_id, username, password, source=None):
    state = AndroidState()
    state.device.generate(account_id)
    api = AndroidAPI(state, proxy_handler=ProxyHandler(None))
    await api.get_mobile_config()
    answer = None
    try:
        await api.login(username, password)
    except IGLoginTwoFactorRequiredError as error:
        answer = error.body
    except IGChallengeError:
        await api.challenge_auto()
    checkpoint, context = bridge.context_from(state, answer, source=source, login=username)
    worker.open_intent(
        account_id=account_id, provider="INSTAGRAM", checkpoint=checkpoint, context=context
    )
    await api.http.close()


async def go_on(worker, account_id):
    state = AndroidState()
    state.device.generate(account_id)
    bridge.restore(worker.take_session(account_id=account_id, provider="INSTAGRAM"), state)
    api = AndroidAPI(state, proxy_handler=ProxyHandler(None))
    user = await api.current_user()
    await api.http.close()
    return user.user.pk

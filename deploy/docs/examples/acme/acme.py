import json
from types import MappingProxyType

from pydantic import Field

from checkpoint_worker.providers import contract
from checkpoint_worker.providers.answers import read_json, refuse_common


class AcmeContext(contract.Context):  # of the login's first step; `open_intent` checks it
    login_id: str = Field(min_length=1, max_length=256, repr=False)


class Acme:
    provider = "ACME"
    default_url = "https://login.acme.example"
    contexts = MappingProxyType({"http": AcmeContext})  # by route
    code_formats = MappingProxyType({"EMAIL": contract.CodeFormat(max_length=6)})
    prepares = False  # requests before the one with the code
    knows_another_way = False  # a request for TRY_ANOTHER_WAY

    async def verify(self, challenge, exchange):  # as `contract.Adapter` says
        form = {"id": challenge.context.login_id}
        request = contract.CodeRequest(
            method="POST",
            url=challenge.base_url + "/login/code",
            headers={"Content-Type": "application/json"},
            body=lambda code: json.dumps({**form, "code": contract.normalise(code)}).encode(),
        )
        reply = await exchange.send_code(request)
        refuse_common(reply)  # 408, 413, 429 and 5xx mean the same everywhere
        said = read_json(reply)
        if reply.status == 200 and isinstance(said, dict) and said.get("user_id"):
            return contract.Cleared(user_id=str(said["user_id"]), session=said)
        if reply.status == 401:
            return contract.Rejected()
        if reply.status == 410:
            raise contract.DeadIntentError("The provider has ended this login.")
        raise contract.ProviderBrokenError("The provider's answer cannot be read.")

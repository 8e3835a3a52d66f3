"""An adapter whose provider does what the code says; see `tests.soak.provider`."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Final

from checkpoint_worker.providers import contract

PROVIDER: Final = "SOAK"


class Soak:
    """One POST with the code and the user that the context names. See `contract.Adapter`."""

    provider = PROVIDER
    default_url = ""
    contexts = MappingProxyType({"http": contract.Context})
    code_formats: MappingProxyType[str, contract.CodeFormat] = MappingProxyType({})
    prepares = False
    knows_another_way = False

    async def verify(
        self, challenge: contract.Challenge, exchange: contract.Exchange
    ) -> contract.Verdict:
        """Send the code; the status of the answer is the verdict."""
        user_id = challenge.context.app["user"]
        reply = await exchange.send_code(
            contract.CodeRequest(
                method="POST",
                url=f"{challenge.base_url}/verify",
                headers={"Content-Type": "application/json"},
                body=lambda code: json.dumps({"code": code}).encode(),
            )
        )
        match reply.status:
            case 200:
                return contract.Cleared(user_id=user_id, session={"cookie": "made-up"})
            case 401:
                return contract.Rejected(context=challenge.context)
            case 418:
                return contract.Cleared(user_id=user_id, session={"cookie": b"made-up"})
            case 503:
                raise contract.ServiceUnavailableError
            case status:
                msg = f"The provider answered {status}."
                raise contract.ProviderBrokenError(msg)

"""The smallest adapter there can be, for measuring everything around it."""

from __future__ import annotations

import json
from types import MappingProxyType

from providers import contract


class Bench:
    """One POST with the code; any 200 clears. See `contract.Adapter`."""

    provider = "BENCH"
    default_url = ""
    contexts = MappingProxyType({"http": contract.Context})
    code_formats: MappingProxyType[str, contract.CodeFormat] = MappingProxyType({})
    prepares = False
    knows_another_way = False

    async def verify(
        self, challenge: contract.Challenge, exchange: contract.Exchange
    ) -> contract.Verdict:
        """Send the code and take the number that comes back for the user."""
        reply = await exchange.send_code(
            contract.CodeRequest(
                method="POST",
                url=f"{challenge.base_url}/verify",
                headers={"Content-Type": "application/json"},
                body=lambda code: json.dumps({"code": code}).encode(),
            )
        )
        return contract.Cleared(user_id=reply.text, session={"cookie": "made-up"})

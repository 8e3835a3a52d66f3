"""The API keys: the accounts that each may name, and the storage that each may use.

Each gateway process counts the bytes stored and the open requests of each key. So a key that is
stolen, or whose owner makes mistakes, takes no room from the other keys.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers

from checkpoint_worker.tasks.gateway.loops import PerLoop
from checkpoint_worker.tasks.settings import API_KEY_WORDS, Settings

KEY_IN_SCOPE: Final = "checkpoint.key"
REQUESTS_MAX: Final = 8_192
"""Maximum number of open requests of one key in one process; event streams and waiting callers
count as requests."""
SUBMISSION_BYTES: Final = 3_000
"""Storage of one submission: its record, its stream entry, and the mark of its id (measured:
2.4 kB)."""
OPEN_BYTES: Final = 1_500
"""Storage of one intent without its context."""
SEALED_SHARE: Final = 4 / 3
"""Growth of a value by sealing, which writes it in base64."""


class Budget:
    """A limit on the bytes that one key may have stored at a time.

    It is a token bucket that holds half of ``bytes_max`` and refills once in ``life_s``. In any
    ``life_s`` a key can therefore store one full bucket and one refill: ``bytes_max`` in all.

    Args:
        bytes_max: Maximum number of bytes stored at a time.
        life_s: Life of the stored values, seconds.
    """

    def __init__(self, bytes_max: int, life_s: float) -> None:
        self._most = bytes_max / 2
        self._left = self._most
        self._rate = self._most / life_s
        self._at_s = time.monotonic()

    def take(self, size: float) -> int:
        """Take ``size`` bytes; return 0, or the whole seconds until there may be room."""
        now_s = time.monotonic()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if size <= self._left:
            self._left -= size
            return 0
        return max(1, math.ceil((min(size, self._most) - self._left) / self._rate))

    def give_back(self, size: float) -> None:
        """Return ``size`` bytes that were taken and not stored."""
        self._left = min(self._most, self._left + size)


@dataclass(slots=True, kw_only=True, eq=False)
class ApiKey:
    """A key as the gateway knows it; the key itself is not kept.

    Attributes:
        name: Name of the key in the log.
        prefix: Prefix of the accounts that it may name.
        budget: Limit on the bytes that it may have stored.
        under_way: Number of its requests that are not answered yet.
        listing: Lock that lets one request of the key at a time read the stream.
    """

    name: str
    prefix: str = ""
    budget: Budget = field(repr=False)
    under_way: int = 0
    listing: PerLoop[asyncio.Lock] = field(
        default_factory=lambda: PerLoop(asyncio.Lock), repr=False
    )

    def may_name(self, account_id: object) -> bool:
        """Whether the key may name an account; a value that is no text is refused elsewhere."""
        return not isinstance(account_id, str) or account_id.startswith(self.prefix)


class ApiKeys:
    """The API keys, by digest: all are compared, each in constant time."""

    def __init__(self, settings: Settings) -> None:
        life_s = settings.intent_ttl_s + settings.deadline_s + settings.result_ttl_s

        def known(name: str, prefix: str = "") -> ApiKey:
            budget = Budget(settings.key_bytes_max, life_s)
            return ApiKey(name=name, prefix=prefix, budget=budget)

        self._keys = tuple(
            (hashlib.sha256(key.encode()).digest(), known(name or f"key-{place}", prefix))
            for place, (name, key, prefix) in enumerate(_read(settings), 1)
        )
        self._anyone = known("-")

    def owner(self, headers: Headers) -> ApiKey | None:
        """Return the API key of a request, ``None`` for an unknown one.

        If no keys are configured, all requests share one key.
        """
        given = [*headers.getlist("x-api-key")[:1]]
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(token.strip())
        digests = [hashlib.sha256(key.encode()).digest() for key in given]
        # A list, not a generator: the comparison must not stop at the first match.
        fits = [
            key for one in digests for known, key in self._keys if hmac.compare_digest(one, known)
        ]
        if not self._keys:
            return self._anyone
        return fits[0] if fits else None


def _read(settings: Settings) -> Iterable[tuple[str, str, str]]:
    """Return name, key and prefix of each; `Settings` has checked their form."""
    for text in settings.api_keys:
        words = API_KEY_WORDS.fullmatch(text.get_secret_value())
        assert words is not None
        yield words["name"] or "", words["key"], words["prefix"] or ""

"""Whose request it is: the API keys, what each may name, and how much each may have stored.

What a key may have stored and what it may have under way is counted in each gateway process. So
one key that is stolen, or whose owner errs, takes no room from the others.
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

from checkpoint_worker.tasks.settings import API_KEY_WORDS, Settings

KEY_IN_SCOPE: Final = "checkpoint.key"
REQUESTS_MAX: Final = 8_192
"""Requests that one key may have under way in one process; event streams and callers that wait
are requests too."""
SUBMISSION_BYTES: Final = 3_000
"""What a submission stores: its record, the entry of the stream, and that its id was used
(measured: 2.4 kB)."""
OPEN_BYTES: Final = 1_500
"""What an intent stores beside its context."""
SEALED_SHARE: Final = 4 / 3
"""Sealed is base64."""


class Budget:
    """How many bytes may be stored at a time, where each lives for so long.

    A bucket of half of them that is refilled once in a life: whatever came in a life is no more
    than the bucket and one filling.

    Args:
        bytes_max: At a time.
        life_s: Of what is stored, seconds.
    """

    def __init__(self, bytes_max: int, life_s: float) -> None:
        self._most = bytes_max / 2
        self._left = self._most
        self._rate = self._most / life_s
        self._at_s = time.monotonic()

    def take(self, size: float) -> int:
        """Take so many bytes; return 0, or after how many whole seconds there may be room."""
        now_s = time.monotonic()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if size <= self._left:
            self._left -= size
            return 0
        return max(1, math.ceil((min(size, self._most) - self._left) / self._rate))

    def give_back(self, size: float) -> None:
        """Nothing was stored after all."""
        self._left = min(self._most, self._left + size)


@dataclass(slots=True, kw_only=True, eq=False)
class ApiKey:
    """A key as the gateway knows it; the key itself is not kept.

    Attributes:
        name: For the log.
        prefix: Of the accounts it may name.
        budget: How much it may have stored.
        under_way: Its requests that are not answered yet.
        listing: Held by the one of them that looks through the stream.
    """

    name: str
    prefix: str = ""
    budget: Budget = field(repr=False)
    under_way: int = 0
    listing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    def may_name(self, account_id: object) -> bool:
        """Whether an account is one of its own; what is no text is refused elsewhere."""
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
        """Return whose request it is, ``None`` for a stranger; without keys all are one."""
        given = [*headers.getlist("x-api-key")[:1]]
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(token.strip())
        digests = [hashlib.sha256(key.encode()).digest() for key in given]
        # A list, not a generator: it must not stop at the first that fits.
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

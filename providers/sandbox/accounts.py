"""The simulated accounts of the sandbox: their inboxes, authenticator apps and faults.

All simulators share them and add only the protocol of their provider. All names, numbers and
secrets are invented.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Literal, Self

import pyotp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Source = Literal["EMAIL", "SMS", "APP", "BACKUP"]
SOURCES: tuple[Source, ...] = ("EMAIL", "SMS", "APP", "BACKUP")

NO_SECOND_FACTOR = "no_second_factor"
"""Kind of account at every provider: the password alone ends the login."""

CODE_TTL_S = 300.0
"""Life of a delivered code, seconds."""
TOTP_STEP_S = 30
"""Period of an authenticator app's code, seconds."""
_FIRST_USER_ID = 700_000_001
"""First user id; nine digits, so that no test mistakes an id for a code."""
_DRAWS_MAX = 1000
"""Maximum number of draws for an unused code. With half of the codes used, all draws fail once in
10^301 cases."""
_BARRED_STEPS = 240
"""Number of future periods in which a wrong code is not the app's code: two hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One request that carried a code, recorded when its body had arrived.

    Attributes:
        account: Id of the account, empty if the request belongs to no existing challenge.
        at: Time of the request, seconds since the epoch.
    """

    provider: str
    account: str
    code: str
    at: float


@dataclass(slots=True, kw_only=True)
class Delivered:
    """One code in an inbox; it works once, before it expires."""

    code: str
    source: Source
    expires_at: float
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults of an account's next code requests; they may change while the sandbox runs.

    `hold`, `slow` and `hang` act before the code is evaluated; `status` and `redirect307` replace
    the evaluation; `reset`, `drip`, `empty`, `wrong_answer` and `oversized` change the finished
    answer.

    Attributes:
        hold: Keep the request until `Account.release` is called.
        slow: Delay before the code is evaluated, seconds.
        hang: Accept the request and never answer it.
        status: Answer with this status and do not evaluate the code; 0: off.
        redirect307: Answer with ``307`` to the same address, which asks for the code again.
        reset: Evaluate the code, then reset the connection.
        drip: Pause between single bytes of the answer, seconds; 0: off.
        empty: Answer with an empty body.
        wrong_answer: Answer with random bytes under a good status.
        oversized: Size of the answer, bytes; 0: off.
        kind: Kind that replaces the account's own, empty: none.
        fail_followups: Number of requests without a code that are answered with 503 first.
    """

    hold: bool = False
    slow: float = 0.0
    hang: bool = False
    status: int = 0
    redirect307: bool = False
    reset: bool = False
    drip: float = 0.0
    empty: bool = False
    wrong_answer: bool = False
    oversized: int = 0
    kind: str = ""
    fail_followups: int = 0

    @classmethod
    def of(cls, faults: Mapping[str, object], *, kinds: frozenset[str]) -> Self:
        """Build faults from names and values; the name of a kind (``captcha=True``) sets `kind`.

        Raises:
            ValueError: A name is unknown, or a value has the wrong type.
        """
        known = {each.name: type(each.default) for each in fields(cls)}
        values: dict[str, object] = {}
        for name, value in faults.items():
            if name in known:
                if not isinstance(value, known[name]) and not (
                    known[name] is float and type(value) is int
                ):
                    msg = f"fault {name!r} wants a value of type {known[name].__name__}"
                    raise ValueError(msg)
                values[name] = value
            elif name in kinds:
                if value:
                    values["kind"] = name
            else:
                msg = f"no fault {name!r}; there are {', '.join(sorted([*known, *kinds]))}"
                raise ValueError(msg)
        if values.get("kind") and values["kind"] not in kinds:
            msg = f"no kind {values['kind']!r}; there are {', '.join(sorted(kinds))}"
            raise ValueError(msg)
        return cls(**values)  # type: ignore[arg-type]  # checked above, name by name


class Account:
    """One simulated account, with its owner's inbox and authenticator app.

    Attributes:
        id: Our ``account_id``; unique in the sandbox.
        user_id: The provider's own id.
        source: Source of the account's codes.
        kind: The provider's answer to the right code: ``plain`` is success.
        secret: Secret of the authenticator app, base32.
        sends: All requests that carried a code for the account.
        open_exchanges: Number of such requests that are being answered now.
        max_open_exchanges: Highest value of ``open_exchanges`` so far.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        number: int,
        provider: str,
        source: Source,
        kind: str,
        user_id: str | None = None,
    ) -> None:
        self._accounts = accounts
        self.provider = provider
        self.source: Source = source
        self.kind = kind
        self.id = f"acc_{provider.lower()}_{number}"
        self.user_id = user_id or str(_FIRST_USER_ID + number)
        self.username = f"person{number}@example.test"
        self.handle = f"person-{number}"
        self.password = secrets.token_urlsafe(12)
        self.secret = pyotp.random_base32()
        self.inbox: list[Delivered] = []
        self.faults = Faults()
        self.sends: list[Send] = []
        self.open_exchanges = 0
        self.max_open_exchanges = 0
        self.failed_followups = 0
        self._totp = pyotp.TOTP(self.secret, interval=TOTP_STEP_S)
        self._totp_used = -1
        self._barred: set[str] = set()
        self._released = asyncio.Event()
        self._arrived = asyncio.Event()

    @property
    def has_second_factor(self) -> bool:
        """Whether the provider asks for a code after the password."""
        return self.kind != NO_SECOND_FACTOR

    @property
    def disposition(self) -> str:
        """Kind of the provider's answer to the right code; a fault's kind takes precedence."""
        return self.faults.kind or self.kind

    # The person's side

    def deliver(self, source: Source | None = None) -> None:
        """Send a fresh code to the inbox; an authenticator app needs none."""
        source = source or self.source
        if source == "APP":
            return
        expires_at = self._accounts.now() + self._accounts.code_ttl_s
        self.inbox.append(
            Delivered(code=self._accounts.fresh_code(), source=source, expires_at=expires_at)
        )

    def current_code(self, source: Source | None = None) -> str:
        """Return the code that the person would type now.

        If the app's code of this period was used, it is the next period's, which providers accept
        early.

        Raises:
            LookupError: The inbox has no valid code.
        """
        source = source or (self.inbox[-1].source if self.inbox else self.source)
        if source == "APP":
            return self._totp.generate_otp(max(self._totp_step(), self._totp_used + 1))
        now = self._accounts.now()
        for each in reversed(self.inbox):
            if each.source == source and not each.used and each.expires_at > now:
                return each.code
        msg = f"no valid code in the inbox of {self.id}"
        raise LookupError(msg)

    def wrong_code(self) -> str:
        """Return six digits that were never a code here and will not become one."""
        step = self._totp_step()
        coming = {self._totp.generate_otp(step + n) for n in range(-2, _BARRED_STEPS)}
        code = next(
            code for code in iter(self._accounts.fresh_code, None) if code not in coming
        )  # Ends: there are more codes than steps, and `fresh_code` has its bound.
        self._barred.add(code)
        return code

    def expire_codes(self) -> None:
        """Let every delivered code expire now."""
        for each in self.inbox:
            each.expires_at = self._accounts.now()

    # The provider's side

    def judge(
        self, code: str, source: Source | None = None
    ) -> Literal["right", "wrong", "expired"]:
        """Evaluate a code as the provider does; the right one is used up by it."""
        if code in self._barred:
            return "wrong"
        if (source or self.source) == "APP":
            return self._judge_totp(code)
        for each in self.inbox:
            if each.code == code and each.source == (source or self.source) and not each.used:
                if each.expires_at <= self._accounts.now():
                    return "expired"
                each.used = True
                return "right"
        return "wrong"

    def _judge_totp(self, code: str) -> Literal["right", "wrong"]:
        now = self._totp_step()
        for step in (now - 1, now, now + 1):
            if step > self._totp_used and secrets.compare_digest(
                self._totp.generate_otp(step).encode(), code.encode()
            ):
                self._totp_used = step
                return "right"
        return "wrong"

    def _totp_step(self) -> int:
        return int(self._accounts.now() // TOTP_STEP_S)

    # The tests' side

    def note_send(self, code: str) -> None:
        """Count a request that carried a code; called when its body has arrived."""
        self.sends.append(self._accounts.note_send(self.provider, self.id, code))
        self._arrived.set()
        self._arrived = asyncio.Event()  # The next caller waits for the next request.

    @contextlib.contextmanager
    def exchange(self) -> Iterator[None]:
        """Count an exchange as open; leave when it is answered or the caller hung up."""
        self.open_exchanges += 1
        self.max_open_exchanges = max(self.max_open_exchanges, self.open_exchanges)
        try:
            yield
        finally:
            self.open_exchanges -= 1

    async def received(self, count: int = 1) -> None:
        """Wait until so many requests with a code have arrived in all."""
        while len(self.sends) < count:
            await self._arrived.wait()

    async def held(self) -> None:
        """Wait for `release` if `Faults.hold` is on."""
        if self.faults.hold:
            await self._released.wait()

    def set_faults(self, faults: Faults) -> None:
        """Replace the faults; requests that are held continue unless the new faults hold them."""
        self.faults = faults
        self.failed_followups = 0
        if not faults.hold:
            self.release()

    def release(self) -> None:
        """Let all held requests continue; later ones are held again while the fault is on."""
        self._released.set()
        self._released = asyncio.Event()

    def as_json(self) -> dict[str, object]:
        """Return all data of the account, for the page and the control API."""
        try:
            code = self.current_code()
        except LookupError:
            code = None
        return {
            "id": self.id,
            "provider": self.provider,
            "username": self.username,
            "handle": self.handle,
            "password": self.password,
            "user_id": self.user_id,
            "source": self.source,
            "kind": self.kind,
            "secret": self.secret,
            "current_code": code,
            "inbox": [asdict(each) for each in self.inbox],
            "sends": len(self.sends),
            "open_exchanges": self.open_exchanges,
            "max_open_exchanges": self.max_open_exchanges,
            "faults": {name: value for name, value in asdict(self.faults).items() if value},
        }


@dataclass(slots=True, kw_only=True)
class Accounts:
    """All accounts of a sandbox.

    Args:
        now: Clock, seconds since the epoch; tests pass their own.
        code_ttl_s: Life of a delivered code, seconds.
    """

    now: Callable[[], float] = time.time
    code_ttl_s: float = CODE_TTL_S
    by_id: dict[str, Account] = field(default_factory=dict)
    sends: list[Send] = field(default_factory=list)
    _codes: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def add_account(
        self, provider: str, *, source: Source, kind: str, user_id: str | None = None
    ) -> Account:
        """Create an account at a provider."""
        account = Account(
            accounts=self,
            number=next(self._numbers),
            provider=provider,
            source=source,
            kind=kind,
            user_id=user_id,
        )
        self.by_id[account.id] = account
        return account

    def find(self, provider: str, username: str) -> Account | None:
        """Return the provider's account of that address or handle."""
        for account in self.by_id.values():
            if account.provider == provider and username in {account.username, account.handle}:
                return account
        return None

    def fresh_code(self) -> str:
        """Return six digits that were not used before; there may be leading zeros.

        Raises:
            RuntimeError: Most of the million codes are used.
        """
        for _try in range(_DRAWS_MAX):
            code = f"{secrets.randbelow(1_000_000):06}"
            if code not in self._codes:
                self._codes.add(code)
                return code
        msg = "the sandbox has used most of its codes; start it again"
        raise RuntimeError(msg)

    def note_send(self, provider: str, account: str, code: str | None) -> Send:
        """Count a request that carried a code; ``account`` is empty if it belongs to no account."""
        send = Send(provider=provider, account=account, code=code or "", at=self.now())
        self.sends.append(send)
        return send

    def count(self, code: str) -> int:
        """Return the number of requests that carried this code."""
        return sum(send.code == code for send in self.sends)

"""What a simulated provider is to the sandbox.

A sibling file (``linkedin.py`` …) subclasses `Simulator` and names the class ``SIMULATOR``;
the sandbox finds it there and gives it a port, an inbox page and faults.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A login whose first step is done: what a login service would open an intent with.

    Attributes:
        checkpoint: ``{"type": …, "source": …}``.
        context: Fits the adapter's context model.
        user_id: The provider's id of the account.
    """

    account: str
    provider: str
    checkpoint: dict[str, str]
    context: dict[str, object] = field(repr=False)
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The account of a request and the code in it.

    Attributes:
        account: ``None`` if the code belongs to no existing challenge.
        code: ``None`` for a follow-up.
    """

    account: Account | None
    code: str | None = field(default=None, repr=False)


class Observed(Protocol):
    """The part of a simulator or a site that the sandbox uses before it handles a request."""

    @property
    def provider(self) -> str:
        """As in the contract, ``LINKEDIN`` …."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names under which clients reach the real one, if they do."""

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""


class Simulator(abc.ABC):
    """One provider's wire behaviour over the shared accounts.

    Attributes:
        provider: Name of the provider, as in the contract.
        kinds: Kinds of answers to the right code; ``plain`` is success.
        sources: Sources of this provider's codes.
        domains: Names under which clients reach the real one, and the hosts in them.
        app_secrets: Id of a client's app to the secret that signs its requests, where a request
            does not bring it along.
    """

    provider: ClassVar[str]
    kinds: ClassVar[frozenset[str]]
    sources: ClassVar[frozenset[Source]]
    domains: ClassVar[tuple[str, ...]] = ()

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.app_secrets: dict[str, str] = {}

    @abc.abstractmethod
    def begin_login(self, account: Account) -> Login:
        """Do the first step as if user name and password had been posted; send the code."""

    @abc.abstractmethod
    def routes(self) -> Iterable[web.RouteDef]:
        """The provider's endpoints. Handlers answer with a plain `aiohttp.web.Response`."""

    @abc.abstractmethod
    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """Tell whose request it is and whether it carries a code, before it is handled.

        Must find every code, right or wrong, in valid requests and others: the count of
        sends rests on it.
        """

    def deliver(self, account: Account, source: Source) -> None:
        """Send a code as this provider's are."""
        account.deliver(source)

    @abc.abstractmethod
    def begin_session(
        self, request: web.Request, response: web.Response, account: Account
    ) -> web.Response:
        """Set the cookies of a login that a browser has finished, and return the response."""

    @abc.abstractmethod
    def session_owner(self, request: web.Request) -> Account | None:
        """Return whose session the cookies of a browser's request are, if they are one."""

"""What differs between the providers' logins in a browser: words, fields, cookies, JSON.

A provider's module subclasses `Dialect` and names an instance ``DIALECT``; `site` does the rest.
"""

from __future__ import annotations

import abc
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from checkpoint_worker.providers.sandbox.web.templates import Html

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.sandbox.accounts import Account, Source
    from checkpoint_worker.providers.sandbox.web.login import WebLogin
    from checkpoint_worker.providers.sandbox.web.templates import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The texts of a provider's pages.

    Attributes:
        title: Heading of the page that asks for the code.
        wrong: Error for a wrong code.
        expired: Error for an expired one.
        said: Heading and text of each further page, by its name.
        buttons: Text of a button, by the name of its page.
    """

    brand: str
    title: str
    wrong: str
    expired: str
    said: Mapping[str, tuple[str, str]]
    buttons: Mapping[str, str]


class Dialect(abc.ABC):
    """The pages of one provider. Their form is the template with the provider's name.

    Attributes:
        provider: Name of the provider, as in the contract.
        words: The texts of its pages.
        credentials: Names of the fields for name and password.
        code_fields: Names that a code has on the wire.
        cookie: Name of the cookie that a login's token is kept in.
        token_field: Name of the hidden field with the same token.
        turn_field: Name of the hidden field that changes with each answer; empty without one.
        tries_max: Wrong codes until the login ends.
        by_script: Whether its form is sent by the page's script whatever the look.
        in_place: Whether its script puts the next form in the place of the last one.
        binds: Whether its pages can be bound to their browser.
    """

    provider: ClassVar[str]
    words: ClassVar[Words]
    credentials: ClassVar[tuple[str, str]]
    code_fields: ClassVar[tuple[str, ...]]
    cookie: ClassVar[str]
    token_field: ClassVar[str]
    turn_field: ClassVar[str] = ""
    tries_max: ClassVar[int] = 4
    by_script: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    binds: ClassVar[bool] = False

    @property
    def root(self) -> str:
        """Path that its pages are below."""
        return f"/web/{self.provider.lower()}"

    @abc.abstractmethod
    def cookies(self, login: WebLogin) -> Mapping[str, str]:
        """Return the cookies that a browser has before the login is finished."""

    @abc.abstractmethod
    def fields(self, login: WebLogin, now: float) -> Mapping[str, str]:
        """Return the hidden fields of the form, the tokens among them."""

    @abc.abstractmethod
    def field(self, login: WebLogin) -> Field:
        """Return the input that takes the code."""

    @abc.abstractmethod
    def following(self, source: Source) -> Source:
        """Return the source of the code of a second step."""

    @abc.abstractmethod
    def parts(self, login: WebLogin, error: str) -> Mapping[str, str]:
        """Return what the form's template names besides, or instead of, the parts that all have."""

    def habits(self, account: Account) -> frozenset[str]:
        """Return the looks that an account's pages have in any case."""
        del account
        return frozenset()

    def new_token(self) -> str:
        """Make the token of a login."""
        return secrets.token_urlsafe(24)

    def judge(self, login: WebLogin, code: str) -> str:
        """Return ``right``, ``wrong`` or ``expired``."""
        return login.account.judge(code, login.source)

    def said(self, login: WebLogin, what: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of the provider's own JSON.

        Args:
            login: The login.
            what: Name of the page that follows, or why none does: ``wrong``, ``expired``,
                ``forged``, ``bound``; ``over`` if the login was elsewhere already.
        """
        del login, what
        return 200, {}

    def home(self, account: Account) -> Html:
        """Return what the account's page has besides its name."""
        del account
        return Html("")

"""The session of a finished login: one documented model per provider.

`tasks.client` returns it from ``take_session``, and the OpenAPI document describes it. An adapter
builds its own model and passes `Session.as_json` to `Cleared`. A session that an earlier version
sealed is returned unchanged.

The field names are those of browsers and browser automation (``httpOnly``, ``sameSite``), so that a
cookie jar can be filled from them directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from checkpoint_worker.providers.contract import Context, Cookie


class SessionCookie(BaseModel):
    """One cookie of the finished login, with the attributes that its provider set."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    name: str
    value: str = Field(repr=False, description="As sent, quotes included.")
    domain: str = Field(
        description="As the provider set it, often with a dot in front; empty: the host's alone."
    )
    path: str
    expires: float | None = Field(
        description="Seconds since the epoch; null for a cookie that ends with the session."
    )
    secure: bool
    http_only: bool = Field(serialization_alias="httpOnly")
    same_site: Literal["Strict", "Lax", "None"] | None = Field(
        serialization_alias="sameSite", description="Null where the provider did not say."
    )

    @classmethod
    def of(cls, cookie: Cookie) -> SessionCookie:
        """Return a cookie of a context or an answer in this form."""
        return cls(
            name=cookie.name,
            value=cookie.value,
            domain=cookie.domain,
            path=cookie.path,
            expires=cookie.expires_at,
            secure=cookie.secure,
            http_only=cookie.http_only,
            same_site=cookie.same_site or None,
        )


class Session(BaseModel):
    """Everything that a client needs to continue a finished login."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    provider: str
    user_id: str = Field(description="The provider's own id of the account, as text.")
    public_identifier: str | None = Field(
        default=None, description="The account's public name in addresses, where there is one."
    )
    username: str | None = Field(default=None, description="The account's login or screen name.")
    user_agent: str = Field(description="As the login used it; empty if it used none.")
    device: dict[str, str] = Field(repr=False, description="Ids of the device, as the login used.")
    app: dict[str, str] = Field(repr=False, description="Constants of the app, as the login used.")
    cookies: tuple[SessionCookie, ...] = Field(repr=False)
    headers: dict[str, str] = Field(
        repr=False,
        description=(
            "What further requests carry beside the cookies: the bearer token and the like, and"
            " the constant headers of the context."
        ),
    )

    def as_json(self) -> dict[str, Any]:
        """Return the form that `Cleared` takes."""
        return self.model_dump(mode="json", by_alias=True)


def of_context(context: Context, cookies: Iterable[Cookie]) -> dict[str, Any]:
    """Return the fields that every provider's session takes from the login's context.

    Args:
        context: The context that the code was sent with.
        cookies: The jar after the last answer, without revoked cookies.
    """
    return {
        "user_agent": context.user_agent,
        "device": dict(context.device),
        "app": dict(context.app),
        "cookies": tuple(SessionCookie.of(cookie) for cookie in cookies),
    }

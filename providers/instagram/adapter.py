"""INSTAGRAM: the app's JSON endpoints, their Bloks successors and the web's form.

The first step's answer determined the route (`providers.instagram.contexts`). All routes answer in
one vocabulary, so one class reads them (`_ResponseReader.read`): first a finished login, unless the
answer names a further step; then the status, constants, addresses, steps and screens; texts last.

A login may continue: a checkpoint may follow a second factor, and another code or a second factor
may follow a checkpoint. A step that takes a code and that the context can answer is the next
checkpoint; the person does every other step in the provider's app. An unknown answer is in doubt
and ends no login.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from checkpoint_worker.providers.answers import hear as hear_code
from checkpoint_worker.providers.answers import refuse_common
from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Challenge,
    Checkpoint,
    Cleared,
    CodeFormat,
    Context,
    Cookie,
    Exchange,
    NextCheckpoint,
    ProviderFailure,
    Rejected,
    Reply,
    SolutionKind,
    UnreadableAnswerError,
    Verdict,
    tell_ways,
)
from checkpoint_worker.providers.http.html import merge_cookies
from checkpoint_worker.providers.http.jar import bounded, settled
from checkpoint_worker.providers.instagram import responses as means
from checkpoint_worker.providers.instagram.contexts import (
    APP_HOST,
    BloksAuthPlatformContext,
    BloksContext,
    BloksTwoFactorContext,
    ChallengeContext,
    ChallengeWebContext,
    CheckpointContext,
    InstagramContext,
    TwoFactorContext,
    WebContext,
)
from checkpoint_worker.providers.instagram.fields import CODE_FORMATS, OWN_STEPS, REDIRECT_ACTION
from checkpoint_worker.providers.instagram.further import (
    MID_MAX,
    checkpoint_after,
    code_source,
    second_factor_after,
)
from checkpoint_worker.providers.instagram.parsed import ParsedResponse, parse_response
from checkpoint_worker.providers.instagram.program import read_program
from checkpoint_worker.providers.instagram.requests import code_request, state_request
from checkpoint_worker.providers.instagram.session import (
    NEEDED,
    Found,
    InstagramSession,
    find,
    is_off,
    is_on,
    owner_of,
    session_of,
    text,
)
from checkpoint_worker.providers.sessions import Session
from checkpoint_worker.providers.steps import refuse_source

OK: Final = 200
REFUSAL: Final = 400


class Instagram:
    """The INSTAGRAM adapter. ``http`` is another name of the route ``two_factor``."""

    provider = "INSTAGRAM"
    default_url = APP_HOST
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType(
        {
            "http": TwoFactorContext,
            "two_factor": TwoFactorContext,
            "challenge": ChallengeContext,
            "challenge_web": ChallengeWebContext,
            "bloks_two_factor": BloksTwoFactorContext,
            "bloks_auth_platform": BloksAuthPlatformContext,
            "web": WebContext,
        }
    )
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType(dict(CODE_FORMATS))
    session: type[Session] = InstagramSession
    prepares = False
    knows_another_way = False

    def ways(self, challenge: Challenge) -> Sequence[str]:
        """Return the methods that the provider offers. See `NamesWays.ways`."""
        held, source = challenge.context, challenge.checkpoint.source
        offered = held.offered() if isinstance(held, InstagramContext) else ()
        return tuple(dict.fromkeys((*offered, *([source] if source else []))))

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Send the code over the context's route and read the answer. See `Adapter.verify`."""
        held = challenge.context
        assert isinstance(held, InstagramContext), "the caller validates with `contexts`"
        if challenge.solution is SolutionKind.ANOTHER_WAY:
            raise ActionRequiredError(tell_ways(self.ways(challenge)))
        source = challenge.checkpoint.source
        refuse_source(challenge)
        request = code_request(held, source=source, base_url=_home(held, challenge.base_url))
        answer = _ResponseReader(held=held, challenge=challenge, exchange=exchange)
        try:
            return await answer.read(await hear_code(exchange, request, _is_told_by_head))
        except ProviderFailure as failure:
            if isinstance(failure, UnreadableAnswerError) and failure.head is not None:
                answer.keep_cookies(failure.head.headers, failure.head.cookies)
            failure.context = failure.context or answer.context
            raise


class _ResponseReader:
    """Reads one answer.

    Attributes:
        context: The challenge context after the replies read so far.
    """

    def __init__(self, *, held: InstagramContext, challenge: Challenge, exchange: Exchange) -> None:
        self.context = held
        self._source = challenge.checkpoint.source
        self._base_url = challenge.base_url
        self._exchange = exchange

    async def read(self, reply: Reply) -> Verdict:
        """Read the answer to the code."""
        self.keep_cookies(reply.headers, reply.cookies)
        home = _home(self.context, self._base_url)
        parsed = parse_response(reply, home=home, is_bloks=isinstance(self.context, BloksContext))
        self.keep_cookies(parsed.headers, parsed.cookies)
        found = parsed.session()
        if found is not None and (parsed.claims_login or not parsed.names_further_step):
            return self._cleared(parsed, found)
        refuse_common(reply)
        if parsed.leads_to is not None:
            means.refuse(parsed.leads_to)
        if parsed.program:
            return self._read_program(parsed)
        if not parsed.is_readable:
            self._refuse_page(parsed)
        return await self._judge(parsed)

    async def _judge(self, parsed: ParsedResponse) -> Verdict:
        """Read a body without a session; the most specific signs come first."""
        if parsed.claims_login:
            means.refuse(means.NO_SESSION)
        if is_on(parsed.body.get("spam")):
            means.refuse(means.SUSPECTED)
        if parsed.asks_second_factor:
            return self._ask_second_factor(parsed)
        if parsed.asks_checkpoint:
            return await self._ask_checkpoint(parsed)
        meaning = means.of_constants(*parsed.constants)
        if meaning is None:
            if (verdict := self._read_step(parsed)) is not None:
                return verdict
            meaning = means.of_words(*parsed.sentences)
        if meaning is None and parsed.claims_end and isinstance(self.context, CheckpointContext):
            meaning = parsed.ends_at or means.OVER  # The last sign: it may come beside a next step.
        if meaning is None:
            other = means.STEP if parsed.describes_step else means.UNREADABLE
            meaning = means.WRONG if self._is_refusal(parsed) else other
        if meaning.failure is not None:
            means.refuse(meaning)
        return Rejected(context=self.context)

    def _is_refusal(self, parsed: ParsedResponse) -> bool:
        """Whether an answer without a known meaning is the provider's usual refusal of a code.

        Bloks refuses in its programs as a rule; the web also states that the login is not complete.
        """
        if parsed.judges_login or means.names_other_cause(*parsed.constants):
            return False
        if isinstance(self.context, WebContext) and is_off(parsed.body.get("authenticated")):
            return parsed.status in {OK, REFUSAL}
        return parsed.status == REFUSAL and parsed.body.get("status") == "fail"

    def _refuse_page(self, parsed: ParsedResponse) -> None:
        """Refuse a body that is no object: a page, a bare text, or none."""
        if parsed.status == 404 and means.NOT_FOUND.search(parsed.plain.lower()):  # noqa: PLR2004
            is_own = isinstance(self.context, CheckpointContext)
            means.refuse(means.DEAD if is_own else means.IN_APP)
        means.refuse(means.of_page(parsed.status, parsed.plain) or means.UNREADABLE)

    # The context after the answer ------------------------------------------------------

    def _keep(self, **changes: object) -> None:
        """Change the context, unless the change breaks the bounds of a context from a caller."""
        self.context = self.context.changed(**changes) or self.context

    def keep_cookies(self, headers: Mapping[str, str], cookies: tuple[Cookie, ...]) -> None:
        if mid := headers.get("ig-set-x-mid", "")[:MID_MAX]:
            if self.context.mid and not self.context.cookie("mid"):
                self._keep(mid=mid)
            else:
                cookies = (*cookies, Cookie(name="mid", value=mid))
        held = self.context.cookies
        if left := settled(cookies, held):
            self._keep(cookies=bounded(merge_cookies(held, left), NEEDED))

    # The finished login ----------------------------------------------------------------

    def _cleared(self, parsed: ParsedResponse, found: Found) -> Cleared:
        user = parsed.part("logged_in_user")
        claimed = (user.get("pk"), user.get("pk_id"), parsed.body.get("userId"))
        try:
            owner = owner_of(found, *claimed)
        except ValueError:
            means.refuse(means.CONTRADICTION)
        if owner is None:
            means.refuse(means.NO_OWNER)
        name = text(user.get("username")) or text(getattr(self.context, "username", ""))
        session = session_of(self.context, found, parsed.headers, owner=owner, name=name)
        return Cleared(user_id=owner, session=session.as_json())

    # A further step --------------------------------------------------------------------

    def _ask_second_factor(self, parsed: ParsedResponse) -> Verdict:
        """Read ``two_factor_required``: a refusal if it was the context's step."""
        info = parsed.second_factor
        if not isinstance(self.context, TwoFactorContext | WebContext | BloksTwoFactorContext):
            return second_factor_after(self.context, info) or means.refuse(means.IN_APP)
        identifier = text(info.get("two_factor_identifier"))
        if identifier and not isinstance(self.context, BloksTwoFactorContext):
            self._keep(two_factor_identifier=identifier)
        self._refuse_other_cause(parsed)
        return Rejected(context=self.context)

    def _refuse_other_cause(self, parsed: ParsedResponse) -> None:
        """Refuse an answer that asks for the code again and names a cause other than this one."""
        said = means.of_constants(*parsed.constants)
        said = said or means.of_words(*parsed.sentences)
        if said is not None and said.failure is not None and said is not means.DEAD:
            means.refuse(said)  # A code that is no longer valid is asked for anew here.

    async def _ask_checkpoint(self, parsed: ParsedResponse) -> Verdict:
        """Read ``challenge_required``: one request shows whether its code has been sent already."""
        if parsed.checkpoint_meaning is not None:
            means.refuse(parsed.checkpoint_meaning)
        following = checkpoint_after(self.context, parsed)
        if following is None:
            means.refuse(means.IN_APP)
        try:
            request = state_request(following, base_url=_home(following, self._base_url))
            reply = await self._exchange.fetch(request)
            self.keep_cookies(reply.headers, reply.cookies)
            refuse_common(reply)
            state = parse_response(reply, home=following.host, is_bloks=False)
        except ProviderFailure as failure:
            raise ActionRequiredError(means.IN_APP.detail) from failure
        ready = following.changed(step_name=state.step, cookies=self.context.cookies)
        if reply.status != OK or state.step not in means.CODE_STEPS or ready is None:
            means.refuse(means.IN_APP)
        checkpoint = Checkpoint(type="OTP", source=code_source(state))
        return NextCheckpoint(checkpoint=checkpoint, context=ready)

    def _read_step(self, parsed: ParsedResponse) -> Verdict | None:
        """Read the step of a checkpoint that an answer names, if there is one."""
        if parsed.step in means.CODE_STEPS:
            return self._code_step(parsed)
        if parsed.body.get("challenge_type_enum_str") == "PASSWORD_RESET":
            means.refuse(means.PASSWORD)
        if parsed.step in OWN_STEPS or parsed.body.get("bloks_action") == REDIRECT_ACTION:
            means.refuse(means.IN_APP)
        if parsed.step:
            means.refuse(means.STEP)
        return None

    def _code_step(self, parsed: ParsedResponse) -> Verdict:
        """Distinguish a repeated step, which refuses the code, from the next step."""
        if not isinstance(self.context, ChallengeContext | ChallengeWebContext):
            means.refuse(means.IN_APP)
        self._refuse_other_cause(parsed)
        source = code_source(parsed)
        # Other words than these for a source say nothing of the step that asked for the code.
        named = self._source if self._source in {"EMAIL", "SMS"} else None
        asked = named or means.CODE_STEPS.get(self.context.step_name)
        is_same = source is None or asked in {None, source}
        self._keep(step_name=parsed.step)
        if is_same or parsed.errors:
            return Rejected(context=self.context)
        checkpoint = Checkpoint(type="OTP", source=source)
        return NextCheckpoint(checkpoint=checkpoint, context=self.context)

    def _read_program(self, parsed: ParsedResponse) -> Verdict:
        """Read a Bloks program without a login."""
        home = _home(self.context, self._base_url)
        reading = read_program(self.context, parsed, home=home)
        if reading.meaning.failure is not None:
            means.refuse(reading.meaning)
        self._keep(**reading.fresh)
        return Rejected(context=self.context)


def _is_told_by_head(head: Reply) -> bool:
    """Whether an answer needs no body: it has a session, or the address of a redirect."""
    return find(head.headers, head.cookies) is not None or "location" in head.headers


def _home(context: InstagramContext, base_url: str) -> str:
    """Return the address of the context's route.

    The provider has a host for each route. A deployment that sets an address means it for all
    routes: a gateway or the sandbox.
    """
    return context.host if base_url == APP_HOST else base_url

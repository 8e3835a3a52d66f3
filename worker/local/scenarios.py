"""What the demo shows: one row per promise, each a short story told on a `ScenarioContext`.

A story opens intents, submits codes and says what must come of them. Everything it sees is what
any backend sees: the client, the results channel, and the sandbox's count of sends. To add a
row, write a story and put it into `SCENARIOS`, among those of its provider.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from celery import Celery

from checkpoint_worker.providers import LIVE_SESSION
from checkpoint_worker.providers.contract import TRY_ANOTHER_WAY
from checkpoint_worker.providers.live_session import new_session_secret
from checkpoint_worker.providers.sandbox import SandboxClient
from checkpoint_worker.tasks.catalogue import pair
from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.operations.validation import CheckpointError, new_id
from checkpoint_worker.tasks.operations.wake import TASK
from checkpoint_worker.worker.cli.console import outcome_label
from checkpoint_worker.worker.local.auth_proxy import AuthProxy
from checkpoint_worker.worker.local.holding_proxy import HoldingProxy

LINKEDIN: Final = "LINKEDIN"
INSTAGRAM: Final = "INSTAGRAM"
TWITTER: Final = "TWITTER"
MESSENGER: Final = "MESSENGER"
SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    LINKEDIN: ("EMAIL", "SMS", "APP"),
    INSTAGRAM: ("SMS", "APP", "BACKUP", "EMAIL"),
    TWITTER: ("EMAIL", "SMS", "APP", "BACKUP"),
    MESSENGER: ("SMS", "APP", "BACKUP"),
}
"""Where each provider's codes come from; a story that does not care takes the first."""

OUTCOME_TIMEOUT_S: Final = 30.0
"""A net above every deadline of the demo: an outcome that has not come by then is missing."""
CREATED: Final = "201 AccountCreated"
RECONNECTED: Final = "201 AccountReconnected"
NEXT: Final = "202 Checkpoint"


def error(status: int, type_: str) -> str:
    """Return an error of the catalogue in two words; one that is not in it is our mistake."""
    return f"{status} {pair(status, type_).type}"


REJECTED: Final = error(401, "invalid_checkpoint_solution")
CANCELED: Final = error(409, "operation_canceled")
KILLED: Final = error(500, "authentication_intent_error")
UNKNOWN: Final = error(403, "unknown_authentication_context")
PROVIDER_SILENT: Final = error(408, "request_timeout")
OUT_OF_TIME: Final = error(504, "request_timeout")
INVALID: Final = error(400, "invalid_parameters")
TOO_LONG: Final = error(400, "too_many_characters")
MISMATCH: Final = error(403, "account_mismatch")
ACTION: Final = error(403, "action_required")
EXISTS: Final = error(409, "already_exists")
PROXY_AUTH: Final = error(407, "proxy_auth_error")
NO_SESSION: Final = error(503, "no_client_session")


class MissingOutcomeError(Exception):
    """A submission got no outcome in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A final record as it came over the results channel."""

    record: Mapping[str, Any]
    at_s: float
    """On the monotonic clock."""


class Inbox:
    """What came over the results channel, by submission id.

    Attributes:
        doubled: Submissions whose outcome was published more than once; there must be none.
    """

    def __init__(self) -> None:
        self.doubled: list[str] = []
        self._arrivals: dict[str, asyncio.Future[Arrival]] = {}

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a final record from the channel."""
        submission_id = str(record["submission_id"])
        future = self._future(submission_id)
        if future.done():
            self.doubled.append(submission_id)
        else:
            future.set_result(Arrival(record=record, at_s=time.monotonic()))

    async def get(self, submission_id: str) -> Arrival:
        """Wait for the outcome of a submission.

        Raises:
            MissingOutcomeError: None came within ``OUTCOME_TIMEOUT_S``.
        """
        future = self._future(submission_id)
        try:
            return await asyncio.wait_for(asyncio.shield(future), OUTCOME_TIMEOUT_S)
        except TimeoutError:
            msg = f"no outcome of {submission_id} within {OUTCOME_TIMEOUT_S:g} s"
            raise MissingOutcomeError(msg) from None

    def _future(self, submission_id: str) -> asyncio.Future[Arrival]:
        if submission_id not in self._arrivals:
            self._arrivals[submission_id] = asyncio.get_running_loop().create_future()
        return self._arrivals[submission_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoEnvironment:
    """What all scenarios share.

    Attributes:
        client: Of the box.
        lonely: A client of a second deployment on the same Redis, which has no worker.
        sandbox: The simulated providers.
        toll: A proxy that wants credentials.
        host_session: Starts a client session as a process of its own: is given provider,
            account id, context and secret, and returns when it has registered.
        producer: A plain Celery app that knows the broker and nothing of us.
        queue: The name of its queue.
        inbox: What came over the results channels.
        tell: Called with each outcome as it arrives.
    """

    client: AsyncCheckpointClient
    workerless: AsyncCheckpointClient
    sandbox: SandboxClient
    toll: AuthProxy
    host_session: Callable[[str, str, Mapping[str, object], str], object]
    producer: Celery
    queue: str
    inbox: Inbox
    tell: Callable[[str, Check], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an account at a provider, whose login stopped at a checkpoint."""

    account_id: str
    provider: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A submission on its way."""

    id: str
    person: Person
    code: str = field(repr=False)
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One outcome beside what was promised.

    Attributes:
        what: Which submission of the story.
        took_s: From submit to outcome.
        faults: What is not as promised, in sentences.
    """

    what: str
    expected: str
    got: str
    status: int | None
    took_s: float
    submission_id: str | None = None
    faults: tuple[str, ...] = ()


class ScenarioContext:
    """One scenario's view of the world; collects what was checked."""

    def __init__(self, world: DemoEnvironment, provider: str, name: str) -> None:
        self.world = world
        self.provider = provider
        self.checks: list[Check] = []
        self.faults: list[str] = []
        self.worker_may_start = asyncio.Event()
        self._name = name
        self._promised: Counter[tuple[str, str]] = Counter()

    # The person and the backend

    async def person(
        self,
        source: str | None = None,
        *,
        kind: str = "plain",
        user_id: str | None = None,
        proxy: str | None = None,
        purpose: str = "connect",
    ) -> Person:
        """Make up a person and open the intent after the first step of the login.

        Args:
            source: Where the code comes from; the provider's usual one by default.
            kind: What the provider says after the right code.
            user_id: The provider's id of somebody who is there already.
            proxy: Of the intent.
            purpose: ``connect`` or ``reconnect``.
        """
        person = await self.stranger(source, kind=kind, user_id=user_id)
        await self.open(person, proxy=proxy, purpose=purpose)
        return person

    async def stranger(
        self, source: str | None = None, *, kind: str = "plain", user_id: str | None = None
    ) -> Person:
        """Make up a person for whom nobody opened an intent."""
        options = {"source": source or SOURCES[self.provider][0], "kind": kind}
        if user_id is not None:
            options["user_id"] = user_id
        sandbox = self.world.sandbox
        account = await asyncio.to_thread(sandbox.add_account, self.provider, **options)
        return Person(account_id=account["id"], provider=self.provider, user_id=account["user_id"])

    async def open(
        self,
        person: Person,
        *,
        proxy: str | None = None,
        purpose: str = "connect",
        workerless: bool = False,
        secret: str | None = None,
    ) -> dict[str, Any]:
        """Let the sandbox do the first step, open the intent, and return the login's context.

        Args:
            person: Whose login.
            proxy: Of the intent.
            purpose: ``connect`` or ``reconnect``.
            lonely: At the deployment that has no worker.
            secret: Of the client session that holds the login; the intent gets no more of it.
        """
        login = await asyncio.to_thread(self.world.sandbox.begin_login, person.account_id)
        context: dict[str, Any] = login["context"]
        client = self.world.workerless if workerless else self.world.client
        await client.open_intent(
            account_id=person.account_id,
            provider=person.provider,
            checkpoint=login["checkpoint"],
            context={"route": LIVE_SESSION, "secret": secret} if secret else context,
            user_id=login["user_id"],
            proxy=proxy,
            purpose=purpose,
        )
        return context

    async def right(self, person: Person) -> str:
        """Return the code in the person's inbox or authenticator app."""
        return await asyncio.to_thread(self.world.sandbox.current_code, person.account_id)

    async def wrong(self, person: Person) -> str:
        """Return a code that is wrong and stays so."""
        return await asyncio.to_thread(self.world.sandbox.wrong_code, person.account_id)

    async def submit(self, person: Person, code: str, *, workerless: bool = False) -> Ticket:
        """Submit a code as a backend does."""
        ticket = Ticket(id=new_id(), person=person, code=code, at_s=time.monotonic())
        client = self.world.workerless if workerless else self.world.client
        await client.submit(
            account_id=person.account_id,
            provider=person.provider,
            code=code,
            submission_id=ticket.id,
        )
        return ticket

    async def produce(self, person: Person, code: str) -> Ticket:
        """Submit a code with plain Celery; the task id is the submission id."""
        ticket = Ticket(id=new_id(), person=person, code=code, at_s=time.monotonic())
        kwargs = {"account_id": person.account_id, "provider": person.provider, "code": code}
        await asyncio.to_thread(
            self.world.producer.send_task,
            TASK,
            kwargs=kwargs,
            task_id=ticket.id,
            queue=self.world.queue,
        )
        return ticket

    # The provider

    async def trouble(self, person: Person, **faults: object) -> None:
        """Let something go wrong at the provider from now on; without faults nothing does."""
        await asyncio.to_thread(self.world.sandbox.set_faults, person.account_id, **faults)

    async def received(self, person: Person, count: int = 1) -> None:
        """Wait until so many codes of the person have arrived at the provider."""
        await asyncio.to_thread(self.world.sandbox.received, person.account_id, count)

    # What must come of it

    async def outcome(
        self,
        what: str,
        ticket: Ticket,
        expected: str,
        *,
        sent: bool,
        failures_left: int | None = None,
        superseded_by: Ticket | None = None,
    ) -> None:
        """Wait for an outcome and compare it with the promise.

        Args:
            what: Which submission of the story.
            ticket: The submission.
            expected: Status and type.
            sent: Whether the code must have gone to the provider, once.
            failures_left: Tries the intent must have left.
            superseded_by: The newer submission the record must name.
        """
        arrival = await self.world.inbox.get(ticket.id)
        record = arrival.record
        self._promised[ticket.person.account_id, ticket.code] += sent
        intent = record["intent"] or {}
        wanted = {
            "status and type": (expected, outcome_label(record["status"], record["body"])),
            "code_sent": (sent, record["code_sent"]),
            "superseded_by": (superseded_by and superseded_by.id, record["superseded_by"]),
        }
        if failures_left is not None:
            wanted["failures_left"] = (failures_left, intent.get("failures_left"))
        faults = tuple(
            f"{what}: {name} is {got}, promised was {promised}"
            for name, (promised, got) in wanted.items()
            if promised != got
        )
        self._note(
            Check(
                what=what,
                expected=expected,
                got=outcome_label(record["status"], record["body"]),
                status=record["status"],
                took_s=arrival.at_s - ticket.at_s,
                submission_id=ticket.id,
                faults=faults,
            )
        )

    async def refused(
        self, what: str, expected: str, *, account_id: str, provider: str, code: str
    ) -> None:
        """Submit what is refused at the door, and see that nothing was stored."""
        client, id_, start_s = self.world.client, new_id(), time.monotonic()
        got, status = "accepted", None
        try:
            await client.submit(
                account_id=account_id, provider=provider, code=code, submission_id=id_
            )
        except CheckpointError as refusal:
            got, status = outcome_label(refusal.status, refusal.body), refusal.status
        faults = [] if got == expected else [f"{what}: {got}, promised was {expected}"]
        if await client.result(id_) is not None:
            faults.append(f"{what}: there is a record")
        took_s = time.monotonic() - start_s
        self._note(
            Check(
                what=what,
                expected=expected,
                got=got,
                status=status,
                took_s=took_s,
                faults=tuple(faults),
            )
        )

    def expect(self, promise: str, *, hold: bool) -> None:
        """Check a promise beside the outcomes."""
        if not hold:
            self.faults.append(f"not so: {promise}")

    def _note(self, check: Check) -> None:
        self.checks.append(check)
        self.faults += check.faults
        self.world.tell(self._name, check)

    async def sends(self) -> tuple[int, int]:
        """Compare the codes that arrived at the provider with the promise: (promised, got)."""
        got = 0
        for (account_id, code), promised in self._promised.items():
            sends = await asyncio.to_thread(self.world.sandbox.sends, account_id, code=code)
            got += len(sends)
            if len(sends) != promised:
                self.faults.append(f"a code was sent {len(sends)} times, promised was {promised}")
        return sum(self._promised.values()), got


Story = Callable[[ScenarioContext], Awaitable[None]]


class Start(enum.Enum):
    """When a story begins."""

    WITH_WORKER = "as soon as a worker runs"
    BEFORE_WORKER = "while none runs; the stage is told when one may start"
    WITHOUT_WORKER = "at once; it needs none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the demo.

    Attributes:
        name: For ``--scenario``.
        about: What it shows, in a few words.
        story: Tells it.
        provider: At which provider.
        start: When it begins.
    """

    name: str
    about: str
    story: Story
    provider: str = LINKEDIN
    start: Start = Start.WITH_WORKER


# The stories ---------------------------------------------------------------------------


async def _session_taken(stage: ScenarioContext) -> None:
    client, person = stage.world.client, await stage.person()
    ticket = await stage.submit(person, await stage.right(person))
    await stage.outcome("right code", ticket, CREATED, sent=True)
    who = {"account_id": person.account_id, "provider": person.provider}
    first = await client.take_session(**who, token="backend-1")  # noqa: S106  a name
    other = await client.take_session(**who, token="backend-2")  # noqa: S106
    again = await client.take_session(**who, token="backend-1")  # noqa: S106
    stage.expect("the backend can take the session", hold=bool(first))
    stage.expect("nobody else can take it then", hold=other is None)
    stage.expect("whoever lost the reply can take it again", hold=again == first)


def _accepted_from(source: str) -> Story:
    async def story(stage: ScenarioContext) -> None:
        person = await stage.person(source)
        ticket = await stage.submit(person, await stage.right(person))
        await stage.outcome(f"code from {source}", ticket, CREATED, sent=True)

    return story


async def _wrong(stage: ScenarioContext) -> None:
    person = await stage.person()
    first = await stage.submit(person, await stage.wrong(person))
    await stage.outcome("wrong code", first, REJECTED, sent=True, failures_left=2)
    second = await stage.submit(person, await stage.right(person))
    await stage.outcome("then the right one", second, CREATED, sent=True)


async def _three_wrong(stage: ScenarioContext) -> None:
    person = await stage.person()
    for left, what, expected in (
        (2, "wrong", REJECTED),
        (1, "wrong again", REJECTED),
        (0, "and again", KILLED),
    ):
        ticket = await stage.submit(person, await stage.wrong(person))
        await stage.outcome(what, ticket, expected, sent=True, failures_left=left)
    late = await stage.submit(person, await stage.right(person))
    await stage.outcome("right, too late", late, KILLED, sent=False)


async def _newer_while_queued(stage: ScenarioContext) -> None:
    person = await stage.person()
    elder = await stage.submit(person, await stage.wrong(person))
    newer = await stage.submit(person, await stage.right(person))
    stage.worker_may_start.set()
    await stage.outcome("older", elder, CANCELED, sent=False, superseded_by=newer)
    await stage.outcome("newer", newer, CREATED, sent=True, failures_left=3)


async def _newer_before_send(stage: ScenarioContext) -> None:
    async with HoldingProxy() as gate:
        person = await stage.person(proxy=gate.url)
        elder = await stage.submit(person, await stage.wrong(person))
        await gate.arrived()
        newer = await stage.submit(person, await stage.right(person))
        await stage.outcome("older", elder, CANCELED, sent=False, superseded_by=newer)
        gate.open()
        await stage.outcome("newer", newer, CREATED, sent=True, failures_left=3)


async def _newer_after_send(stage: ScenarioContext) -> None:
    person = await stage.person()
    await stage.trouble(person, hold=True)
    elder = await stage.submit(person, await stage.wrong(person))
    await stage.received(person)
    newer = await stage.submit(person, await stage.right(person))
    await stage.outcome("older", elder, CANCELED, sent=True, superseded_by=newer)
    await stage.trouble(person)
    await stage.outcome("newer", newer, CREATED, sent=True)


async def _newer_while_hanging(stage: ScenarioContext) -> None:
    person = await stage.person()
    await stage.trouble(person, hang=True)
    elder = await stage.submit(person, await stage.wrong(person))
    await stage.received(person)
    await stage.trouble(person)  # For the next one; the first hangs for ever.
    newer = await stage.submit(person, await stage.right(person))
    await stage.outcome("older", elder, CANCELED, sent=True, superseded_by=newer)
    await stage.outcome("newer", newer, CREATED, sent=True, failures_left=3)


async def _double_click(stage: ScenarioContext) -> None:
    person = await stage.person()
    await stage.trouble(person, hold=True)
    code = await stage.right(person)
    first = await stage.submit(person, code)
    await stage.received(person)
    second = await stage.submit(person, code)
    await stage.outcome("first click", first, CANCELED, sent=True, superseded_by=second)
    await stage.trouble(person)
    await stage.outcome("second click", second, CREATED, sent=False)


async def _hangs(stage: ScenarioContext) -> None:
    person = await stage.person()
    await stage.trouble(person, hang=True)
    ticket = await stage.submit(person, await stage.wrong(person))
    await stage.outcome("no answer", ticket, PROVIDER_SILENT, sent=True, failures_left=3)


async def _unserved(stage: ScenarioContext) -> None:
    person = await stage.stranger()
    await stage.open(person, workerless=True)
    ticket = await stage.submit(person, await stage.right(person), workerless=True)
    # No worker, no sweeper: whoever asks after the deadline settles it.
    await stage.world.workerless.wait(ticket.id, OUTCOME_TIMEOUT_S)
    await stage.outcome("nobody works", ticket, OUT_OF_TIME, sent=False)


async def _no_intent(stage: ScenarioContext) -> None:
    person = await stage.stranger()
    ticket = await stage.submit(person, await stage.wrong(person))
    await stage.outcome("no login open", ticket, UNKNOWN, sent=False)


async def _bad_input(stage: ScenarioContext) -> None:
    person = await stage.stranger()
    good = {"account_id": person.account_id, "provider": person.provider, "code": "123456"}
    await stage.refused("empty code", INVALID, **good | {"code": " "})
    await stage.refused("endless code", TOO_LONG, **good | {"code": "1" * 257})
    await stage.refused("unknown provider", INVALID, **good | {"provider": "FAXBOOK"})
    await stage.refused("no account", INVALID, **good | {"account_id": ""})


async def _celery_producer(stage: ScenarioContext) -> None:
    person = await stage.person()
    ticket = await stage.produce(person, await stage.right(person))
    await stage.outcome("send_task", ticket, CREATED, sent=True)


async def _chained(stage: ScenarioContext) -> None:
    person = await stage.person(kind="chained")
    first = await stage.submit(person, await stage.right(person))
    await stage.outcome("first code", first, NEXT, sent=True, failures_left=3)
    second = await stage.submit(person, await stage.right(person))
    await stage.outcome("second code", second, CREATED, sent=True)


async def _reconnect(stage: ScenarioContext) -> None:
    person = await stage.person(purpose="reconnect")
    ticket = await stage.submit(person, await stage.right(person))
    await stage.outcome("known account", ticket, RECONNECTED, sent=True)


async def _another_way(stage: ScenarioContext) -> None:
    person = await stage.person()
    asked = await stage.submit(person, TRY_ANOTHER_WAY)
    await stage.outcome("another way", asked, ACTION, sent=False, failures_left=3)
    ticket = await stage.submit(person, await stage.right(person))
    await stage.outcome("then the code", ticket, CREATED, sent=True)


async def _somebody_else(stage: ScenarioContext) -> None:
    person = await stage.person(kind="somebody_else")
    ticket = await stage.submit(person, await stage.right(person))
    await stage.outcome("another user's", ticket, MISMATCH, sent=True)


async def _connected_twice(stage: ScenarioContext) -> None:
    first = await stage.person()
    ticket = await stage.submit(first, await stage.right(first))
    await stage.outcome("first account", ticket, CREATED, sent=True)
    second = await stage.person(user_id=first.user_id)
    ticket = await stage.submit(second, await stage.right(second))
    await stage.outcome("second account", ticket, EXISTS, sent=True)


async def _proxy(stage: ScenarioContext) -> None:
    toll = stage.world.toll
    person = await stage.person(proxy=toll.url(toll.password))
    ticket = await stage.submit(person, await stage.right(person))
    await stage.outcome("proxy's password", ticket, CREATED, sent=True)
    stage.expect("it went through the proxy", hold=toll.passed > 0)


async def _proxy_refuses(stage: ScenarioContext) -> None:
    toll = stage.world.toll
    person = await stage.person(proxy=toll.url("not-the-password"))
    ticket = await stage.submit(person, await stage.right(person))
    await stage.outcome("wrong password", ticket, PROXY_AUTH, sent=False, failures_left=3)
    stage.expect("the proxy refused it", hold=toll.refused > 0)


async def _live_session(stage: ScenarioContext) -> None:
    person = await stage.stranger()
    secret = new_session_secret()
    context = await stage.open(person, secret=secret)
    who = (person.provider, person.account_id)
    await asyncio.to_thread(stage.world.host_session, *who, context, secret)
    wrong = await stage.submit(person, await stage.wrong(person))
    await stage.outcome("wrong code", wrong, REJECTED, sent=True, failures_left=2)
    right = await stage.submit(person, await stage.right(person))
    await stage.outcome("then the right one", right, CREATED, sent=True)


async def _no_session(stage: ScenarioContext) -> None:
    person = await stage.stranger()
    await stage.open(person, secret=new_session_secret())
    ticket = await stage.submit(person, await stage.right(person))
    await stage.outcome("no session", ticket, NO_SESSION, sent=False, failures_left=3)


_LEADS: Final = {
    "EMAIL": "code by email",
    "SMS": "code from a text message",
    "APP": "code from an authenticator app",
    "BACKUP": "backup code",
}


def _basics(provider: str) -> tuple[Scenario, ...]:
    """Return what every provider is played with: each source, and a wrong code."""
    name = provider.lower()
    sources = (
        Scenario(
            name=f"{name}-{source.lower()}",
            about=_LEADS[source],
            story=_accepted_from(source),
            provider=provider,
        )
        for source in SOURCES[provider]
    )
    wrong = Scenario(
        name=f"{name}-wrong",
        about="wrong code, then the right one",
        story=_wrong,
        provider=provider,
    )
    return (*sources, wrong)


def _chain(provider: str) -> Scenario:
    return Scenario(
        name=f"{provider.lower()}-chained",
        about="two checkpoints in a row",
        story=_chained,
        provider=provider,
    )


SCENARIOS: Final = (
    *_basics(LINKEDIN),
    _chain(LINKEDIN),
    Scenario(name="session", about="the backend takes the session, once", story=_session_taken),
    Scenario(name="killed", about="three wrong codes end the login", story=_three_wrong),
    Scenario(
        name="newer-queued",
        about="newer code while the older is queued",
        story=_newer_while_queued,
        start=Start.BEFORE_WORKER,
    ),
    Scenario(
        name="newer-before-send",
        about="newer code while the older connects",
        story=_newer_before_send,
    ),
    Scenario(
        name="newer-after-send",
        about="newer code while the provider thinks",
        story=_newer_after_send,
    ),
    Scenario(
        name="newer-hanging",
        about="newer code while the provider hangs",
        story=_newer_while_hanging,
    ),
    Scenario(name="double-click", about="the same code twice, sent once", story=_double_click),
    Scenario(name="hang", about="the provider never answers", story=_hangs),
    Scenario(
        name="unserved",
        about="no worker serves the queue",
        story=_unserved,
        start=Start.WITHOUT_WORKER,
    ),
    Scenario(
        name="no-intent",
        about="nobody opened a login",
        story=_no_intent,
        start=Start.WITHOUT_WORKER,
    ),
    Scenario(
        name="bad-input",
        about="refused before it is stored",
        story=_bad_input,
        start=Start.WITHOUT_WORKER,
    ),
    Scenario(name="celery", about="plain Celery producer", story=_celery_producer),
    *_basics(INSTAGRAM),
    _chain(INSTAGRAM),
    Scenario(
        name="reconnect",
        about="an account that is connected again",
        story=_reconnect,
        provider=INSTAGRAM,
    ),
    Scenario(
        name="connected-twice",
        about="the same user on a second account",
        story=_connected_twice,
        provider=INSTAGRAM,
    ),
    *_basics(TWITTER),
    _chain(TWITTER),
    Scenario(
        name="another-way",
        about="TRY_ANOTHER_WAY, then the code after all",
        story=_another_way,
        provider=TWITTER,
    ),
    Scenario(
        name="proxy",
        about="through a proxy with a password",
        story=_proxy,
        provider=TWITTER,
    ),
    Scenario(
        name="proxy-refuses",
        about="the proxy refuses the password",
        story=_proxy_refuses,
        provider=TWITTER,
    ),
    *_basics(MESSENGER),
    Scenario(
        name="somebody-else",
        about="the code opens another user's account",
        story=_somebody_else,
        provider=MESSENGER,
    ),
    Scenario(
        name="live-session",
        about="a client session holds the login",
        story=_live_session,
        provider=MESSENGER,
    ),
    Scenario(
        name="no-session",
        about="no client session is there",
        story=_no_session,
        provider=MESSENGER,
    ),
)
"""Those of one provider stand together."""

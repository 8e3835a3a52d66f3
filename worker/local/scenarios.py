"""The scenarios of the demo, one for each promise; each runs on a `ScenarioContext`.

A scenario opens intents, submits codes and compares the outcomes with the promise. It uses only
what every backend has (the client and the results channel) and the sandbox's count of received
codes. To add a scenario, write its function and add an entry to `SCENARIOS`, beside those of its
provider.
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
"""The sources of each provider's codes; a scenario uses the first one by default."""

OUTCOME_TIMEOUT_S: Final = 30.0
"""Longest wait for an outcome, above every deadline of the demo; then it counts as missing."""
CREATED: Final = "201 AccountCreated"
RECONNECTED: Final = "201 AccountReconnected"
NEXT: Final = "202 Checkpoint"


def error(status: int, type_: str) -> str:
    """Return the label of an error in the catalogue; any other error is a bug in a scenario."""
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
    """A final record that the results channel delivered."""

    record: Mapping[str, Any]
    at_s: float
    """Time of arrival on the monotonic clock."""


class Inbox:
    """Records from the results channel, by submission id.

    Attributes:
        doubled: Submissions whose outcome was published more than once; there must be none.
    """

    def __init__(self) -> None:
        self.doubled: list[str] = []
        self._arrivals: dict[str, asyncio.Future[Arrival]] = {}

    def put(self, record: Mapping[str, Any]) -> None:
        """Add a final record from the channel."""
        submission_id = str(record["submission_id"])
        future = self._future(submission_id)
        if future.done():
            self.doubled.append(submission_id)
        else:
            future.set_result(Arrival(record=record, at_s=time.monotonic()))

    async def get(self, submission_id: str) -> Arrival:
        """Wait for the outcome of a submission.

        Raises:
            MissingOutcomeError: No outcome arrived within ``OUTCOME_TIMEOUT_S``.
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
    """The services that all scenarios share.

    Attributes:
        client: A client of the local stack.
        workerless: A client of a second deployment on the same Redis, which has no worker.
        sandbox: The simulated providers.
        auth_proxy: A proxy that requires credentials.
        host_session: Starts a client session in a process of its own from provider, account id,
            context and secret; returns when it has registered.
        producer: A plain Celery app that knows only the broker.
        queue: The name of the deployment's queue.
        inbox: Records from the results channels.
        tell: Called with each outcome when it arrives.
    """

    client: AsyncCheckpointClient
    workerless: AsyncCheckpointClient
    sandbox: SandboxClient
    auth_proxy: AuthProxy
    host_session: Callable[[str, str, Mapping[str, object], str], object]
    producer: Celery
    queue: str
    inbox: Inbox
    tell: Callable[[str, Check], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user with an account at a provider, whose login stopped at a checkpoint."""

    account_id: str
    provider: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A submission without an outcome yet."""

    id: str
    person: Person
    code: str = field(repr=False)
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One outcome compared with the promise.

    Attributes:
        what: Name of the submission within the scenario.
        took_s: Time from submission to outcome.
        faults: Deviations from the promise, as sentences.
    """

    what: str
    expected: str
    got: str
    status: int | None
    took_s: float
    submission_id: str | None = None
    faults: tuple[str, ...] = ()


class ScenarioContext:
    """Operations of one scenario; collects its checks and faults."""

    def __init__(self, environment: DemoEnvironment, provider: str, name: str) -> None:
        self.environment = environment
        self.provider = provider
        self.checks: list[Check] = []
        self.faults: list[str] = []
        self.worker_may_start = asyncio.Event()
        self._name = name
        self._promised: Counter[tuple[str, str]] = Counter()

    # The user and the backend

    async def person(
        self,
        source: str | None = None,
        *,
        kind: str = "plain",
        user_id: str | None = None,
        proxy: str | None = None,
        purpose: str = "connect",
    ) -> Person:
        """Create a user and open the intent after the first step of the login.

        Args:
            source: Source of the code; the provider's first one by default.
            kind: The provider's reaction to the right code.
            user_id: The provider's id of a user who has an account already.
            proxy: The proxy of the intent.
            purpose: ``connect`` or ``reconnect``.
        """
        person = await self.stranger(source, kind=kind, user_id=user_id)
        await self.open(person, proxy=proxy, purpose=purpose)
        return person

    async def stranger(
        self, source: str | None = None, *, kind: str = "plain", user_id: str | None = None
    ) -> Person:
        """Create a user without an intent."""
        options = {"source": source or SOURCES[self.provider][0], "kind": kind}
        if user_id is not None:
            options["user_id"] = user_id
        sandbox = self.environment.sandbox
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
        """Make the sandbox do the first step, open the intent, and return the login's context.

        Args:
            person: The user who logs in.
            proxy: The proxy of the intent.
            purpose: ``connect`` or ``reconnect``.
            workerless: Whether to use the deployment without a worker.
            secret: Secret of the client session that holds the login; the intent gets only the
                secret.
        """
        login = await asyncio.to_thread(self.environment.sandbox.begin_login, person.account_id)
        context: dict[str, Any] = login["context"]
        client = self.environment.workerless if workerless else self.environment.client
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
        """Return the code in the user's inbox or authenticator app."""
        return await asyncio.to_thread(self.environment.sandbox.current_code, person.account_id)

    async def wrong(self, person: Person) -> str:
        """Return a code that is wrong and stays wrong."""
        return await asyncio.to_thread(self.environment.sandbox.wrong_code, person.account_id)

    async def submit(self, person: Person, code: str, *, workerless: bool = False) -> Ticket:
        """Submit a code as a backend does."""
        ticket = Ticket(id=new_id(), person=person, code=code, at_s=time.monotonic())
        client = self.environment.workerless if workerless else self.environment.client
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
            self.environment.producer.send_task,
            TASK,
            kwargs=kwargs,
            task_id=ticket.id,
            queue=self.environment.queue,
        )
        return ticket

    # The provider

    async def trouble(self, person: Person, **faults: object) -> None:
        """Set the faults that the provider shows from now on; without arguments it shows none."""
        await asyncio.to_thread(self.environment.sandbox.set_faults, person.account_id, **faults)

    async def received(self, person: Person, count: int = 1) -> None:
        """Wait until ``count`` codes of the user have arrived at the provider."""
        await asyncio.to_thread(self.environment.sandbox.received, person.account_id, count)

    # Promises

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
            what: Name of the submission within the scenario.
            ticket: The submission.
            expected: Status and type.
            sent: Whether the code must have reached the provider, once.
            failures_left: Tries that the intent must have left.
            superseded_by: The newer submission that the record must name.
        """
        arrival = await self.environment.inbox.get(ticket.id)
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
        """Submit invalid input; check that it is refused and that no record was stored."""
        client, id_, start_s = self.environment.client, new_id(), time.monotonic()
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
        """Check a promise other than an outcome."""
        if not hold:
            self.faults.append(f"not so: {promise}")

    def _note(self, check: Check) -> None:
        self.checks.append(check)
        self.faults += check.faults
        self.environment.tell(self._name, check)

    async def sends(self) -> tuple[int, int]:
        """Return how many codes were promised to reach the provider, and how many did."""
        got = 0
        for (account_id, code), promised in self._promised.items():
            sends = await asyncio.to_thread(self.environment.sandbox.sends, account_id, code=code)
            got += len(sends)
            if len(sends) != promised:
                self.faults.append(f"a code was sent {len(sends)} times, promised was {promised}")
        return sum(self._promised.values()), got


Story = Callable[[ScenarioContext], Awaitable[None]]


class Start(enum.Enum):
    """The time at which a scenario starts."""

    WITH_WORKER = "as soon as a worker runs"
    BEFORE_WORKER = "while none runs; the stage is told when one may start"
    WITHOUT_WORKER = "at once; it needs none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario of the demo.

    Attributes:
        name: The name for ``--scenario``.
        about: A description in a few words.
        story: The function that runs it.
        provider: The provider that it uses.
        start: The time at which it starts.
    """

    name: str
    about: str
    story: Story
    provider: str = LINKEDIN
    start: Start = Start.WITH_WORKER


# The scenarios' functions --------------------------------------------------------------


async def _session_taken(context: ScenarioContext) -> None:
    client, person = context.environment.client, await context.person()
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("right code", ticket, CREATED, sent=True)
    who = {"account_id": person.account_id, "provider": person.provider}
    first = await client.take_session(**who, token="backend-1")  # noqa: S106  a name, not a secret
    other = await client.take_session(**who, token="backend-2")  # noqa: S106
    again = await client.take_session(**who, token="backend-1")  # noqa: S106
    context.expect("the backend can take the session", hold=bool(first))
    context.expect("nobody else can take it then", hold=other is None)
    context.expect("whoever lost the reply can take it again", hold=again == first)


def _accepted_from(source: str) -> Story:
    async def story(context: ScenarioContext) -> None:
        person = await context.person(source)
        ticket = await context.submit(person, await context.right(person))
        await context.outcome(f"code from {source}", ticket, CREATED, sent=True)

    return story


async def _wrong(context: ScenarioContext) -> None:
    person = await context.person()
    first = await context.submit(person, await context.wrong(person))
    await context.outcome("wrong code", first, REJECTED, sent=True, failures_left=2)
    second = await context.submit(person, await context.right(person))
    await context.outcome("then the right one", second, CREATED, sent=True)


async def _three_wrong(context: ScenarioContext) -> None:
    person = await context.person()
    for left, what, expected in (
        (2, "wrong", REJECTED),
        (1, "wrong again", REJECTED),
        (0, "and again", KILLED),
    ):
        ticket = await context.submit(person, await context.wrong(person))
        await context.outcome(what, ticket, expected, sent=True, failures_left=left)
    late = await context.submit(person, await context.right(person))
    await context.outcome("right, too late", late, KILLED, sent=False)


async def _newer_while_queued(context: ScenarioContext) -> None:
    person = await context.person()
    previous = await context.submit(person, await context.wrong(person))
    newer = await context.submit(person, await context.right(person))
    context.worker_may_start.set()
    await context.outcome("older", previous, CANCELED, sent=False, superseded_by=newer)
    await context.outcome("newer", newer, CREATED, sent=True, failures_left=3)


async def _newer_before_send(context: ScenarioContext) -> None:
    async with HoldingProxy() as proxy:
        person = await context.person(proxy=proxy.url)
        previous = await context.submit(person, await context.wrong(person))
        await proxy.arrived()
        newer = await context.submit(person, await context.right(person))
        await context.outcome("older", previous, CANCELED, sent=False, superseded_by=newer)
        proxy.open()
        await context.outcome("newer", newer, CREATED, sent=True, failures_left=3)


async def _newer_after_send(context: ScenarioContext) -> None:
    person = await context.person()
    await context.trouble(person, hold=True)
    previous = await context.submit(person, await context.wrong(person))
    await context.received(person)
    newer = await context.submit(person, await context.right(person))
    await context.outcome("older", previous, CANCELED, sent=True, superseded_by=newer)
    await context.trouble(person)
    await context.outcome("newer", newer, CREATED, sent=True)


async def _newer_while_hanging(context: ScenarioContext) -> None:
    person = await context.person()
    await context.trouble(person, hang=True)
    previous = await context.submit(person, await context.wrong(person))
    await context.received(person)
    await context.trouble(person)  # For the next code; the first one hangs for ever.
    newer = await context.submit(person, await context.right(person))
    await context.outcome("older", previous, CANCELED, sent=True, superseded_by=newer)
    await context.outcome("newer", newer, CREATED, sent=True, failures_left=3)


async def _double_click(context: ScenarioContext) -> None:
    person = await context.person()
    await context.trouble(person, hold=True)
    code = await context.right(person)
    first = await context.submit(person, code)
    await context.received(person)
    second = await context.submit(person, code)
    await context.outcome("first click", first, CANCELED, sent=True, superseded_by=second)
    await context.trouble(person)
    await context.outcome("second click", second, CREATED, sent=False)


async def _hangs(context: ScenarioContext) -> None:
    person = await context.person()
    await context.trouble(person, hang=True)
    ticket = await context.submit(person, await context.wrong(person))
    await context.outcome("no answer", ticket, PROVIDER_SILENT, sent=True, failures_left=3)


async def _unserved(context: ScenarioContext) -> None:
    person = await context.stranger()
    await context.open(person, workerless=True)
    ticket = await context.submit(person, await context.right(person), workerless=True)
    # Without worker and sweeper, a client that asks after the deadline settles the submission.
    await context.environment.workerless.wait(ticket.id, OUTCOME_TIMEOUT_S)
    await context.outcome("nobody works", ticket, OUT_OF_TIME, sent=False)


async def _no_intent(context: ScenarioContext) -> None:
    person = await context.stranger()
    ticket = await context.submit(person, await context.wrong(person))
    await context.outcome("no login open", ticket, UNKNOWN, sent=False)


async def _bad_input(context: ScenarioContext) -> None:
    person = await context.stranger()
    good = {"account_id": person.account_id, "provider": person.provider, "code": "123456"}
    await context.refused("empty code", INVALID, **good | {"code": " "})
    await context.refused("endless code", TOO_LONG, **good | {"code": "1" * 257})
    await context.refused("unknown provider", INVALID, **good | {"provider": "FAXBOOK"})
    await context.refused("no account", INVALID, **good | {"account_id": ""})


async def _celery_producer(context: ScenarioContext) -> None:
    person = await context.person()
    ticket = await context.produce(person, await context.right(person))
    await context.outcome("send_task", ticket, CREATED, sent=True)


async def _chained(context: ScenarioContext) -> None:
    person = await context.person(kind="chained")
    first = await context.submit(person, await context.right(person))
    await context.outcome("first code", first, NEXT, sent=True, failures_left=3)
    second = await context.submit(person, await context.right(person))
    await context.outcome("second code", second, CREATED, sent=True)


async def _reconnect(context: ScenarioContext) -> None:
    person = await context.person(purpose="reconnect")
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("known account", ticket, RECONNECTED, sent=True)


async def _another_way(context: ScenarioContext) -> None:
    person = await context.person()
    asked = await context.submit(person, TRY_ANOTHER_WAY)
    await context.outcome("another way", asked, ACTION, sent=False, failures_left=3)
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("then the code", ticket, CREATED, sent=True)


async def _somebody_else(context: ScenarioContext) -> None:
    person = await context.person(kind="somebody_else")
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("another user's", ticket, MISMATCH, sent=True)


async def _connected_twice(context: ScenarioContext) -> None:
    first = await context.person()
    ticket = await context.submit(first, await context.right(first))
    await context.outcome("first account", ticket, CREATED, sent=True)
    second = await context.person(user_id=first.user_id)
    ticket = await context.submit(second, await context.right(second))
    await context.outcome("second account", ticket, EXISTS, sent=True)


async def _proxy(context: ScenarioContext) -> None:
    auth_proxy = context.environment.auth_proxy
    person = await context.person(proxy=auth_proxy.url(auth_proxy.password))
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("proxy's password", ticket, CREATED, sent=True)
    context.expect("it went through the proxy", hold=auth_proxy.passed > 0)


async def _proxy_refuses(context: ScenarioContext) -> None:
    auth_proxy = context.environment.auth_proxy
    person = await context.person(proxy=auth_proxy.url("not-the-password"))
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("wrong password", ticket, PROXY_AUTH, sent=False, failures_left=3)
    context.expect("the proxy refused it", hold=auth_proxy.refused > 0)


async def _live_session(context: ScenarioContext) -> None:
    person = await context.stranger()
    secret = new_session_secret()
    login_context = await context.open(person, secret=secret)
    who = (person.provider, person.account_id)
    await asyncio.to_thread(context.environment.host_session, *who, login_context, secret)
    wrong = await context.submit(person, await context.wrong(person))
    await context.outcome("wrong code", wrong, REJECTED, sent=True, failures_left=2)
    right = await context.submit(person, await context.right(person))
    await context.outcome("then the right one", right, CREATED, sent=True)


async def _no_session(context: ScenarioContext) -> None:
    person = await context.stranger()
    await context.open(person, secret=new_session_secret())
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("no session", ticket, NO_SESSION, sent=False, failures_left=3)


_LEADS: Final = {
    "EMAIL": "code by email",
    "SMS": "code from a text message",
    "APP": "code from an authenticator app",
    "BACKUP": "backup code",
}


def _basics(provider: str) -> tuple[Scenario, ...]:
    """Return the scenarios of every provider: one for each source, and a wrong code."""
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
"""The scenarios of one provider are adjacent."""

"""What the demo shows: one row per promise, each a short story told on a `Stage`.

A story opens intents, submits codes and says what must come of them. Everything it sees is what
any backend sees: the client, the results channel, and the sandbox's count of sends. To add a
row, write a story and put it into `SCENARIOS`.
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

from providers.sandbox import SandboxClient
from tasks.catalogue import pair
from tasks.client import AsyncCheckpointClient
from tasks.intake import CheckpointError, new_id
from tasks.messages import TASK
from worker.console import word
from worker.gate import Gate

OUTCOME_TIMEOUT_S: Final = 30.0
"""A net above every deadline of the demo: an outcome that has not come by then is missing."""
CREATED: Final = "201 AccountCreated"


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
class World:
    """What all scenarios share.

    Attributes:
        client: Of the box.
        lonely: A client of a second deployment on the same Redis, which has no worker.
        sandbox: The simulated providers.
        producer: A plain Celery app that knows the broker and nothing of us.
        queue: The name of its queue.
        inbox: What came over the results channels.
        tell: Called with each outcome as it arrives.
    """

    client: AsyncCheckpointClient
    lonely: AsyncCheckpointClient
    sandbox: SandboxClient
    producer: Celery
    queue: str
    inbox: Inbox
    tell: Callable[[str, Check], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an account at a provider, whose login stopped at a checkpoint."""

    account_id: str
    provider: str


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


class Stage:
    """One scenario's view of the world; collects what was checked."""

    def __init__(self, world: World, provider: str, name: str) -> None:
        self.world = world
        self.provider = provider
        self.checks: list[Check] = []
        self.faults: list[str] = []
        self.worker_may_start = asyncio.Event()
        self._name = name
        self._promised: Counter[tuple[str, str]] = Counter()

    # The person and the backend

    async def person(self, source: str = "EMAIL", *, proxy: str | None = None) -> Person:
        """Make up a person and open the intent after the first step of the login."""
        sandbox = self.world.sandbox
        account = await asyncio.to_thread(sandbox.add_account, self.provider, source=source)
        person = Person(account_id=account["id"], provider=self.provider)
        await self.open(person, proxy=proxy)
        return person

    async def stranger(self) -> Person:
        """Make up a person for whom nobody opened an intent."""
        account = await asyncio.to_thread(self.world.sandbox.add_account, self.provider)
        return Person(account_id=account["id"], provider=self.provider)

    async def open(self, person: Person, *, proxy: str | None = None, lonely: bool = False) -> None:
        """Let the sandbox do the first step and open the intent with what it returns."""
        login = await asyncio.to_thread(self.world.sandbox.begin_login, person.account_id)
        client = self.world.lonely if lonely else self.world.client
        await client.open_intent(
            account_id=person.account_id,
            provider=person.provider,
            checkpoint=login["checkpoint"],
            context=login["context"],
            user_id=login["user_id"],
            proxy=proxy,
        )

    async def right(self, person: Person) -> str:
        """Return the code in the person's inbox or authenticator app."""
        return await asyncio.to_thread(self.world.sandbox.current_code, person.account_id)

    async def wrong(self, person: Person) -> str:
        """Return a code that is wrong and stays so."""
        return await asyncio.to_thread(self.world.sandbox.wrong_code, person.account_id)

    async def submit(self, person: Person, code: str, *, lonely: bool = False) -> Ticket:
        """Submit a code as a backend does."""
        ticket = Ticket(id=new_id(), person=person, code=code, at_s=time.monotonic())
        client = self.world.lonely if lonely else self.world.client
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
            "status and type": (expected, word(record["status"], record["body"])),
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
                got=word(record["status"], record["body"]),
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
            got, status = word(refusal.status, refusal.body), refusal.status
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

    def must(self, promise: str, *, hold: bool) -> None:
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


Story = Callable[[Stage], Awaitable[None]]


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
    provider: str = "LINKEDIN"
    start: Start = Start.WITH_WORKER


# The stories ---------------------------------------------------------------------------


async def _accepted(stage: Stage) -> None:
    client, person = stage.world.client, await stage.person()
    ticket = await stage.submit(person, await stage.right(person))
    await stage.outcome("right code", ticket, CREATED, sent=True)
    who = {"account_id": person.account_id, "provider": person.provider}
    first = await client.take_session(**who, token="backend-1")  # noqa: S106  a name
    other = await client.take_session(**who, token="backend-2")  # noqa: S106
    again = await client.take_session(**who, token="backend-1")  # noqa: S106
    stage.must("the backend can take the session", hold=bool(first))
    stage.must("nobody else can take it then", hold=other is None)
    stage.must("whoever lost the reply can take it again", hold=again == first)


def _accepted_from(source: str) -> Story:
    async def story(stage: Stage) -> None:
        person = await stage.person(source)
        ticket = await stage.submit(person, await stage.right(person))
        await stage.outcome(f"code from {source}", ticket, CREATED, sent=True)

    return story


async def _wrong(stage: Stage) -> None:
    person = await stage.person()
    first = await stage.submit(person, await stage.wrong(person))
    await stage.outcome("wrong code", first, REJECTED, sent=True, failures_left=2)
    second = await stage.submit(person, await stage.right(person))
    await stage.outcome("then the right one", second, CREATED, sent=True)


async def _three_wrong(stage: Stage) -> None:
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


async def _newer_while_queued(stage: Stage) -> None:
    person = await stage.person()
    elder = await stage.submit(person, await stage.wrong(person))
    newer = await stage.submit(person, await stage.right(person))
    stage.worker_may_start.set()
    await stage.outcome("older", elder, CANCELED, sent=False, superseded_by=newer)
    await stage.outcome("newer", newer, CREATED, sent=True, failures_left=3)


async def _newer_before_send(stage: Stage) -> None:
    async with Gate() as gate:
        person = await stage.person(proxy=gate.url)
        elder = await stage.submit(person, await stage.wrong(person))
        await gate.arrived()
        newer = await stage.submit(person, await stage.right(person))
        await stage.outcome("older", elder, CANCELED, sent=False, superseded_by=newer)
        gate.open()
        await stage.outcome("newer", newer, CREATED, sent=True, failures_left=3)


async def _newer_after_send(stage: Stage) -> None:
    person = await stage.person()
    await stage.trouble(person, hold=True)
    elder = await stage.submit(person, await stage.wrong(person))
    await stage.received(person)
    newer = await stage.submit(person, await stage.right(person))
    await stage.outcome("older", elder, CANCELED, sent=True, superseded_by=newer)
    await stage.trouble(person)
    await stage.outcome("newer", newer, CREATED, sent=True)


async def _newer_while_hanging(stage: Stage) -> None:
    person = await stage.person()
    await stage.trouble(person, hang=True)
    elder = await stage.submit(person, await stage.wrong(person))
    await stage.received(person)
    await stage.trouble(person)  # For the next one; the first hangs for ever.
    newer = await stage.submit(person, await stage.right(person))
    await stage.outcome("older", elder, CANCELED, sent=True, superseded_by=newer)
    await stage.outcome("newer", newer, CREATED, sent=True, failures_left=3)


async def _double_click(stage: Stage) -> None:
    person = await stage.person()
    await stage.trouble(person, hold=True)
    code = await stage.right(person)
    first = await stage.submit(person, code)
    await stage.received(person)
    second = await stage.submit(person, code)
    await stage.outcome("first click", first, CANCELED, sent=True, superseded_by=second)
    await stage.trouble(person)
    await stage.outcome("second click", second, CREATED, sent=False)


async def _hangs(stage: Stage) -> None:
    person = await stage.person()
    await stage.trouble(person, hang=True)
    ticket = await stage.submit(person, await stage.wrong(person))
    await stage.outcome("no answer", ticket, PROVIDER_SILENT, sent=True, failures_left=3)


async def _unserved(stage: Stage) -> None:
    person = await stage.stranger()
    await stage.open(person, lonely=True)
    ticket = await stage.submit(person, await stage.right(person), lonely=True)
    # No worker, no sweeper: whoever asks after the deadline settles it.
    await stage.world.lonely.wait(ticket.id, OUTCOME_TIMEOUT_S)
    await stage.outcome("nobody works", ticket, OUT_OF_TIME, sent=False)


async def _no_intent(stage: Stage) -> None:
    person = await stage.stranger()
    ticket = await stage.submit(person, await stage.wrong(person))
    await stage.outcome("no login open", ticket, UNKNOWN, sent=False)


async def _bad_input(stage: Stage) -> None:
    person = await stage.stranger()
    good = {"account_id": person.account_id, "provider": person.provider, "code": "123456"}
    await stage.refused("empty code", INVALID, **good | {"code": " "})
    await stage.refused("endless code", TOO_LONG, **good | {"code": "1" * 257})
    await stage.refused("unknown provider", INVALID, **good | {"provider": "FAXBOOK"})
    await stage.refused("no account", INVALID, **good | {"account_id": ""})


async def _celery_producer(stage: Stage) -> None:
    person = await stage.person()
    ticket = await stage.produce(person, await stage.right(person))
    await stage.outcome("send_task", ticket, CREATED, sent=True)


SCENARIOS: Final = (
    Scenario(name="accepted", about="right code; session taken once", story=_accepted),
    Scenario(name="sms", about="code from a text message", story=_accepted_from("SMS")),
    Scenario(name="totp", about="code from an authenticator app", story=_accepted_from("APP")),
    Scenario(name="wrong", about="wrong code, then the right one", story=_wrong),
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
)

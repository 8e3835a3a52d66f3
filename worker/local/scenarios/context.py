"""What a scenario works with: users, submissions, and the comparison with what is promised.

It uses only what every backend has (the client and the results channel) and the sandbox's count of
received codes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from celery import Celery

from checkpoint_worker.providers import LIVE_SESSION
from checkpoint_worker.providers.sandbox import SandboxClient
from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.operations.validation import CheckpointError, new_id
from checkpoint_worker.tasks.operations.wake import TASK
from checkpoint_worker.worker.cli.console import outcome_label
from checkpoint_worker.worker.local.auth_proxy import AuthProxy
from checkpoint_worker.worker.local.scenarios.labels import SOURCES

OUTCOME_TIMEOUT_S: Final = 30.0
"""Longest wait for an outcome, above every deadline of the demo; then it counts as missing."""


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

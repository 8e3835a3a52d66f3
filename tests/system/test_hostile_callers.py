"""Callers that mean harm, or know no better: what they send is refused in our words or is data.

A program that may write to the broker or to Redis can do more than a caller of the API; the last
part shows what it cannot do: have a code sent twice, or for another account.
"""

from __future__ import annotations

import contextlib
import json
import string
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from celery import Celery
from hypothesis import example, given, settings
from hypothesis import strategies as st

from checkpoint_worker.providers import adapter_for, adapters
from checkpoint_worker.providers.contract import (
    Challenge,
    Checkpoint,
    CodeRequest,
    MalformedRequestError,
    ProviderFailure,
    SolutionKind,
    fold,
)
from checkpoint_worker.providers.http.exchange import HttpExchange
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.operations.validation import (
    CheckpointError,
    read_account,
    read_context,
    read_request,
)
from checkpoint_worker.tasks.operations.wake import TASK, make_producer, send_wake
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import Vault, make_key, solution_name
from tests.support.deployment import LINKEDIN, Deployment, Person, until
from tests.support.exchanges import exchange, in_loop
from tests.support.hostile import Peer, answer, serving

MEGABYTE: Final = 1024 * 1024
ODD: Final = {
    "NUL": "12\x003456",
    "line feed": "123\n456",
    "carriage return": "123\r\n456",
    "escape": "\x1b[2J123456",
    "delete": "12345\x7f6",
    "C1 control": "123\x9b456",
    "half a surrogate pair": "123\ud800456",
    "the other half": "\udfff123456",
}
"""Never taken, wherever they stand."""
STRANGE: Final = {
    "combining": "1\u0301\u0302\u0303" * 10,
    "homoglyphs": "12345\u041e",
    "numbers that are no digits": "\u2460\u00b2\u00bd",
    "nothing to be seen": "\u200b\ufeff\u202e",
    "beyond the first plane": "\U0001f511\U0001f4a9",
    "a person's flag": "\U0001f1eb\U0001f1f7",
    "no character at all": "\uffff\ufdd0",
    "JSON": '{"code": "1"}',
    "a path": "../../etc/passwd",
    "a template": "{{7*7}}${jndi:x}%s%n",
    "a query": "'; FLUSHALL; --",
}
"""Text, however odd: data to us, and no code of a provider that wants digits."""
ODDLY_TYPED: Final = {
    "right to left": "\u202e{}",
    "zero width": "\u200b{}\u200d",
    "byte order mark": "\ufeff{}",
    "full-width digits": "",
    "Arabic digits": "",
}
"""A code all the same: what a person cannot see, or another script's digits."""
SCRIPTS: Final = {"full-width digits": 0xFF10, "Arabic digits": 0x0660}
"""Where the digit 0 of a script stands."""
PERHAPS: Final = {"code": "123456", "provider": LINKEDIN}
CHECKED: Final = Settings(redis_url="redis://127.0.0.1:1", secret_keys=make_key())


def refusal(call: Any, *args: object) -> CheckpointError:
    """Return what a call is refused with, quickly and without a quote of what was sent."""
    began_s = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        call(*args)
    assert time.monotonic() - began_s < 5.0
    assert len(str(caught.value.body)) < 1_000
    return caught.value


# Sizes and characters --------------------------------------------------------------------


@pytest.mark.parametrize("char", ["1", "\u0301", "\U0001f511", " x"])
def test_a_megabyte_is_refused_before_anything_is_done_with_it(char: str) -> None:
    """In a code, an account, a provider, a submission id: no time, no echo, nothing stored."""
    huge = char * (MEGABYTE // len(char))
    assert refusal(read_request, CHECKED, "acc_1", LINKEDIN, huge).pair.type.endswith(
        "too_many_characters"
    )
    assert refusal(read_account, CHECKED, huge, LINKEDIN).status == 400
    assert refusal(read_account, CHECKED, "acc_1", huge).status == 400
    assert refusal(read_context, LINKEDIN, {"route": huge}).status == 400
    assert refusal(read_context, LINKEDIN, {huge: 1}).status == 400


@pytest.mark.parametrize("name", ODD)
def test_control_characters_and_half_pairs_are_refused_everywhere(name: str) -> None:
    """They would break lines of a log, a header or Redis' own encoding."""
    odd = ODD[name]
    assert refusal(read_request, CHECKED, "acc_1", LINKEDIN, odd).pair.key == (
        400,
        "invalid_parameters",
    )
    assert refusal(read_account, CHECKED, odd, LINKEDIN).pair.key == (400, "invalid_parameters")
    assert refusal(read_account, CHECKED, "acc_1", odd).pair.key == (400, "invalid_parameters")


TEXT = st.text(st.characters(), max_size=300)


@settings(max_examples=300)
@given(account=TEXT, provider=TEXT | st.just(LINKEDIN), code=TEXT)
@example(account="acc_1", provider=LINKEDIN, code="\u2028")
@example(account="\u202e", provider=LINKEDIN, code="1")
@example(account="acc_1", provider=LINKEDIN, code="TRY_ANOTHER_WAY\x00")
def test_any_text_is_taken_as_it_is_or_refused_with_a_pair(
    account: str, provider: str, code: str
) -> None:
    """No third thing happens: no crash, no repair, no quote of the code in what is said."""
    request, refused = None, None
    try:
        request = read_request(CHECKED, account, provider, code)
    except CheckpointError as error:
        refused = error
    if request is None:
        assert refused is not None
        assert catalogue.pair(*refused.pair.key) is refused.pair
        bare = code.strip()
        assert len(bare) < 12 or bare not in str(refused.body["detail"])
        return
    assert (request.account_id, request.provider) == (account, provider)
    assert request.code == fold(code)
    assert 1 <= len(request.code) <= 256
    name = solution_name(provider, account, "sub_1")
    vault = Vault([make_key()])
    assert vault.open(name, vault.seal(name, request.code.encode())).decode() == request.code


@pytest.mark.parametrize("name", STRANGE)
def test_strange_text_is_no_code_and_costs_no_try(deployment: Deployment, name: str) -> None:
    """The provider asks for digits: homoglyphs and jokes are refused before they are sent."""
    person = deployment.person().open()
    with pytest.raises(CheckpointError) as caught:
        person.submit(STRANGE[name])
    assert caught.value.status == 400
    assert deployment.outcome(person.submit(person.right())).status == 201
    assert len(person.account.sends) == 1


@pytest.mark.parametrize("name", ODDLY_TYPED)
def test_a_code_is_one_however_it_was_typed(deployment: Deployment, name: str) -> None:
    """The provider hears ASCII digits, once."""
    person = deployment.person().open()
    code = person.right()
    zero = SCRIPTS.get(name)
    typed = ODDLY_TYPED[name].format(code)
    if zero is not None:
        typed = "".join(chr(zero + int(digit)) for digit in code)
    assert deployment.outcome(person.submit(typed)).status == 201
    assert [send.code for send in person.account.sends] == [code]


# Logs and headers ------------------------------------------------------------------------


@pytest.fixture
def producer(deployment: Deployment) -> Iterator[Celery]:
    """A plain producer, who is checked by nobody before the worker."""
    app = make_producer(deployment.settings)
    yield app
    app.close()


def test_no_caller_writes_a_line_of_the_log(deployment: Deployment, producer: Celery) -> None:
    """One event, one line of JSON; what a stranger sends stays inside its quotes."""
    forged = '{"event": "attempt.settled", "forged": true}'
    hostile = [*ODD.values(), *STRANGE.values(), f"x\n{forged}\n", "y" * 9_000]
    for name, size in (("large", MEGABYTE), ("huge", 4 * MEGABYTE)):
        kwargs = {"account_id": "acc_huge", "provider": LINKEDIN, "code": "1" * size}
        producer.send_task(TASK, kwargs=kwargs, task_id=name)
    for number, text in enumerate(hostile):
        kwargs = {"account_id": text, "provider": LINKEDIN, "code": text}
        producer.send_task(TASK, kwargs=kwargs, task_id=f"hostile-{number}")
        producer.send_task(TASK, kwargs={**kwargs, "provider": text}, task_id=f"provider-{number}")
    for kind in ("hostile", "provider"):
        for number in range(len(hostile)):
            until(lambda: deployment.client.result(f"{kind}-{number}"), f"{kind} {number}")  # noqa: B023
            record = deployment.outcome(f"{kind}-{number}")
            assert record.status in {400, 403}, record
            assert record.code_sent is False
    (worker,) = deployment._workers
    assert worker.process.poll() is None
    until(lambda: "too large" in worker.log, "the message that is too large for anybody")
    assert deployment.client.result("huge") is None, "no id is looked for in so much"
    until(lambda: deployment.client.result("large"), "the outcome of the large message")
    large = deployment.outcome("large")
    assert (large.status, large.type) == (400, "content_too_large")
    lines = worker.log.splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(events) > 5
    assert not [event for event in events if "forged" in event]
    assert all(char in string.printable for char in worker.log), "no escape reaches a terminal"
    assert max(map(len, lines)) < 20_000


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every text in a context."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*path, number))


def with_tail(value: Any, path: tuple[Any, ...], tail: str) -> Any:
    """Return a context whose text at a place has something behind it."""
    if not path:
        return value + tail
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    copy[path[0]] = with_tail(value[path[0]], path[1:], tail)
    return copy


@pytest.mark.parametrize("provider", sorted(adapters()))
def test_no_context_breaks_out_of_a_header(deployment: Deployment, provider: str) -> None:
    """Cookie, user agent, device, path: refused on submission, or by the transport, or quoted."""
    account = deployment.loops.do(deployment.sandbox.add_account, provider, source="SMS")
    login = deployment.loops.do(deployment.sandbox.begin_login, account)
    places = [path for path in leaves(login.context) if path != ("route",)]
    assert len(places) > 3
    adapter = adapter_for(provider, str(login.context["route"]))
    assert adapter is not None
    taken = []
    for path in places:
        context = with_tail(login.context, path, "\r\nX-Evil: 1\r\n\r\n")
        with contextlib.suppress(CheckpointError):
            taken.append(read_context(provider, context))

    async def hangs_up(peer: Peer) -> None:
        await peer.request()

    async def send_all() -> list[bytes]:
        async with serving(hangs_up) as server:
            for context in taken:
                challenge = Challenge(
                    checkpoint=Checkpoint(**login.checkpoint),
                    context=context,
                    base_url=server.url,
                    solution=SolutionKind.CODE,
                )
                with contextlib.suppress(ProviderFailure):
                    await adapter.verify(challenge, exchange())
            return [peer.head for peer in server.peers]

    heads = deployment.loops.run(send_all())
    assert not [head for head in heads if b"\nx-evil:" in head.lower()]


@pytest.mark.parametrize("name", ["Cookie", "User-Agent", "X-Device-Id"])
@in_loop
async def test_the_transport_is_the_last_to_refuse_a_second_line(name: str) -> None:
    """Whatever an adapter of somebody else's makes of a context."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer())

    async with serving(handler) as server:
        sender: HttpExchange = exchange()
        request = CodeRequest(
            method="POST",
            url=server.url + "/",
            headers={name: "a\r\nX-Evil: 1"},
            body=lambda code: code.encode(),
        )
        with pytest.raises(MalformedRequestError):
            await sender.send_code(request)
        assert not sender.code_sent
        assert not server.peers


# Forged and replayed ---------------------------------------------------------------------


def waits(deployment: Deployment, person: Person) -> str:
    """Return a submission whose code lies at the provider, unanswered."""
    person.hold()
    submission = person.submit(person.right())
    person.received(1)
    return submission


def test_a_sealed_code_in_a_message_of_another_id_or_account_does_not_open(
    deployment: Deployment, producer: Celery
) -> None:
    """Seals bind code, submission, account and provider: a copied one is a forgery."""
    victim, thief = deployment.person().open(), deployment.person().open()
    vault = Vault([key.get_secret_value() for key in deployment.settings.secret_keys])
    name = solution_name(LINKEDIN, victim.id, "stolen-1")
    sealed = vault.seal(name, json.dumps(victim.right()).encode())
    for submission, account in (("stolen-2", victim.id), ("stolen-1", thief.id)):
        kwargs = {"account_id": account, "provider": LINKEDIN, "sealed": sealed}
        producer.send_task(TASK, kwargs=kwargs, task_id=submission)
    (worker,) = deployment._workers
    until(lambda: worker.log.count("wake.forged") >= 2, "both to be recognised")
    assert deployment.client.result("stolen-1") is None
    assert deployment.client.result("stolen-2") is None
    assert not victim.account.sends
    assert not thief.account.sends
    assert deployment.outcome(victim.submit(victim.right())).status == 201


def test_a_sealed_code_moved_inside_redis_is_never_sent(deployment: Deployment) -> None:
    """Who can write to Redis can spoil a submission, but not have another's code sent."""
    with deployment.gate() as gate:
        first = deployment.person().open()
        second = deployment.person().open(proxy=gate.url)
        code = first.wrong()
        keys = deployment.client._core.store.keys
        vault = Vault([key.get_secret_value() for key in deployment.settings.secret_keys])
        stolen = vault.seal(solution_name(LINKEDIN, first.id, "stolen-3"), code.encode())
        blocker = second.submit(second.wrong())
        gate.wait_for(1)
        newer = second.submit(second.wrong())
        deployment.redis.set(keys.solution(newer), stolen, px=60_000)
        gate.open()
        assert deployment.outcome(blocker).status == 409
        record = deployment.outcome(newer)
        assert record.code_sent is False or second.sends(code) == 0
    assert second.sends(code) == first.sends(code) == 0


def test_a_wake_that_names_another_account_touches_nobody(
    deployment: Deployment, producer: Celery
) -> None:
    """The ledger knows whose submission it is; the message is only a hint."""
    owner, other = deployment.person().open(), deployment.person().open()
    submission = waits(deployment, owner)
    before = deployment.client.intent(account_id=other.id, provider=LINKEDIN)
    for _ in range(3):
        send_wake(producer, submission, other.id, LINKEDIN)
    until(lambda: deployment.queue_length() == 0, "the forged wakes to be taken")
    owner.release()
    assert deployment.outcome(submission).status == 201
    assert len(owner.account.sends) == 1
    assert deployment.client.intent(account_id=other.id, provider=LINKEDIN) == before
    assert not other.account.sends


def test_a_replayed_message_of_a_plain_producer_is_the_same_submission(
    deployment: Deployment, producer: Celery
) -> None:
    """Also with another code, and for another account it is refused and shows nothing."""
    owner, other = deployment.person().open(), deployment.person().open()
    wrong = owner.wrong()

    def send(person: Person, code: str) -> None:
        kwargs = {"account_id": person.id, "provider": LINKEDIN, "code": code}
        producer.send_task(TASK, kwargs=kwargs, task_id="replayed")

    owner.typed.append(("replayed", wrong))
    send(owner, wrong)
    until(lambda: deployment.client.result("replayed"), "a record")
    first = deployment.outcome("replayed")
    assert first.status == 401
    for person, code in ((owner, wrong), (owner, owner.right()), (other, other.right())):
        send(person, code)
    until(lambda: deployment.queue_length() == 0, "the copies to be taken")
    assert deployment.outcome(owner.submit(owner.right())).status == 201
    assert deployment.client.result("replayed") == first
    assert len(owner.account.sends) == 2
    assert not other.account.sends


def test_a_refused_message_replayed_when_its_record_is_gone_is_not_sent(
    deployment: Deployment, producer: Celery
) -> None:
    """Refused as it was, it has had its outcome; records live for as long as the operator says."""
    person = deployment.person().open()
    kwargs = {"account_id": person.id, "provider": LINKEDIN, "code": ""}
    producer.send_task(TASK, kwargs=kwargs, task_id="replayed-later")
    until(lambda: deployment.client.result("replayed-later"), "a record")
    deployment.redis.delete(deployment.client._core.store.keys.result("replayed-later"))
    producer.send_task(TASK, kwargs=kwargs | {"code": person.right()}, task_id="replayed-later")
    (worker,) = deployment._workers
    until(lambda: "wake.repeated" in worker.log, "the copy to be recognised")
    assert deployment.client.result("replayed-later") is None
    assert not person.account.sends


def test_a_submission_id_is_too_long_to_guess(deployment: Deployment) -> None:
    """80 random bits each; who guesses the id of another account's is told nothing but no."""
    owner, other = deployment.person().open(), deployment.person().open()
    submission = owner.submit(owner.wrong())
    assert len(submission) == len("sub_") + 26
    with pytest.raises(CheckpointError) as caught:
        other.submit(other.wrong(), submission_id=submission)
    assert caught.value.pair.key == (400, "invalid_request")
    assert owner.id not in json.dumps(caught.value.body)
    other.typed.clear()

"""Names that are never answered: whom they cost something, and how much."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from checkpoint_worker.providers.contract import ProxyFailedError
from checkpoint_worker.providers.http import resolver as names
from checkpoint_worker.providers.http.proxy import check_proxy
from checkpoint_worker.providers.http.resolver import ProviderNames, ProxyNames
from tests.support.name_server import NameServer
from tests.support.threads import no_thread_starts

BOUND_S = 30.0


class System:
    """The system's look-up: answers, fails, or blocks its thread until it is told to go on."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.error = socket.EAI_NONAME
        self.blocked: set[str] = set()
        self.go_on = threading.Event()
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        """Answer as `socket.getaddrinfo` does."""
        self.asked.append(host)
        if host in self.blocked:
            self.go_on.wait(BOUND_S)
        if host not in self.known:
            raise socket.gaierror(self.error, "no")
        place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.known[host], port))
        return [place, place]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A system of which everything is known; what is blocked goes on at the end."""
    made = System()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.go_on.set()


# Providers -----------------------------------------------------------------------------


async def test_a_provider_s_name_is_asked_once_for_all_who_want_it(system: System) -> None:
    """A thousand codes of one second are one question; its answer is good for a while."""
    system.known["a.test"] = "192.0.2.1"
    looked_up = ProviderNames()
    found = await asyncio.gather(*(looked_up.resolve("a.test", 443) for _ in range(1000)))
    assert set(found) == {("192.0.2.1",)}
    assert await looked_up.resolve("a.test", 443) == ("192.0.2.1",)
    assert system.asked == ["a.test"]


async def test_a_name_that_blocks_keeps_nobody_else_and_no_thread_of_the_loop(
    system: System,
) -> None:
    """The loop's threads look up the ledger's host: none of them may hang on a provider."""
    system.known["alive.test"] = "192.0.2.1"
    system.blocked |= {f"dead{number}.test" for number in range(20)}
    looked_up = ProviderNames()
    dead = [asyncio.create_task(looked_up.resolve(name, 443)) for name in system.blocked]
    await asyncio.sleep(0)
    assert await looked_up.resolve("alive.test", 443) == ("192.0.2.1",)
    assert await asyncio.to_thread(lambda: "a thread is free") == "a thread is free"
    assert not any(task.done() for task in dead)
    for task in dead:
        task.cancel()  # As the time limit of an attempt does; the thread stays.
    await asyncio.gather(*dead, return_exceptions=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await looked_up.resolve("dead0.test", 443)
    assert system.asked.count("dead0.test") == 1  # The second one waited for the first's thread.


async def test_names_beyond_the_bound_fail_at_once(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads cost memory; there are as many providers as adapters have addresses."""
    monkeypatch.setattr(names, "PROVIDER_NAMES_MAX", 3)
    system.blocked |= {f"dead{number}.test" for number in range(3)}
    looked_up = ProviderNames()
    dead = [asyncio.create_task(looked_up.resolve(name, 443)) for name in system.blocked]
    await asyncio.sleep(0)
    with pytest.raises(socket.gaierror, match="too many"):
        await looked_up.resolve("alive.test", 443)
    system.go_on.set()
    await asyncio.gather(*dead, return_exceptions=True)
    for number in range(9):
        system.known[f"{number}.test"] = "192.0.2.1"
        await looked_up.resolve(f"{number}.test", 443)
    assert len(looked_up._known) == 3


async def test_what_was_known_is_used_while_the_name_server_is_silent(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """t=0 known · t=10 asked again, no answer · the provider is where it was, no second wait."""
    monkeypatch.setattr(names, "FRESH_S", 0.05)
    monkeypatch.setattr(names, "PATIENCE_S", 0.01)
    system.known["a.test"] = "192.0.2.1"
    looked_up = ProviderNames()
    await looked_up.resolve("a.test", 443)
    system.blocked.add("a.test")
    for _ in range(3):
        await asyncio.sleep(0.06)
        assert await looked_up.resolve("a.test", 443) == ("192.0.2.1",)
    assert len(system.asked) == 2
    system.known["a.test"] = "192.0.2.2"
    system.go_on.set()
    await asyncio.shield(looked_up._asked["a.test"])
    assert await looked_up.resolve("a.test", 443) == ("192.0.2.2",)


async def test_a_failure_of_the_name_server_is_silence_and_a_name_that_is_gone_is_gone(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first says nothing about the provider; the second is an answer."""
    monkeypatch.setattr(names, "FRESH_S", 0.0)
    system.known["a.test"] = "192.0.2.1"
    looked_up = ProviderNames()
    await looked_up.resolve("a.test", 443)
    del system.known["a.test"]
    system.error = socket.EAI_FAIL
    assert await looked_up.resolve("a.test", 443) == ("192.0.2.1",)
    monkeypatch.setattr(names, "KNOWN_S", 0.0)
    system.error = socket.EAI_NONAME
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await looked_up.resolve("a.test", 443)


async def test_what_was_known_is_used_for_an_hour_and_not_for_ever(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After that the failure is told: 503, and an operator looks at the name server."""
    monkeypatch.setattr(names, "FRESH_S", 0.0)
    monkeypatch.setattr(names, "KNOWN_S", 0.0)
    system.known["a.test"] = "192.0.2.1"
    looked_up = ProviderNames()
    await looked_up.resolve("a.test", 443)
    del system.known["a.test"]
    system.error = socket.EAI_AGAIN
    with pytest.raises(socket.gaierror):
        await looked_up.resolve("a.test", 443)


async def test_the_system_gives_numbers_each_once() -> None:
    """They are checked and connected to as they are, without a second look-up."""
    found = await ProviderNames().resolve("localhost", 80)
    assert found
    assert len(found) == len(set(found))


def test_a_failed_look_up_leaves_nothing_to_the_collector(system: System) -> None:
    """Frames that hold an error which holds them stay until the next full collection."""

    async def run() -> int:
        looked_up = ProviderNames()
        gc.collect()
        gc.freeze()  # Threads of earlier tests may let go of their loops now; it is not counted.
        gc.disable()
        try:
            for _ in range(20):
                with contextlib.suppress(OSError):
                    await looked_up.resolve("none.test", 443)
        finally:
            gc.enable()
        return gc.collect()

    # A loop of its own: of each look-up nothing is left, of the loop perhaps something.
    assert asyncio.run(run()) < 20


async def test_what_cannot_be_a_name_is_no_failure_of_the_network() -> None:
    """The system's own look-up refuses it before it asks."""
    with pytest.raises(ValueError, match="no name can be"):
        await ProviderNames().resolve("x" * 70 + ".test", 443)


async def test_a_name_is_asked_again_after_no_thread_could_be_started_for_it(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is out of threads for a moment: the provider must not be away until a restart."""
    system.known["a.test"] = "192.0.2.1"
    looked_up = ProviderNames()
    with no_thread_starts(monkeypatch, "provider-name"):
        async with asyncio.timeout(BOUND_S):
            with pytest.raises(socket.gaierror) as failed:
                await looked_up.resolve("a.test", 443)
    assert failed.value.errno == socket.EAI_AGAIN
    async with asyncio.timeout(BOUND_S):
        assert await looked_up.resolve("a.test", 443) == ("192.0.2.1",)


async def test_what_was_known_is_used_while_no_thread_can_be_started(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system was not asked, which says nothing about the provider."""
    monkeypatch.setattr(names, "FRESH_S", 0.0)
    system.known["a.test"] = "192.0.2.1"
    looked_up = ProviderNames()
    await looked_up.resolve("a.test", 443)
    with no_thread_starts(monkeypatch, "provider-name"):
        async with asyncio.timeout(BOUND_S):
            assert await looked_up.resolve("a.test", 443) == ("192.0.2.1",)


def test_a_look_up_may_outlive_its_loop(system: System) -> None:
    """A worker that ends does not wait for a name server; another loop asks for itself."""
    system.blocked.add("dead.test")
    looked_up = ProviderNames()

    async def give_up() -> None:
        asked = len(system.asked)
        looking = asyncio.create_task(looked_up.resolve("dead.test", 443))
        async with asyncio.timeout(BOUND_S):
            while len(system.asked) == asked:  # noqa: ASYNC110  a thread's word
                await asyncio.sleep(0.001)
        looking.cancel()
        await asyncio.wait([looking])

    asyncio.run(give_up())
    asyncio.run(give_up())
    assert system.asked == ["dead.test"] * 2
    system.go_on.set()
    for thread in threading.enumerate():
        if thread.name == "provider-name":
            assert thread.daemon
            thread.join(BOUND_S)


# Proxies -------------------------------------------------------------------------------


async def test_a_proxy_s_name_is_asked_again_after_c_ares_could_not_start_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The look-up of a name that nothing asks for must not be waited for by all that follow."""
    with NameServer({"proxy.test": ["192.0.2.1"]}) as server:
        looked_up = ProxyNames([server.address])
        with monkeypatch.context() as patch:
            patch.setattr(names.pycares, "Channel", _no_channel)
            with pytest.raises(socket.gaierror) as failed:
                await looked_up.resolve("proxy.test", 1)
        assert failed.value.errno == socket.EAI_AGAIN
        async with asyncio.timeout(BOUND_S):
            assert await looked_up.resolve("proxy.test", 1) == ("192.0.2.1",)


def _no_channel(**_: object) -> None:
    msg = "can't start new thread"
    raise RuntimeError(msg)


async def test_a_thousand_dead_names_cost_the_living_nothing() -> None:
    """Each is its own intent's: the next proxy's name is answered as if they were not there."""
    alive = {f"alive{number}.test": ["192.0.2.1"] for number in range(100)}

    with NameServer(alive) as server:
        before = threading.active_count()
        looked_up = ProxyNames([server.address])
        dead = [
            asyncio.create_task(looked_up.resolve(f"dead{number}.of{number}.test", 1))
            for number in range(1000)
        ]
        await asyncio.sleep(0)
        for name in alive:
            assert await looked_up.resolve(name, 1) == ("192.0.2.1",)
        assert not any(task.done() for task in dead), "the name server was not silent"
        for task in dead:
            task.cancel()
        await asyncio.gather(*dead, return_exceptions=True)
        # Hundreds of questions, and not a thread for each: c-ares has one or two.
        assert threading.active_count() - before < 5


async def test_a_dead_name_ends_and_those_who_want_it_share_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand intents of one provider of proxies ask once, and give up together."""
    monkeypatch.setattr(names, "ASK_S", 0.2)

    with NameServer({}) as server:
        looked_up = ProxyNames([server.address])
        ends = await asyncio.gather(
            *(looked_up.resolve("dead.test", 1) for _ in range(1000)), return_exceptions=True
        )
        assert {type(end) for end in ends} == {socket.gaierror}
        assert not looked_up._asked
        assert len(server.asked) <= 2 * (names.ASKS + 1)


async def test_who_gives_up_harms_nobody_who_waits_for_the_same_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The question is everybody's: the time limit of one attempt must not end it."""
    monkeypatch.setattr(names, "PROXY_NAMES_MAX", 1)

    with NameServer({"a.test": ["192.0.2.1"]}) as server:
        looked_up = ProxyNames([server.address])
        first = asyncio.create_task(looked_up.resolve("a.test", 1))
        second = asyncio.create_task(looked_up.resolve("a.test", 1))
        await asyncio.sleep(0)
        with pytest.raises(socket.gaierror, match="too many"):
            await looked_up.resolve("b.test", 1)
        first.cancel()
        assert await second == ("192.0.2.1",)
        assert first.cancelled()


async def test_what_name_servers_and_the_hosts_file_say_is_understood() -> None:
    """Both kinds of addresses, other names for a name, a name that is not there, this machine."""
    told = {"both.test": ["192.0.2.1", "2001:db8::1"], "real.test": ["192.0.2.9"]}
    with NameServer(told, {"other.test": "real.test"}) as server:
        looked_up = ProxyNames([server.address])
        assert set(await looked_up.resolve("both.test", 1)) == {"192.0.2.1", "2001:db8::1"}
        assert await looked_up.resolve("other.test", 1) == ("192.0.2.9",)
        assert set(await looked_up.resolve("localhost", 1)) <= {"127.0.0.1", "::1"}
        for bad in ("none.test", "a..b", "x" * 70 + ".test"):
            with pytest.raises(socket.gaierror):
                await looked_up.resolve(bad, 1)


async def test_the_address_that_is_used_is_the_one_that_was_checked() -> None:
    """Whatever is remembered of a name: each exchange checks the addresses it gets."""
    with NameServer({"inside.test": ["10.0.0.1"]}) as server:
        looked_up = ProxyNames([server.address])
        for _ in range(2):
            with pytest.raises(ProxyFailedError, match="may not have"):
                await check_proxy("http://inside.test", resolver=looked_up)
        found = await check_proxy("http://inside.test", resolver=looked_up, allow_private=True)
        assert found.addresses == ("10.0.0.1",)


async def test_what_c_ares_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer may be good for a day, and an intent may name any name."""
    monkeypatch.setattr(names, "NAMES_PER_CHANNEL", 2)

    with NameServer({f"{number}.test": ["192.0.2.1"] for number in range(4)}) as server:
        looked_up = ProxyNames([server.address])
        first = asyncio.create_task(looked_up.resolve("0.test", 1))
        await asyncio.sleep(0)
        channel = looked_up._channel
        for number in range(1, 4):
            assert await looked_up.resolve(f"{number}.test", 1) == ("192.0.2.1",)
        assert looked_up._channel is not channel
        assert await first == ("192.0.2.1",)

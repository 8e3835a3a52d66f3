"""What other people's proxies and name servers do to one worker: nobody else's code suffers."""

from __future__ import annotations

import asyncio
import logging
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.deployment import ROOT, Deployment, Person
from tests.support.fixtures import NewDeployment
from tests.support.measuring import in_time
from tests.support.name_server import NameServer

log = logging.getLogger(__name__)

DEAD_NAMES: Final = 80
"""More than the threads on which any names are looked up: four of libuv, 64 for providers."""
DRIBBLING: Final = 50
OTHERS: Final = 5
PATIENT: Final[dict[str, float]] = {"deadline_s": 30.0, "wire_margin_s": 8.0}
"""On a starved machine so many need long, and the bound of connecting comes before the attempt's
own by the margin alone: both at once would be a 408."""
OTHERS_MAX_S: Final = 10.0
"""Longest time for the outcome of a code that is nobody's victim."""
PROMISED_S: Final = 5.0
"""An outcome comes by the deadline and so much."""
ALIVE: Final = "alive.test"
PROVIDER: Final = "provider.test"

# The system's look-up of a worker: one name is the provider's, and a silent name server holds its
# thread as long as it likes, as the system's does.
SITE: Final = """
    import socket
    import sys
    import threading

    sys.path.insert(0, {root!r})
    from checkpoint_worker.providers.http import resolver as names

    names.PROXY_NAMES._servers = [{server!r}]
    real = socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        if str(host).startswith("dead"):
            threading.Event().wait()
        return real("127.0.0.1" if host == {provider!r} else host, *args, **options)

    socket.getaddrinfo = getaddrinfo
"""

pytestmark = pytest.mark.fault


@pytest.fixture
def name_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """Let the workers that are started ask a name server that is silent about dead names."""
    server = NameServer({ALIVE: ["127.0.0.1"]})
    site = tmp_path / "site"
    site.mkdir()
    text = textwrap.dedent(SITE).format(root=str(ROOT), server=server.address, provider=PROVIDER)
    (site / "sitecustomize.py").write_text(text)
    found = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found))
    with server:
        yield server


def others(deployment: Deployment, proxy: str | None = None) -> float:
    """Submit a few codes of other people; return how long the last one's outcome took, seconds."""
    ids = []
    for number in range(OTHERS):
        person = deployment.person().open(proxy=proxy if number % 2 else None)
        ids.append(person.submit(person.right()))
    took_s = []
    for submission_id in ids:
        record = deployment.outcome(submission_id)
        assert record.status == 201, record
        assert record.finished_at is not None
        assert record.queued_at is not None
        took_s.append((record.finished_at - record.queued_at).total_seconds())
    assert in_time(max(took_s), OTHERS_MAX_S)
    return max(took_s)


def end_of(deployment: Deployment, ids: list[str], status: int) -> None:
    """Check that each of the unlucky got its own outcome in time."""
    for submission_id in ids:
        record = deployment.outcome(submission_id)
        assert (record.status, record.code_sent) == (status, False)
        assert record.finished_at is not None
        assert record.queued_at is not None
        took_s = (record.finished_at - record.queued_at).total_seconds()
        assert took_s < deployment.settings.deadline_s + PROMISED_S


@pytest.mark.usefixtures("name_server")
def test_dead_names_of_proxies_stop_nobody(new_deployment: NewDeployment) -> None:
    """Two of them held every look-up of a worker, the ledger's included.

    Others go to a provider that has a name, directly and through a proxy that has one.
    """
    deployment = new_deployment(**PATIENT)
    port = int(deployment.sandbox.urls["LINKEDIN"].rpartition(":")[2])
    deployment.worker(linkedin_url=f"http://{PROVIDER}:{port}")
    with deployment.gate() as gate:
        gate.open()
        proxy = gate.url.replace("127.0.0.1", ALIVE)
        ids = []
        for number in range(DEAD_NAMES):
            person = deployment.person().open(proxy=f"http://dead{number}.of{number}.test:1")
            ids.append(person.submit(person.right()))
        took_s = others(deployment, proxy)
    log.info("%d dead names; the slowest of the others took %.2f s", DEAD_NAMES, took_s)
    end_of(deployment, ids, 502)


def test_dribbling_proxies_stop_nobody(new_deployment: NewDeployment) -> None:
    """Each byte of a head was a reason to begin anew: everybody's loop stood still meanwhile."""
    deployment = new_deployment(**PATIENT)

    async def dribble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(b"a:\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
        except OSError:
            pass
        finally:
            writer.close()

    server = deployment.loops.run(asyncio.start_server(dribble, "127.0.0.1", 0))
    try:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        deployment.worker(twitter_url="https://127.0.0.1:1")  # Reached through a tunnel.
        ids = []
        for _ in range(DRIBBLING):
            person = Person(
                deployment, deployment.loops.do(deployment.sandbox.add_account, "TWITTER")
            )
            ids.append(person.open(proxy=proxy).submit(person.right()))
        took_s = others(deployment)
        log.info("%d dribbling proxies; the slowest of the others took %.2f s", DRIBBLING, took_s)
        end_of(deployment, ids, 502)
    finally:
        deployment.loops.do(server.close)

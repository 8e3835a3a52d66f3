"""The clients in processes of their own: killed readers, forks, greenlets, a closed loop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.operations import submissions as client_steps
from tests.support.deployment import ROOT
from tests.support.groups import GROUP, ids, pending, refuse
from tests.support.ledger_fixture import LedgerFixture
from tests.support.measuring import printed_by
from tests.support.waiting import PATIENCE_S, write


def environment(ledger: LedgerFixture) -> dict[str, str]:
    """Return the variables by which a client finds the ledger's Redis."""
    return {
        "CHECKPOINT_REDIS_URL": ledger.settings.redis_url.get_secret_value(),
        "CHECKPOINT_SECRET_KEYS": ledger.settings.secret_keys[0].get_secret_value(),
    }


# Groups of readers -------------------------------------------------------------------------

READER = """
import json, sys
from checkpoint_worker.tasks.client import CheckpointClient
for outcome in CheckpointClient().outcomes(group=sys.argv[1], reader=sys.argv[2] or None):
    print(outcome.submission_id, flush=True)
    if sys.argv[3] == "stop":
        sys.stdin.read()
"""


class Reader:
    """A process that reads a group and prints what it gets."""

    def __init__(self, ledger: LedgerFixture, name: str = "", *, stop: bool = False) -> None:
        command = [sys.executable, "-c", READER, GROUP, name, "stop" if stop else "go"]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment(ledger),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Wait for its next record."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def rest(self) -> list[str]:
        """Let it go on to its end; return what it got."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0
        return out.split()

    def kill(self) -> None:
        """End it without a word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def client(ledger: LedgerFixture) -> Iterator[CheckpointClient]:
    """Return a client."""
    with CheckpointClient(ledger.settings) as made:
        yield made


def test_what_a_killed_reader_held_another_gets(
    ledger: LedgerFixture, client: CheckpointClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By kill -9, between receipt and acknowledgement: nothing is lost, only that comes twice."""
    refuse(ledger, "s1", "s2", "s3")
    victim = Reader(ledger, stop=True)
    assert victim.line() == "s1"
    victim.kill()
    assert ids(client.outcomes(group=GROUP)) == ["s2", "s3"], "a minute, it may be at it still"
    monkeypatch.setattr(client_steps, "ABANDONED_MS", 0)
    assert ids(client.outcomes(group=GROUP)) == ["s1"]
    assert ids(client.outcomes(group=GROUP)) == []
    assert pending(ledger) == 0


def test_a_killed_reader_with_a_name_takes_up_what_it_held(ledger: LedgerFixture) -> None:
    """The same name in the next process: no minute to wait."""
    refuse(ledger, "s1", "s2")
    victim = Reader(ledger, "worker-1", stop=True)
    assert victim.line() == "s1"
    victim.kill()
    assert Reader(ledger, "worker-1").rest() == ["s1", "s2"]
    assert pending(ledger) == 0


def test_a_reader_starts_again_where_the_group_stopped(ledger: LedgerFixture) -> None:
    """A restart misses nothing that came meanwhile, and gets nothing twice that was finished."""
    refuse(ledger, "s1")
    assert Reader(ledger).rest() == ["s1"]
    refuse(ledger, "s2", "s3")
    assert Reader(ledger).rest() == ["s2", "s3"]


def test_readers_in_two_processes_share_without_loss(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """Each record goes to one of them; together they have all."""
    names = [f"s{number}" for number in range(60)]
    refuse(ledger, *names)
    others = [Reader(ledger), Reader(ledger)]
    got = sorted(name for reader in others for name in reader.rest())
    got += ids(client.outcomes(group=GROUP))
    assert sorted(got) == sorted(names)
    assert pending(ledger) == 0


# What a backend may run in -----------------------------------------------------------------


def run(ledger: LedgerFixture, program: str, *options: str) -> str:
    """Run a program with the ledger's Redis in its environment; return what it printed."""
    return printed_by(textwrap.dedent(program), environment(ledger), PATIENCE_S, *options)


def test_greenlets_wait_over_one_connection(ledger: LedgerFixture) -> None:
    """gevent, everything patched: five hundred wait, the rest of the program goes on."""
    names = [f"s{number}" for number in range(500)]
    write(ledger, names, "queued")
    out = run(
        ledger,
        """
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from checkpoint_worker.tasks.client import CheckpointClient

        client = CheckpointClient()
        keys, names = client._core.store.keys, [f"s{n}" for n in range(500)]
        waits = [gevent.spawn(client.wait, name, 60) for name in names]
        while len(client._redis.pubsub_channels("checkpoint:results:*")) < 500:
            gevent.sleep(0.01)
        print(len(client._redis.client_list(_type="pubsub")))
        for name in names:
            record = client.result(name).to_json()
            final = record.replace('"state":"queued"', '"state":"final"')
            client._redis.set(keys.result(name), final)
            client._redis.publish(keys.account_results(f"acc_{name}"), final)
        gevent.joinall(waits, timeout=60, raise_error=True)
        print({str(wait.value.state) for wait in waits})
        client.open_intent(account_id="g", provider="LINKEDIN",
                           context={"fields": {"csrfToken": "x"},
                                    "cookies": [{"name": "JSESSIONID", "value": "x"}]},
                           checkpoint={"type": "OTP", "source": "EMAIL"})
        submission = client.submit(account_id="g", provider="LINKEDIN", code="123456")
        waiting = gevent.spawn(client.wait, submission.id, 60)
        client.cancel(submission.id)
        print(waiting.get(timeout=60).status)
        client.close()
        """,
    )
    assert out.split("\n")[:3] == ["1", "{'final'}", "409"]


@pytest.mark.parametrize("fork", ["os.fork", "ctypes.PyDLL(None).fork"])
def test_a_client_made_before_the_fork_works_in_every_process(
    ledger: LedgerFixture, fork: str
) -> None:
    """A pre-forking server imports the backend once. Nobody shares a connection or a name.

    The parent's listener runs and its pools are warm when it forks, as Python does it or as a C
    program does. Each child opens, submits, waits and cancels; then the parent does, with the same
    client. All of them submit for one login as well, each with its first names: a command that
    was taken for another's leaves an id without a record. At the fork other threads are in the
    middle of things: a loop runs, and every lock of the client is held.
    """
    out = run(
        ledger,
        """
        import asyncio, ctypes, os, threading
        from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient
        from checkpoint_worker.tasks.client.blocking import CALLS_MAX
        from checkpoint_worker.tasks.client.wake_sender import WAKES_MAX

        client, awaited = CheckpointClient(), AsyncCheckpointClient()

        def play(name):
            client.open_intent(account_id=name, provider="LINKEDIN",
                               context={"fields": {"csrfToken": "x"},
                                        "cookies": [{"name": "JSESSIONID", "value": "x"}]},
                               checkpoint={"type": "OTP", "source": "EMAIL"})
            submission = client.submit(account_id=name, provider="LINKEDIN", code="123456")
            threading.Timer(0.2, client.cancel, [submission.id]).start()
            assert client.wait(submission.id, 60).status == 409
            async def backend():
                async with awaited:
                    return await awaited.wait(submission.id, 60)
            assert asyncio.run(backend()).status == 409
            return client._core.token, client._redis.client_id()

        seen = {play("parent")}
        client.open_intent(account_id="one", provider="LINKEDIN",
                           context={"fields": {"csrfToken": "x"},
                                    "cookies": [{"name": "JSESSIONID", "value": "x"}]},
                           checkpoint={"type": "OTP", "source": "EMAIL"})
        running, busy = asyncio.new_event_loop(), AsyncCheckpointClient()
        threading.Thread(target=running.run_forever, daemon=True).start()

        def at_home():
            asking = asyncio.run_coroutine_threadsafe(busy.result("nothing"), running)
            assert asking.result(60) is None

        at_home()
        places = [client._room] * CALLS_MAX + [client._waker._slots] * WAKES_MAX
        for each in places:
            each.get(timeout=60)
        assert client._ears.board._lock.acquire(timeout=60)
        pids, ids = [], []
        for name in ("first", "second"):
            ours, theirs = os.pipe()
            pid = FORK()
            if pid == 0:
                try:
                    assert asyncio.run(busy.result("nothing")) is None
                    for _ in range(3):
                        submission = client.submit(
                            account_id="one", provider="LINKEDIN", code="123456")
                        os.write(theirs, f"{submission.id} ".encode())
                    os.write(theirs, " ".join(map(str, play(name))).encode())
                    os._exit(0)
                finally:
                    os._exit(1)
            os.close(theirs)
            *told, token, number = os.fdopen(ours).read().split()
            seen.add((token, number))
            ids += told
            pids.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
        for each in places:
            each.put(None)
        client._ears.board._lock.release()
        at_home()
        seen.add(play("parent"))
        tokens = [token for token, _ in seen]
        assert len(set(tokens)) == 3, tokens
        assert len({int(number) for _, number in seen}) == len(seen), seen
        client.cancel(ids[-1])
        assert [client.result(name).status for name in ids] == [409] * 6
        print("fine")
        """.replace("FORK", fork),
        "-W",
        "ignore::DeprecationWarning",  # Threads at the fork, which is what this is about.
    )
    assert out == "fine\n"


def test_a_loop_that_is_closed_while_the_client_listens_prints_nothing(
    ledger: LedgerFixture,
) -> None:
    """A host that runs loops by hand: the listener's task is collected with its loop."""
    write(ledger, ["s1"], "queued")
    out = run(
        ledger,
        """
        import asyncio, gc, sys
        from checkpoint_worker.tasks.client import AsyncCheckpointClient

        sys.stderr = sys.stdout
        client = AsyncCheckpointClient()
        for end in (True, True, False):
            loop = asyncio.new_event_loop()
            print(loop.run_until_complete(client.wait("s1", 0.1)).state)
            if end:
                loop.close()
        del client, loop
        gc.collect()
        """,
    )
    assert out == "queued\n" * 3

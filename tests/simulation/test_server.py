"""The model of Redis against Redis: what simulated runs asked of the one, asked of the other."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import redis

from checkpoint_worker.tasks.storage.executor import script
from tests.support.plans import Plan
from tests.support.simulation.loop import Clock
from tests.support.simulation.network import SCRIPTS
from tests.support.simulation.server import SimServer
from tests.support.simulation.world import World

NOW, IDENTITY = "sim:now", "sim:identity"
TIME_CALL = "redis.call('TIME')"
IDENTITY_READ = "word('run_id'), word('master_replid2'), word('master_replid')"
SLACK_MS = 60_000
"""How long ago a key may have been written, on whatever machine this runs."""
SEEDS = (1, 2, 7)
STORMS = ("calls", "restart", "failover", "crash", "stop", "cut")


class Both:
    """A model and a real Redis that are asked the same, at the same simulated instant.

    The scripts are the product's, but for their clock and identity, which are read from keys.
    Redis' own clock must end no key: what has an end by the model's clock is deleted by hand.
    """

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.clock = Clock()
        self.told: list[tuple[str, str]] = []
        self.model = SimServer(self.clock, "", lambda *message: self.told.append(message))
        self.scripts = {name: client.register_script(self._steered(name)) for name in SCRIPTS}
        self.ear = client.pubsub()
        self.ear.psubscribe("*")
        assert self.ear.get_message(timeout=30)

    @staticmethod
    def _steered(name: str) -> str:
        text = script(name).text
        text = text.replace(TIME_CALL, f"cjson.decode(redis.call('GET', '{NOW}'))")
        return text.replace(IDENTITY_READ, f"redis.call('GET', '{IDENTITY}'), nil")

    def ask(self, now_ms: int, run_id: str, name: str, keys: list[str], args: list[str]) -> None:
        """Ask both and compare what they say and tell."""
        self.clock.now_s += (now_ms - self.model.now_ms) / 1000
        self.model.run_id = run_id
        seconds, rest_ms = divmod(self.model.now_ms, 1000)
        ended = self._ended()
        pipe = self.client.pipeline(transaction=False)
        pipe.set(NOW, json.dumps([str(seconds), str(rest_ms * 1000)]))
        pipe.set(IDENTITY, run_id)
        if ended:
            pipe.delete(*ended)
        pipe.execute()
        before = dict(self.model.data.ends)
        said = self.model.run(name, keys, args)
        assert comparable(name, self.scripts[name](keys, args)) == comparable(name, said), name
        self._lives(before)
        while self.told:
            message: Any = self.ear.get_message(timeout=30)
            assert (message["channel"], message["data"]) == self.told.pop(0)

    def _ended(self) -> list[str]:
        ended = [key for key, end in self.model.data.ends.items() if end <= self.model.now_ms]
        for key in ended:
            self.model._expire(key)
        return ended

    def _lives(self, before: dict[str, int]) -> None:
        """Compare the ends that were set just now; then take them off the real one."""
        changed = [key for key, end in self.model.data.ends.items() if before.get(key) != end]
        if not changed:
            return
        pipe = self.client.pipeline(transaction=False)
        pipe.time()
        for key in changed:
            pipe.pttl(key)
            pipe.persist(key)
        (seconds, micros), *rest = pipe.execute()
        for key, life_ms in zip(changed, rest[::2], strict=True):
            # An intent's end is an instant, which is told by Redis' own clock; others last.
            now_ms = seconds * 1000 + micros // 1000 if ":intent:" in key else self.model.now_ms
            assert abs(now_ms + life_ms - self.model.data.ends[key]) < SLACK_MS, key

    def compare(self) -> None:
        """Compare everything that rests in both."""
        data, found = self.model.data, set[str]()
        for key in map(str, self.client.scan_iter(count=1000)):
            if key in (NOW, IDENTITY):
                continue
            found.add(key)
            match self.client.type(key):
                case "string":
                    assert self.client.get(key) == data.strings[key]
                case "zset":
                    pairs: Any = self.client.zrange(key, 0, -1, withscores=True)
                    assert dict(pairs) == data.zsets[key]
                case "set":
                    assert self.client.smembers(key) == set(data.sets[key])
                case "hash":
                    assert self.client.hgetall(key) == data.hashes[key]
                case "list":
                    assert self.client.lrange(key, 0, -1) == data.lists[key]
                case "stream":
                    rows: Any = self.client.xrange(key)
                    assert [row["record"] for _, row in rows] == [text for _, text in data.stream]
                case other:
                    raise AssertionError(other)
        kinds = (data.strings, data.zsets, data.sets, data.hashes, data.lists)
        assert found - {"checkpoint:outcomes"} == {key for kind in kinds for key in kind}

    def close(self) -> None:
        """Hang up."""
        self.ear.close()


def comparable(name: str, reply: Any) -> Any:
    """Return a reply without what Redis leaves open: the order of a set."""
    if name == "sweep_snapshot":
        lost = [[worker, beat, sorted(holds)] for worker, beat, holds in reply[6]]
        return [*reply[:6], lost]
    if name == "beat":
        return [*reply[:2], dict(zip(reply[2][::2], reply[2][1::2], strict=True))]
    return reply


@pytest.mark.parametrize("seed", SEEDS)
def test_the_model_of_redis_says_and_does_what_redis_does(redis_url: str, seed: int) -> None:
    """What holds over the model holds over the scripts only if they are the same."""
    world = World(seed, storms=STORMS)
    world.commands = []
    world.run(steps_max=6_000)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        both = Both(client)
        for now_ms, run_id, name, keys, args, _ in world.commands:
            both.ask(now_ms, run_id, name, keys, args)
        both.compare()
        both.close()
    names = {row[2] for row in world.commands}
    assert {"read", "commit", "sweep_snapshot", "beat", "lead"} <= names


def test_a_taken_session_and_a_worker_forgotten_are_as_in_redis(redis_url: str) -> None:
    """The scripts that runs seldom call, with the replies they seldom give."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        both = Both(client)
        plan = Plan(
            fixed=("i", "due", "queued", "checkpoint:outcomes"),
            run_id=both.model.run_id,
            put={"session": ("sealed", "10000"), "kept": ("v", "0")},
            commands=[
                ["SADD", "holds:w1", "P:a"],
                ["PEXPIRE", "holds:w1", "86400000"],
                ["LPUSH", "checkpoint", "one"],
                ["LPUSH", "checkpoint", "two"],
                ["XADD", "checkpoint:outcomes", "MAXLEN", "~", "10", "*", "record", "{}"],
            ],
        )
        indexes = ["beats", "acked", "due", "queued"]
        now_ms = both.model.now_ms
        for later_ms, name, keys, args in (
            (0, "commit", plan.keys, plan.words),
            (0, "take", ["session", "taken"], ["one", "5000"]),
            (10, "take", ["session", "taken"], ["other", "5000"]),
            (20, "take", ["session", "taken"], ["one", "5000"]),
            (5_001, "take", ["session", "taken"], ["one", "5000"]),
            (5_002, "beat", ["beats", "acked", "drains:w1"], ["w1", "17", "1"]),
            (
                5_003,
                "sweep_snapshot",
                ["due", "beats", "acked", "queued"],
                ["5", "0", "0", "holds:", "0"],
            ),
            (
                5_003,
                "sweep_snapshot",
                ["due", "beats", "acked", "queued"],
                ["5", "0", "0", "holds:", "1"],
            ),
            (5_004, "forget", [*indexes, "holds:w1"], ["worker", "w1", "1"]),
            (5_005, "forget", [*indexes, "holds:w1"], ["worker", "w1", str(now_ms + 5_002)]),
            (5_006, "forget", [*indexes, "i"], ["intent", "P:a", ""]),
            (5_007, "forget", [*indexes, "kept"], ["intent", "P:a", ""]),
            (5_008, "lead", ["leader"], ["w1", "3000"]),
            (5_009, "lead", ["leader"], ["w2", "3000"]),
            (8_009, "lead", ["leader"], ["w2", "3000"]),
            (8_010, "woken", ["queued"], ["P:a"]),
        ):
            both.ask(now_ms + later_ms, "r" * 40, name, keys, args)
            both.compare()
        both.close()


def test_every_script_asks_clock_and_identity_in_the_words_that_are_replaced() -> None:
    """Else a script would be compared at Redis' own time, and the model could drift."""
    for name in SCRIPTS:
        text = script(name).text
        code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
        assert len(re.findall(r"TIME'", code)) == code.count(TIME_CALL)
        assert code.count("'INFO', 'server'") == 2 * code.count(IDENTITY_READ)

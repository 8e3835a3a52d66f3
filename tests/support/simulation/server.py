"""A model of Redis with the scripts of ``tasks/storage/scripts``: dicts and one clock.

`test_server` replays what simulated runs asked of it against a real Redis and compares every
reply, every message and what rests in it at the end. So a promise that holds here over this
model holds there over the scripts.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.plans import Plan
from tests.support.simulation.loop import Clock

EPOCH_MS = 1_800_000_000_000
DAY_MS = 86_400_000
KEPT = 6
"""Commits a failover may lose at most."""


@dataclass
class Data:
    """The data in Redis. ``ends`` holds the instants, ms, at which keys expire."""

    strings: dict[str, str] = field(default_factory=dict)
    zsets: dict[str, dict[str, int]] = field(default_factory=dict)
    sets: dict[str, dict[str, None]] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    stream: list[tuple[str, str]] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Data:
        """Return what a replica holds that has seen everything so far."""
        return Data(
            strings=dict(self.strings),
            zsets=copy.deepcopy(self.zsets),
            sets=copy.deepcopy(self.sets),
            hashes=copy.deepcopy(self.hashes),
            stream=list(self.stream),
            lists=copy.deepcopy(self.lists),
            ends=dict(self.ends),
        )


class SimServer:
    """One Redis. ``publish`` is where its messages go.

    The attributes in capitals are guards of ``commit.lua``; a mutant switches one off.
    """

    CHECKS_VERSION = True
    CHECKS_RUN_ID = True
    CHECKS_NOT_AFTER = True
    KNOWS_TOKENS = True
    KEEPS_FINALS = True
    PUBLISHES = True

    def __init__(self, clock: Clock, run_id: str, publish: Callable[[str, str], None]) -> None:
        self.clock, self.run_id, self._publish = clock, run_id, publish
        self.data = Data()
        self.pushed: Callable[[str], None] = lambda _text: None
        """Callback that receives each wake; the list itself is never emptied here."""
        self.known: set[str] = set()

    @property
    def now_ms(self) -> int:
        """The server's time."""
        return EPOCH_MS + int(self.clock.now_s * 1000 + 1e-6)

    def run(self, script: str, keys: list[str], args: list[str]) -> Any:
        """Run one script; everything arrives as text."""
        method: Callable[[list[str], list[str]], Any] = getattr(self, f"_{script}")
        return method(keys, args)

    # Commands

    def get(self, key: str) -> str | None:
        """``GET``."""
        self._expire(key)
        return self.data.strings.get(key)

    def exists(self, key: str) -> bool:
        """``EXISTS``."""
        self._expire(key)
        data = self.data
        return any(key in kind for kind in (data.strings, data.zsets, data.sets, data.hashes))

    def _expire(self, key: str) -> None:
        if (end_ms := self.data.ends.get(key)) is not None and end_ms <= self.now_ms:
            self._delete(key)

    def _delete(self, key: str) -> None:
        data = self.data
        kinds: tuple[Any, ...] = (data.strings, data.zsets, data.sets, data.hashes, data.ends)
        for kind in kinds:
            kind.pop(key, None)

    def _set(self, key: str, value: str, end_ms: int | None) -> None:
        self.data.strings[key] = value
        if end_ms is None:
            self.data.ends.pop(key, None)
        else:
            self.data.ends[key] = end_ms

    def _zset(self, key: str) -> dict[str, int]:
        return self.data.zsets.setdefault(key, {})

    def _zrem(self, key: str, member: str) -> None:
        zset = self.data.zsets.get(key, {})
        zset.pop(member, None)
        if not zset:
            self._delete(key)

    def _by_score(self, key: str, most_ms: int | None = None) -> list[tuple[str, int]]:
        pairs = sorted(self.data.zsets.get(key, {}).items(), key=lambda item: (item[1], item[0]))
        return [pair for pair in pairs if most_ms is None or pair[1] <= most_ms]

    # Scripts

    def _read(self, keys: list[str], args: list[str]) -> Any:
        instants = self.data.zsets.get(args[0], {}) if args[0] else {}
        aged = sum(at_ms <= self.now_ms - int(args[1]) for at_ms in instants.values())
        values = [self.get(key) for key in keys]
        return [str(self.now_ms), self.run_id, len(instants), aged, 0, values]

    def _beat(self, keys: list[str], args: list[str]) -> Any:
        beats, acked, drains = keys
        worker, last_answered_ms, _ = args
        now_ms = self.now_ms
        self._zset(beats)[worker] = now_ms
        if last_answered_ms != "0":
            self._zset(acked)[worker] = int(last_answered_ms)
        self._expire(drains)
        flat = [word for pair in self.data.hashes.get(drains, {}).items() for word in pair]
        return [str(now_ms), self.run_id, flat]

    def _lead(self, keys: list[str], args: list[str]) -> Any:
        holder = self.get(keys[0])
        if holder is not None and holder != args[0]:
            return 0
        self._set(keys[0], args[0], self.now_ms + int(args[1]))
        return 1

    def _woken(self, keys: list[str], args: list[str]) -> Any:
        queued = self.data.zsets.get(keys[0], {})
        here = [member for member in args if member in queued]
        queued.update(dict.fromkeys(here, self.now_ms))
        return [len(here)]

    def _sweep_snapshot(self, keys: list[str], args: list[str]) -> Any:
        due, beats, acked, queued = keys
        most, age_ms, silence_ms = map(int, args[:3])
        skip = int(args[4])
        now_ms = self.now_ms
        lost = []
        for name, score in self._by_score(beats, now_ms - silence_ms)[:most]:
            holds = args[3] + name
            self._expire(holds)
            lost.append([name, str(score), sorted(self.data.sets.get(holds, {}))])
        return [
            str(now_ms),
            self.run_id,
            [str(word) for pair in self._by_score(due, now_ms)[skip:][:most] for word in pair],
            [str(word) for pair in self._by_score(acked) for word in pair],
            [name for name, _ in self._by_score(queued, now_ms - age_ms)[:most]],
            len(self.data.zsets.get(queued, {})),
            lost,
        ]

    def _forget(self, keys: list[str], args: list[str]) -> Any:
        beats, acked, due, queued, thing = keys
        kind, name, judged_ms = args
        if kind == "worker":
            beat = self.data.zsets.get(beats, {}).get(name)
            if judged_ms and beat is not None and beat != int(judged_ms):
                return 0
            self._zrem(beats, name)
            self._zrem(acked, name)
            self._delete(thing)
            return 1
        if self.exists(thing):
            return 0
        self._zrem(due, name)
        self._zrem(queued, name)
        return 1

    def _take(self, keys: list[str], args: list[str]) -> Any:
        sealed = self.get(keys[0])
        if sealed is None:
            return None
        taker = self.get(keys[1])
        if taker is not None and taker != args[0]:
            return None
        if taker is None:
            end_ms = self.now_ms + int(args[1])
            self.data.ends[keys[0]] = end_ms
            self._set(keys[1], args[0], end_ms)
        return sealed

    def _commit(self, keys: list[str], args: list[str]) -> Any:
        plan = Plan.read(keys, args)
        refused = self._refused(plan)
        written: list[str] = []
        if refused is None:
            self._write_intent(plan)
            for key, (value, life_ms) in plan.put.items():
                self._set(key, value, self.now_ms + int(life_ms) if life_ms != "0" else None)
            written = self._write_records(plan)
            for key in plan.delete:
                self._delete(key)
            for text in written:
                self._append(text)
            for text in written if self.PUBLISHES else ():
                for channel in plan.channels:
                    self._publish(channel, text)
            for name, *words in plan.commands:
                carry: Callable[..., None] = getattr(self, f"_do_{name.lower()}")
                carry(*words)
        return [refused or "done", str(self.now_ms), len(written)]

    def _refused(self, plan: Plan) -> str | None:
        stored = self.get(plan.fixed[0])
        current: Any = json.loads(stored) if stored else {"version": 0, "tokens": []}
        if self.KNOWS_TOKENS and plan.token in current["tokens"]:
            return "again"
        if self.CHECKS_RUN_ID and plan.run_id != self.run_id:
            return "moved"
        apart_ms = abs(self.now_ms - int(plan.near or self.now_ms))
        if (self.CHECKS_VERSION and current["version"] != int(plan.version)) or apart_ms > 1_000:
            return "conflict"
        if self.CHECKS_NOT_AFTER and self.now_ms > int(plan.not_after or self.now_ms):
            return "late"
        if any((self.get(key) or "") != value for key, value in plan.expect.items()):
            return "taken"
        return None

    def _write_intent(self, plan: Plan) -> None:
        intent_key, due_key, queued_key, _ = plan.fixed
        text, end_ms, due, queued, woken = plan.intent
        if not text:
            return
        self._set(intent_key, text, int(end_ms))
        if due:
            self._zset(due_key)[plan.member] = int(due)
        else:
            self._zrem(due_key, plan.member)
        if queued and (woken == "1" or plan.member not in self.data.zsets.get(queued_key, {})):
            self._zset(queued_key)[plan.member] = int(queued)
        elif not queued:
            self._zrem(queued_key, plan.member)

    def _write_records(self, plan: Plan) -> list[str]:
        written = []
        for key, text, life_ms, final in plan.records:
            old = self.get(key)
            if self.KEEPS_FINALS and old is not None and json.loads(old)["state"] == "final":
                continue
            self._set(key, text, self.now_ms + int(life_ms))
            if final == "1":
                written.append(text)
        return written

    # The commands of a plan

    def _do_sadd(self, key: str, member: str) -> None:
        self._expire(key)
        self.data.sets.setdefault(key, {})[member] = None

    def _do_srem(self, key: str, member: str) -> None:
        self._remove(self.data.sets, key, member)

    def _do_hset(self, key: str, name: str, value: str) -> None:
        self._expire(key)
        self.data.hashes.setdefault(key, {})[name] = value

    def _do_hdel(self, key: str, name: str) -> None:
        self._remove(self.data.hashes, key, name)

    def _do_pexpire(self, key: str, life_ms: str) -> None:
        self.data.ends[key] = self.now_ms + int(life_ms)

    def _do_lpush(self, key: str, text: str) -> None:
        self.data.lists.setdefault(key, []).insert(0, text)
        self.pushed(text)

    def _do_xadd(self, _key: str, *words: str) -> None:
        self._append(words[-1])

    def _do_publish(self, channel: str, text: str) -> None:
        self._publish(channel, text)

    def _append(self, text: str) -> None:
        self.data.stream.append((f"{self.now_ms}-{len(self.data.stream)}", text))

    def _remove(self, kind: Any, key: str, name: str) -> None:
        self._expire(key)
        if key in kind:
            kind[key].pop(name, None)
            if not kind[key]:
                self._delete(key)

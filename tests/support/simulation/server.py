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

from tests.support.simulation.loop import Clock

EPOCH_MS = 1_800_000_000_000
DAY_MS = 86_400_000
KEPT = 6
"""Commits a failover may lose at most."""


@dataclass
class Data:
    """What rests in Redis. ``ends`` holds the instants, ms, at which keys expire."""

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
        """Told of each wake; nobody takes them out of the list here."""
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

    def _survey(self, keys: list[str], args: list[str]) -> Any:
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
            if beat is not None and beat != int(judged_ms):
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
        plan: dict[str, Any] = json.loads(args[0])
        refused = self._refused(keys[0], plan)
        written: list[list[Any]] = []
        if refused is None:
            self._write_intent(keys, plan)
            self._write_indexes(plan)
            written = self._write_records(plan)
            for key in plan["del"]:
                self._delete(key)
            self._tell(plan, written)
        return [refused or "done", str(self.now_ms), len(written)]

    def _refused(self, intent_key: str, plan: dict[str, Any]) -> str | None:
        stored = self.get(intent_key)
        current: Any = json.loads(stored) if stored else {"version": 0, "tokens": []}
        if self.KNOWS_TOKENS and plan["token"] in current["tokens"]:
            return "again"
        if self.CHECKS_RUN_ID and plan.get("run_id", self.run_id) != self.run_id:
            return "moved"
        apart_ms = abs(self.now_ms - plan.get("near", self.now_ms))
        if (self.CHECKS_VERSION and current["version"] != plan["version"]) or apart_ms > 1_000:
            return "conflict"
        if self.CHECKS_NOT_AFTER and self.now_ms > plan.get("not_after", self.now_ms):
            return "late"
        if any((self.get(key) or "") != value for key, value in plan["expect"].items()):
            return "taken"
        return None

    def _write_intent(self, keys: list[str], plan: dict[str, Any]) -> None:
        intent_key, due, queued, *_ = keys
        member = plan["member"]
        if "intent" not in plan:
            return
        self._set(intent_key, plan["intent"], plan["expire_at"])
        if "due" in plan:
            self._zset(due)[member] = plan["due"]
        else:
            self._zrem(due, member)
        if "queued" in plan and (
            plan.get("requeue") or member not in self.data.zsets.get(queued, {})
        ):
            self._zset(queued)[member] = plan["queued"]
        elif "queued" not in plan:
            self._zrem(queued, member)

    def _write_indexes(self, plan: dict[str, Any]) -> None:
        now_ms, data = self.now_ms, self.data
        for key, value, life_ms in plan["put"]:
            self._set(key, value, now_ms + life_ms if life_ms > 0 else None)
        if "hold" in plan:
            self._expire(plan["hold"])
            data.sets.setdefault(plan["hold"], {})[plan["member"]] = None
            data.ends[plan["hold"]] = now_ms + DAY_MS
        if "unhold" in plan:
            self._remove(data.sets, plan["unhold"], plan["member"])
        if "drain" in plan:
            key, name, at_ms = plan["drain"]
            self._expire(key)
            data.hashes.setdefault(key, {})[name] = str(at_ms)
            data.ends[key] = now_ms + DAY_MS
        if "undrain" in plan:
            self._remove(data.hashes, *plan["undrain"])

    def _remove(self, kind: Any, key: str, name: str) -> None:
        self._expire(key)
        if key in kind:
            kind[key].pop(name, None)
            if not kind[key]:
                self._delete(key)

    def _write_records(self, plan: dict[str, Any]) -> list[list[Any]]:
        written = []
        for record in plan["records"]:
            key, text, life_ms, final = record[:4]
            old = self.get(key)
            if self.KEEPS_FINALS and old is not None and json.loads(old)["state"] == "final":
                continue
            self._set(key, text, self.now_ms + life_ms)
            if final == 1:
                written.append(record)
        return written

    def _tell(self, plan: dict[str, Any], written: list[list[Any]]) -> None:
        for text in plan["wakes"]:
            self.data.lists.setdefault(plan["queue"], []).insert(0, text)
            self.pushed(text)
        for text in [record[1] for record in written] + plan["log"]:
            self.data.stream.append((f"{self.now_ms}-{len(self.data.stream)}", text))
        for record in written if self.PUBLISHES else ():
            self._publish(record[4], record[1])
            self._publish(record[5], record[1])
        for channel, text in plan["messages"]:
            self._publish(channel, text)

"""One soak: the processes, what they are given in steps, and the look after each."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import redis

from checkpoint_worker.tasks.operations.wake import wake_message
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.soak.adapter import PROVIDER
from tests.soak.figures import Line, judge
from tests.soak.kinds import KINDS, Kind
from tests.support.plugins import installed
from tests.support.probe import ask
from tests.support.processes import START_S, line_of, running, until

KEY: Final = "a-key-of-the-soak-alone"
QUEUE: Final = "checkpoint"
SETTINGS: Final = {
    "PROVIDERS": PROVIDER,
    "ALLOW_PRIVATE_PROXIES": "true",
    "LOG_LEVEL": "ERROR",
    "API_KEYS": KEY,
    "DEADLINE_S": "30",
    "INTENT_TTL_S": "35",
    "RESULT_TTL_S": "20",
    "OUTCOMES_MAX": "1000",
    "QUEUE_MAX": "10000000",
    "QUEUE_AGE_MAX_S": "1000",
    "SUBMISSIONS_MAX": "10000000",
    "HOURLY_MAX": "10000000",
    "HOURLY_OPENS_MAX": "10000000",
    "HOURLY_REFUSED_MAX": "10000000",
    "FAULTS_MAX": "10000000",
    "FAILURES_MAX": "10000000",
}
"""Records that are gone soon, and no limit on what one account may do: all else as shipped."""
STEP_S: Final = 600.0
"""Timeout for one step, seconds."""
QUIET_S: Final = 0.5
"""Pause after a step, seconds, in which finished objects are released."""
POISON: Final = (
    "not JSON",
    "",
    "null",
    "[]",
    '{"body": "e30=", "headers": {}}',
    '{"body": "!", "headers": {"id": 7}, "properties": {}}',
)
MEANT_SHARE: Final = 0.8
"""Minimum share of expected outcomes. On a busy machine some codes are not sent, because their
deadline is too near."""
SAMPLE: Final = 1_000
"""Number of keys whose elements are counted in one round trip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The requested run.

    Attributes:
        kinds: The kinds of submissions to play.
        submissions: Number of submissions of all kinds together.
        steps: Number of times that the processes are measured.
        warm: Number of submissions before growth counts.
        seconds: Duration of the run in place of ``submissions``, which is then one round of
            ``steps``.
    """

    kinds: tuple[Kind, ...] = KINDS
    submissions: int = 20_000
    steps: int = 20
    warm: int = 5_000
    seconds: float | None = None


@dataclass(slots=True, kw_only=True)
class Findings:
    """What came of it.

    Attributes:
        looks: The values for `tests.soak.figures.judge`.
        outcomes: Status to how often, by kind.
        lines: The course of each figure.
        wrong: Sentences about outcomes other than those that were meant.
    """

    looks: list[dict[str, Any]] = field(default_factory=list)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def growing(self) -> list[Line]:
        """What does not stay flat."""
        return [line for line in self.lines if line.grows]

    @property
    def worker_cpu_us(self) -> float:
        """CPU of the worker for each submission, microseconds."""
        # The first step brings what is made once.
        first, last = self.looks[min(1, len(self.looks) - 2)], self.looks[-1]
        used_s = last["processes"]["worker"]["cpu_s"] - first["processes"]["worker"]["cpu_s"]
        return float(used_s / (last["submissions"] - first["submissions"]) * 1e6)

    def document(self) -> dict[str, Any]:
        """Return everything, as JSON has it."""
        return {
            "outcomes": self.outcomes,
            "lines": [asdict(line) for line in self.lines],
            "worker_cpu_us": round(self.worker_cpu_us),
            "wrong": self.wrong,
            "looks": self.looks,
        }


class Deployment:
    """The processes of a soak, each with its probe."""

    def __init__(self, folder: Path, url: str, provider: str) -> None:
        self._folder = folder
        self.raw: redis.Redis = redis.Redis.from_url(url, decode_responses=True)
        self._env = {f"CHECKPOINT_{name}": value for name, value in SETTINGS.items()}
        self._env |= {"CHECKPOINT_REDIS_URL": url, "CHECKPOINT_SECRET_KEYS": make_key()}
        self._env |= {f"CHECKPOINT_{PROVIDER}_URL": provider, "SOAK_API_KEY": KEY}
        self.probes: dict[str, Path] = {}
        self.clients: list[subprocess.Popen[str]] = []

    @contextlib.contextmanager
    def probed(self, name: str, module: str, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run a module with a probe in it."""
        probe = self.probes[name] = self._folder / f"{name}.probe"
        log = self._folder / f"{name}.log"
        command = ("-m", "tests.support.probe", str(probe), module, *words)
        with running(log, *command, env=self._env) as child:
            yield child

    def look(self) -> dict[str, dict[str, float]]:
        """Look at every process, and at Redis."""
        found: dict[str, dict[str, float]] = {
            name: ask(probe, "look") for name, probe in self.probes.items()
        }
        found["redis"] = self._look_at_redis()
        return found

    def _look_at_redis(self) -> dict[str, float]:
        info: Any = self.raw.info()
        keyspace = info.get("db0", {"keys": 0, "expires": 0})
        return {
            "keys": keyspace["keys"],
            "lasting": keyspace["keys"] - keyspace["expires"],
            "elements": self._elements(),
            "redis_kb": info["used_memory"] // 1024,
        }

    def _elements(self) -> int:
        """Count what is in the keys that hold more than one thing."""
        total = 0
        for kind, length in (
            ("zset", "zcard"),
            ("set", "scard"),
            ("list", "llen"),
            ("hash", "hlen"),
            ("stream", "xlen"),
        ):
            names = self.raw.scan_iter(count=SAMPLE, _type=kind)
            while some := list(itertools.islice(names, SAMPLE)):
                with self.raw.pipeline(transaction=False) as pipe:
                    for name in some:
                        getattr(pipe, length)(name)
                    total += sum(pipe.execute())
        return total

    def drained(self) -> None:
        """Wait until no message waits."""
        until(lambda: not self.raw.llen(QUEUE), STEP_S, "the queue to be empty", 0.05)

    def push(self, kind: Kind, number: int, count: int) -> None:
        """Put messages into the queue that no client of ours would."""
        texts: Iterator[str]
        if kind.name == "poison":
            texts = (POISON[each % len(POISON)] for each in range(count))
        else:
            names = (f"sub_junk_{number}_{each}" for each in range(count))
            texts = (wake_message(QUEUE, name, "acc_junk", PROVIDER) for name in names)
        while some := list(itertools.islice(texts, SAMPLE)):
            self.raw.lpush(QUEUE, *some)

    def tell(self, client: subprocess.Popen[str], words: dict[str, Any]) -> None:
        """Give a client something to do."""
        assert client.stdin is not None
        client.stdin.write(f"{json.dumps(words)}\n")
        client.stdin.flush()


@contextlib.contextmanager
def standing() -> Iterator[Deployment]:
    """Start everything, and end it."""
    entry = f"[checkpoint.providers]\n{PROVIDER} = tests.soak.adapter:Soak\n"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        stack.enter_context(installed(folder, "checkpoint_soak", "", entry))
        server = stack.enter_context(EmbeddedRedis())
        log = folder / "provider.log"
        provider = stack.enter_context(running(log, "-m", "tests.soak.provider"))
        deployment = Deployment(
            folder, server.url, f"http://127.0.0.1:{line_of(provider.stdout).strip()}"
        )
        stack.callback(deployment.raw.close)
        celery = ("-A", "worker", "worker", "--without-gossip", "--without-mingle")
        stack.enter_context(deployment.probed("worker", "celery", *celery))
        options = ("gateway", "--port", "0", "--grace", "0", "--json")
        gateway = stack.enter_context(
            deployment.probed("gateway", "checkpoint_worker.worker.cli", *options)
        )
        address = json.loads(line_of(gateway.stdout))["gateway"]
        until(lambda: deployment.raw.zcard(f"{QUEUE}:beats"), START_S, "a heartbeat")
        for name, how in (("awaited", "awaited"), ("blocking", "blocking"), ("http", address)):
            client = stack.enter_context(deployment.probed(name, "tests.soak.client", how))
            line_of(client.stdout)
            deployment.clients.append(client)
        yield deployment


def run(wish: Wish, told: Callable[[Findings], None]) -> Findings:
    """Soak; ``told`` is called after each look.

    Raises:
        StuckError: A step did not end.
    """
    found = Findings()
    with standing() as deployment:
        done, began_s = 0, time.monotonic()
        found.looks.append({"submissions": 0, "processes": deployment.look()})
        for number in itertools.count():
            if number >= wish.steps and (
                wish.seconds is None or time.monotonic() - began_s > wish.seconds
            ):
                break
            done += _step(deployment, wish, number, done, found.outcomes)
            time.sleep(QUIET_S)
            found.looks.append({"submissions": done, "processes": deployment.look()})
            told(found)
        for name, probe in deployment.probes.items():
            found.looks[-1]["processes"][name]["cyclic"] = ask(probe, "last")["cyclic"]
    found.lines = judge(found.looks, min(wish.warm, done))
    found.wrong = _wrong(wish.kinds, found.outcomes)
    return found


def _step(
    deployment: Deployment, wish: Wish, number: int, done: int, outcomes: dict[str, Counter[str]]
) -> int:
    """Let all clients play their share; return the number of submissions and messages."""
    count = wish.submissions // wish.steps
    played = [kind.name for kind in wish.kinds if kind.play is not None]
    pushed = [kind for kind in wish.kinds if kind.play is None]
    mine = count // len(wish.kinds) * len(pushed)
    # What a play submits twice is counted twice.
    each = [len(kind.statuses) for kind in wish.kinds if kind.play is not None]
    plays = round((count - mine) / (sum(each) / len(each))) if each else 0
    share = max(1, plays // len(deployment.clients))
    if played:
        for client in deployment.clients:
            deployment.tell(client, {"kinds": played, "first": number * share, "count": share})
    for kind in pushed:
        deployment.push(kind, number, mine // len(pushed))
    total = mine
    if played:
        for client in deployment.clients:
            for name, statuses in json.loads(line_of(client.stdout)).items():
                outcomes.setdefault(name, Counter()).update(statuses)
                total += sum(statuses.values())
    deployment.drained()
    return total


def _wrong(kinds: Sequence[Kind], outcomes: dict[str, Counter[str]]) -> list[str]:
    """Return the kinds whose outcomes differ from the expected ones, each with its outcomes."""
    wrong = []
    for kind in kinds:
        if kind.play is None:
            continue
        found = outcomes.get(kind.name, Counter())
        meant = sorted({str(status) for status in kind.statuses})
        if sum(found[status] for status in meant) < MEANT_SHARE * max(1, found.total()):
            wrong.append(f"{kind.name}: outcomes {dict(found)}, not {' and '.join(meant)}")
    return wrong

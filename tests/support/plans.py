"""The words of ``commit.lua``, read back and made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

FIXED_KEYS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one call of the script asks for; the script's header tells what each part means."""

    fixed: tuple[str, ...]
    """The intent, due, queued, and the stream."""
    token: str = "t"
    version: str = "0"
    run_id: str = ""
    near: str = ""
    not_after: str = ""
    intake: str = "0"
    member: str = "P:a"
    intent: tuple[str, str, str, str, str] = ("", "", "", "", "")
    """JSON, its end, its scores in due and queued, and whether it was woken."""
    longest: str = "10"
    channels: tuple[str, str] = ("results", "results:a")
    expect: dict[str, str] = field(default_factory=dict)
    put: dict[str, tuple[str, str]] = field(default_factory=dict)
    records: list[tuple[str, str, str, str]] = field(default_factory=list)
    delete: tuple[str, ...] = ()
    commands: list[list[str]] = field(default_factory=list)

    @classmethod
    def read(cls, keys: list[str], args: list[str]) -> Plan:
        """Read the keys and words of a call."""
        names, words = iter(keys), iter(args)
        fixed = tuple(islice(names, FIXED_KEYS))
        token, version, run_id, near, not_after, intake, member = islice(words, 7)
        intent = (next(words), next(words), next(words), next(words), next(words))
        longest, channels = next(words), (next(words), next(words))
        expectations, values, records, removals = map(int, islice(words, 4))
        return cls(
            fixed=fixed,
            token=token,
            version=version,
            run_id=run_id,
            near=near,
            not_after=not_after,
            intake=intake,
            member=member,
            intent=intent,
            longest=longest,
            channels=channels,
            expect={next(names): next(words) for _ in range(expectations)},
            put={next(names): (next(words), next(words)) for _ in range(values)},
            records=[(next(names), next(words), next(words), next(words)) for _ in range(records)],
            delete=tuple(islice(names, removals)),
            commands=[list(islice(words, int(size))) for size in words],
        )

    @property
    def keys(self) -> list[str]:
        """The keys of a call."""
        rows = [row[0] for row in self.records]
        called = [command[1] for command in self.commands if command[0] != "PUBLISH"]
        return [*self.fixed, *self.expect, *self.put, *rows, *self.delete, *called]

    @property
    def words(self) -> list[str]:
        """The words of a call."""
        counts = map(len, (self.expect, self.put, self.records, self.delete))
        head = (self.token, self.version, self.run_id, self.near, self.not_after, self.intake)
        found = [*head, self.member, *self.intent, self.longest, *self.channels]
        found += [*map(str, counts), *self.expect.values()]
        for value in self.put.values():
            found += value
        for _, *row in self.records:
            found += row
        for command in self.commands:
            found += [str(len(command)), *command]
        return found

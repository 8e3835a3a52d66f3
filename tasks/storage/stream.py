"""The store's reads of the stream of outcomes."""

from __future__ import annotations

from typing import Final

import orjson

from checkpoint_worker.tasks.records import Outcome, read_outcome
from checkpoint_worker.tasks.storage.base import StoreBase
from checkpoint_worker.tasks.storage.executor import Operation, ScriptCall
from checkpoint_worker.tasks.storage.views import Page

READER_GONE_MS: Final = 24 * 3600 * 1000
"""Idle time after which a group reader without pending entries is removed from the group."""
PAGE: Final = 500
"""Maximum number of stream entries that one script call reads. Redis needs half a millisecond to
search them for one account, and an event loop 6 ms to parse them (measured)."""
LOOKED_AT_MAX: Final = 5_000
"""Maximum number of stream entries that are searched for one page of a listing."""
SKIPPED: Final = "-"
"""Placeholder that ``group.lua`` returns in place of a record when it found only entries of other
accounts and the stream may hold more."""


def _record_text(account_id: str | None, prefix: str) -> str:
    """Return a text that the JSON of every requested record contains, empty for all records."""
    if account_id is not None:
        return orjson.dumps(account_id).decode()
    return orjson.dumps(prefix).decode()[:-1] if prefix else ""


class StreamOperations(StoreBase):
    """The ledger operations of readers of outcomes."""

    __slots__ = ()

    def recent(self, account_id: str | None, limit: int) -> Operation[list[Outcome]]:
        """Read the newest ``limit`` final records of one account or of all, newest first."""
        found: list[Outcome] = []
        after: str | None = ""
        while after is not None and len(found) < limit:  # Bounded: the stream is capped.
            page = yield from self.page(limit - len(found), account_id=account_id, after=after)
            found += page.records
            after = page.after
        return found

    def page(
        self, limit: int, *, account_id: str | None = None, prefix: str = "", after: str = ""
    ) -> Operation[Page]:
        """Read final records, the newest first, from at most `LOOKED_AT_MAX` stream entries.

        Args:
            limit: Maximum number of records.
            account_id: Read only this account's records, ``None`` for all.
            prefix: Read only records of accounts whose id starts with this text.
            after: `Page.after` of the page before, empty for the newest page.
        """
        held = _record_text(account_id, prefix)
        found: list[tuple[str, Outcome]] = []
        left = LOOKED_AT_MAX
        while True:
            most = min(PAGE, left) if held else min(limit - len(found), PAGE, left)
            start = f"({after}" if after else "+"
            looked, last, rows = yield from self.entries(start, most, held)
            left -= looked
            found += (
                (entry, record)
                for entry, text in rows
                if (record := read_outcome(text, entry)) is not None
                and account_id in (None, record.account_id)
                and record.account_id.startswith(prefix)
            )
            ends = looked < most
            after = last
            if len(found) > limit:
                found, after, ends = found[:limit], found[limit - 1][0], False
            if ends or left <= 0 or len(found) == limit:
                records = [record for _, record in found]
                return Page(records=records, after=None if ends else after)

    def entries(
        self, start: str, most: int, held: str = "", *, needs_master: bool = True
    ) -> Operation[tuple[int, str, list[tuple[str, str]]]]:
        """Read one page of entries, the newest first, as ``recent.lua`` returns it.

        Returns:
            The number of searched entries, the last one's id, and id and JSON of each record.
        """
        args = (start, most, held, int(needs_master))
        looked, last, rows = yield ScriptCall("recent", (self.keys.outcomes,), args)
        return int(looked), last, rows

    def next_undelivered(
        self,
        group: str,
        reader: str,
        *,
        most: int,
        left_ms: int,
        done: str = "",
        account_id: str | None = None,
    ) -> Operation[list[tuple[str, Outcome | None]]]:
        """Read the next unacknowledged records of a consumer group, with their entry ids.

        An unreadable entry is returned as ``None``, to be acknowledged like any other. An entry of
        another account may be returned as ``None`` as well, so that no single command has to
        search through all of them.

        Args:
            group: The consumer group; if it does not exist, it is made and begins with the oldest
                record.
            reader: Name of the reader in the group.
            most: Maximum number of records.
            left_ms: Time after which a record that another reader holds counts as abandoned.
            done: Entry id of the record that the reader has finished, if any.
            account_id: Return only this account's records; entries of others are acknowledged
                without being returned.
        """
        args = (group, reader, most, left_ms, done, READER_GONE_MS, _record_text(account_id, ""))
        rows = yield ScriptCall("group", (self.keys.outcomes,), args)
        return [
            (entry, None if text == SKIPPED else read_outcome(text, entry)) for entry, text in rows
        ]

"""The stored form of an intent."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from checkpoint_worker.tasks.model import Intent, replace
from checkpoint_worker.tasks.storage.executor import ForeignLedgerError

SCHEMA: Final = 1
UNREADABLE: Final = "the ledger holds an intent that this version cannot read"


class _Head(Struct, frozen=True, kw_only=True, gc=False):
    """The first fields of an intent's JSON, which belong to the store and not to the rules."""

    v: int
    tokens: tuple[str, ...]


_encode: Final = msgspec.json.Encoder().encode
_head_of: Final = msgspec.json.Decoder(_Head).decode
_intent_of: Final = msgspec.json.Decoder(Intent).decode


def dump_intent(intent: Intent, tokens: tuple[str, ...]) -> str:
    """Return the stored form.

    Processes of the version before write an intent back without ``doubts``. So each doubt also
    lowers ``failures_max`` there, which they keep: after them as few codes may be sent as before.
    """
    if intent.doubts:
        intent = replace(intent, failures_max=intent.failures_max - intent.doubts)
    head, body = _encode(_Head(v=SCHEMA, tokens=tokens)), _encode(intent)
    return f"{head[:-1].decode()},{body[1:].decode()}"  # Merges the two objects into one.


def load_intent(stored: str | None) -> tuple[Intent | None, tuple[str, ...]]:
    """Return an intent and its command tokens from the stored form.

    Raises:
        ForeignLedgerError: This version cannot read it.
    """
    if stored is None:
        return None, ()
    try:
        head = _head_of(stored)
    except msgspec.MsgspecError as error:
        raise ForeignLedgerError(UNREADABLE) from error
    if head.v != SCHEMA:
        msg = "the ledger holds an intent of another schema; see the upgrade notes"
        raise ForeignLedgerError(msg)
    try:
        intent = _intent_of(stored)
    except msgspec.MsgspecError as error:
        raise ForeignLedgerError(UNREADABLE) from error
    if intent.doubts:
        intent = replace(intent, failures_max=intent.failures_max + intent.doubts)
    return intent, head.tokens

"""Packed bodies in any pieces, and what they may cost."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib

import pytest

from providers.contract import ProviderBrokenError
from providers.decoding import PARTS_MAX, Body

BOMB = gzip.compress(b"\0" * (8 * 1024 * 1024))


def test_a_bomb_is_not_unpacked_beyond_the_limit() -> None:
    """Memory stays small: the decoder stops one byte past the cap, not after unpacking 8 MiB."""
    for bomb, encoding in ((BOMB, "gzip"), (gzip.compress(BOMB), "gzip, gzip")):
        body = Body(encoding, 1000 if encoding == "gzip" else len(BOMB))
        tracemalloc.start()
        try:
            with pytest.raises(ProviderBrokenError):
                body.feed(bomb)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 1024 * 1024


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_parts_are_found_wherever_the_network_cuts(size: int) -> None:
    """A part may begin with the last byte of one piece; cut off in silence it would be lost."""
    packed = b"".join(gzip.compress(text) for text in (b"one ", b"", b"two ", b"three"))
    body = Body("gzip", 1000)
    for at in range(0, len(packed), size):
        body.feed(packed[at : at + size])
    assert not body.is_cut
    assert body.finish() == b"one two three"


@pytest.mark.parametrize(
    ("encoding", "packed"), [("gzip", b""), ("gzip", b"x"), ("deflate", b""), ("deflate", b"x")]
)
def test_what_is_too_short_to_be_packed_is_as_it_is(encoding: str, packed: bytes) -> None:
    """An empty body, or a digit that somebody labelled."""
    body = Body(encoding, 1000)
    body.feed(packed)
    assert body.finish() == packed


def test_what_is_not_packed_has_the_limit_too() -> None:
    """Whatever its label says."""
    for encoding in ("", "gzip"):
        body = Body(encoding, 10)
        body.feed(b"x" * 10)
        with pytest.raises(ProviderBrokenError):
            body.feed(b"x")


def test_padding_and_parts_cost_no_more_than_their_bytes() -> None:
    """In pieces of one byte zlib copied all of the padding for each: minutes of a whole worker."""
    began_s = time.process_time()
    body = Body("gzip", 1000)
    body.feed(gzip.compress(b"ok"))
    for _ in range(200_000):
        body.feed(b"\0")
    assert body.finish() == b"ok"
    body = Body("gzip", 1000)
    body.feed(gzip.compress(b"") * PARTS_MAX)
    assert body.finish() == b""
    assert time.process_time() - began_s < 10.0, "0.1 s on an idle machine"


def test_a_broken_first_part_is_no_body() -> None:
    """Half a page in one text and half in another would be judged as a whole one."""
    body = Body("gzip", 1000)
    with pytest.raises(zlib.error):
        body.feed(gzip.compress(b"x")[:-8] + b"12345678")

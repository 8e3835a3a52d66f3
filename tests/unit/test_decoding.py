"""Packed bodies in any pieces, and what they may cost."""

from __future__ import annotations

import gzip
import resource
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoint_worker.providers.contract import ProviderBrokenError, UnreadableAnswerError
from checkpoint_worker.providers.http.decoding import PARTS_MAX, Body

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOMB = gzip.compress(b"\0" * (8 * 1024 * 1024))
NEWER: dict[str, Callable[[bytes], bytes]] = {"br": brotli.compress, "zstd": zstd.compress}
BOMBS = {
    "br": brotli.compress(b"\0" * (64 << 20), quality=5),
    "zstd": zstd.compress(b"\0" * (64 << 20)),
}
SKIPPED = b"\x50\x2a\x4d\x18\x05\0\0\0xxxxx"
"""A frame of Zstandard that says nothing."""


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
    """An empty body, or a digit with a label."""
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


@given(text=st.binary(max_size=5_000), size=st.integers(1, 700), word=st.sampled_from(list(NEWER)))
def test_newer_encodings_are_undone_wherever_the_network_cuts(
    text: bytes, size: int, word: str
) -> None:
    """A context may name them in Accept-Encoding."""
    packed = NEWER[word](text)
    body = Body(word, 5_000)
    for at in range(0, len(packed), size):
        body.feed(packed[at : at + size])
    assert not body.is_cut
    assert body.finish() == text


@pytest.mark.parametrize("word", list(NEWER))
@pytest.mark.parametrize("layers", [1, 2])
def test_a_newer_bomb_is_not_unpacked_beyond_the_limit(word: str, layers: int) -> None:
    """64 MiB of nothing in a few kilobytes; the library's own memory counts as well."""
    bomb = BOMBS[word]
    for _ in range(layers - 1):
        bomb = NEWER[word](bomb)
    body = Body(", ".join([word] * layers), 2 << 20)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began_s = time.process_time()
    with pytest.raises(UnreadableAnswerError):
        body.feed(bomb)
    assert time.process_time() - began_s < 2.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 48 << 10


def test_a_window_that_no_server_may_ask_for_is_refused() -> None:
    """It is memory of ours: 128 MiB for each answer."""
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.checksum_flag: 1}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(b"x") + packer.flush()
    with pytest.raises(UnreadableAnswerError):
        Body("zstd", 1000).feed(packed)


def test_frames_follow_each_other_and_say_little_or_nothing() -> None:
    """Any number up to the bound, with frames to be skipped between them."""
    packed = SKIPPED + zstd.compress(b"one ") + SKIPPED + zstd.compress(b"two")
    for size in (1, 3, 1000):
        body = Body("zstd", 100)
        for at in range(0, len(packed), size):
            body.feed(packed[at : at + size])
        assert body.finish() == b"one two"
    with pytest.raises(UnreadableAnswerError):
        Body("zstd", 1000).feed(zstd.compress(b"") * (PARTS_MAX + 1))


@pytest.mark.parametrize(
    ("word", "said"),
    [("zstd", b"plain text"), ("zstd", b"x"), ("zstd", b""), ("br", b"")],
)
def test_a_newer_label_over_what_is_not_packed_says_nothing(word: str, said: bytes) -> None:
    """As with the older ones."""
    body = Body(word, 1000)
    body.feed(said)
    assert not body.is_cut
    assert body.finish() == said


@pytest.mark.parametrize("word", list(NEWER))
def test_a_newer_body_may_lack_its_end_and_may_not_be_broken(word: str) -> None:
    """What was read before the cut is what the common clients show."""
    text = bytes(range(256)) * 2_000
    packed = NEWER[word](text)
    body = Body(word, len(text))
    body.feed(packed[:-3])
    assert body.is_cut
    assert text.startswith(body.finish())
    with pytest.raises(UnreadableAnswerError):
        Body(word, len(text)).feed(packed[:9] + bytes(64) + b"\xff" * 64)


@pytest.mark.parametrize("word", list(NEWER))
def test_what_stands_behind_a_newer_body_is_none_of_it(word: str) -> None:
    """In a piece of its own, as a connection brings it."""
    body = Body(word, 1000)
    body.feed(NEWER[word](b"ok"))
    body.feed(b"behind")
    assert body.finish() == b"ok"


def test_an_encoding_that_is_not_learnt_is_unreadable() -> None:
    """Its empty body needs no reader."""
    assert Body("compress", 10).finish() == b""
    with pytest.raises(UnreadableAnswerError):
        Body("compress", 10).feed(b"x")

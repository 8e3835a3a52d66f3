"""Heads in any pieces, and what they may cost."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from checkpoint_worker.providers.http.connect import PROXY_HEAD_BYTES_MAX, ProxyHead
from checkpoint_worker.providers.http.connection import HandshakeReader
from checkpoint_worker.providers.http.heads import Heads
from checkpoint_worker.providers.http.response import Limits, ResponseParser


def _proxy() -> Callable[[bytes], bool]:
    said, head = HandshakeReader(PROXY_HEAD_BYTES_MAX), ProxyHead()
    said._enough = head.is_over
    return said.feed


def _provider() -> Callable[[bytes], bool]:
    return ResponseParser(path="/", limits=Limits(), ends_with_head=False).feed


def _cost_s(feed: Callable[[bytes], bool], count: int) -> float:
    """Return what so many bytes of short lines cost, each on its own, in CPU seconds."""
    assert not feed(b"HTTP/1.1 200 OK\r\n")
    lines = b"a:b\r\n" * (count // 5)
    pieces = [lines[at : at + 1] for at in range(len(lines))]
    began_s = time.process_time()
    for piece in pieces:
        assert not feed(piece)
    return time.process_time() - began_s


@pytest.mark.parametrize("who", [_proxy, _provider])
def test_a_head_costs_no_more_than_its_bytes(who: Callable[[], Callable[[bytes], bool]]) -> None:
    """Of four times the bytes four times the cost, where looking anew at each made it sixteen.

    Fifty proxies that dribble are fifty people; the loop they share is everybody's.
    """
    ratios = [_cost_s(who(), 16_000) / _cost_s(who(), 4_000) for _ in range(5)]
    assert sorted(ratios)[1] < 8.0, ratios


def test_a_head_is_no_longer_than_its_limit() -> None:
    """A proxy says two lines; what never ends is refused at once, not at the time limit."""
    feed = _proxy()
    feed(b"HTTP/1.1 200 OK\r\n")
    assert not feed(b"x" * 10_000)
    assert feed(b"x" * PROXY_HEAD_BYTES_MAX)


@pytest.mark.parametrize("said", [b"SSH-2.0-x", b"<html>", b"HTTX", b"\r\n\r\n220 smtp", b"H\n\n"])
def test_what_cannot_become_a_head_is_known_at_its_first_byte(said: bytes) -> None:
    """Else the time limit of connecting says it, five seconds later."""
    heads, heard = Heads(), bytearray()
    for byte in said:
        heard.append(byte)
        assert heads.next_of(heard) is None
        if heads.is_hopeless:
            break
    assert heads.is_hopeless
    assert len(heard) <= 6


def test_heads_are_cut_off_one_after_the_other() -> None:
    """Hints and the answer may come in one piece; what follows the last is no head."""
    heads = Heads()
    heard = bytearray(b"\r\nHTTP/1.1 100 A\r\n\r\nHTTP/1.1 200 B\nX: y\n\nbody")
    assert heads.next_of(heard) == b"HTTP/1.1 100 A\r\n\r\n"
    assert heads.next_of(heard) == b"HTTP/1.1 200 B\nX: y\n\n"
    assert heard[heads.end :] == b"body"

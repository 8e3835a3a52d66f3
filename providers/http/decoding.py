"""Decoding of a body's content encodings, incrementally and within a size limit.

The decoder accepts the same deviations as common clients, because the code is used by the time an
answer arrives: several compressed parts in a row, a stream without its end, bytes after the stream,
"deflate" with and without zlib's header, and an encoding header over an uncompressed body.
Browsers, curl and urllib3 agree on most of these.
"""

from __future__ import annotations

import re
import sys
import zlib
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, ClassVar, Final

import brotli

from checkpoint_worker.providers.contract import UnreadableAnswerError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CODINGS_MAX: Final = 5
"""Maximum number of nested encodings, as in urllib3."""
PARTS_MAX: Final = 1_000
"""Maximum number of compressed parts in one body. Each costs a few microseconds, however small."""
_PACKED: Final = frozenset({"gzip", "x-gzip", "deflate", "x-deflate", "br", "zstd"})
_FOREIGN: Final = frozenset({"compress", "x-compress", "dcb", "dcz"})
"""Encodings that no request accepts."""
_ZSTD: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
"""Magic bytes of a Zstandard frame or a skippable frame."""
_ZSTD_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
"""Largest window: 8 MiB, the limit of RFC 9659."""
_GZIP: Final = b"\x1f\x8b"
_ZLIB_METHOD: Final = 8
_ZLIB_CHECK: Final = 31
_NAME: Final = re.compile(r"[^,\s]+")


def unreadable() -> UnreadableAnswerError:
    """Return the error for an unreadable or truncated body."""
    return UnreadableAnswerError("The provider's answer is cut short or unreadable.")


def too_large() -> UnreadableAnswerError:
    """Return the error for an answer over a limit."""
    return UnreadableAnswerError("The provider's answer is too large.")


class Body:
    """The decoded body of an answer.

    Args:
        encodings: Encodings of the headers, in the order in which they were applied, with commas.
            A word that names no compression (``identity``, or ``utf-8`` of some servers) is
            ignored.
        limit_bytes: Limit on the decoded size of each layer.
    """

    __slots__ = ("_is_foreign", "_layers", "_left", "_out")

    def __init__(self, encodings: str, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._out = bytearray()
        self._is_foreign = False
        self._layers: list[Layer] = []
        if encodings:
            words = _NAME.findall(encodings.lower())
            packed = [word for word in words if word in _PACKED]
            self._is_foreign = len(packed) > CODINGS_MAX or not _FOREIGN.isdisjoint(words)
            self._layers = [_layer(word, limit_bytes) for word in reversed(packed)]

    def feed(self, data: bytes) -> None:
        """Decode some bytes.

        Raises:
            UnreadableAnswerError: The decoded body is too large, or its encoding is unsupported.
            zlib.error: The data is corrupt.
        """
        if self._is_foreign and data:  # An empty body needs no decoder.
            raise unreadable()
        for layer in self._layers:
            data = layer.feed(data)
        self._keep(data)

    def finish(self) -> bytes:
        """Return the whole body; a compressed stream may lack its end, as in common clients."""
        if self._layers:
            data = b""
            for layer in self._layers:
                data = layer.feed(data) + layer.finish()
            self._keep(data)
        return self.read()

    def read(self) -> bytes:
        """Return the part of the body that is decoded so far."""
        return bytes(self._out)

    @property
    def is_cut(self) -> bool:
        """Whether a compressed stream has begun but not ended."""
        return any(layer.is_cut for layer in self._layers)

    def _keep(self, data: bytes) -> None:
        if len(data) > self._left:
            raise too_large()
        self._left -= len(data)
        self._out += data


class Layer(ABC):
    """Decodes one encoding incrementally and within a limit.

    Args:
        limit_bytes: Limit on the decoded size.
    """

    __slots__ = ("_left",)

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes

    @property
    @abstractmethod
    def is_cut(self) -> bool:
        """Whether compressed data has begun but not ended."""

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """Return the decoded form of some bytes."""

    def finish(self) -> bytes:
        """Return pending bytes that were too few to be compressed data."""
        return b""

    def _take(self, data: bytes) -> bytes:
        if len(data) > self._left:
            raise too_large()
        self._left -= len(data)
        return data


def _layer(word: str, limit_bytes: int) -> Layer:
    match word:
        case "br":
            return Brotli(limit_bytes)
        case "zstd":
            return Zstd(limit_bytes)
        case _:
            return Unpacker(limit_bytes, is_deflate="deflate" in word)


class Brotli(Layer):
    """Decodes Brotli, whose format has no magic bytes to recognise uncompressed data.

    The library may exceed the limit by its last block, which is at most three times as large as
    all output before it.
    """

    __slots__ = ("_inflate", "_is_begun")

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self._inflate = brotli.Decompressor()
        self._is_begun = False

    @property
    def is_cut(self) -> bool:
        """See `Layer`."""
        return self._is_begun and not self._inflate.is_finished()

    def feed(self, data: bytes) -> bytes:
        """See `Layer`; bytes after the stream are dropped."""
        if not data or self._inflate.is_finished():
            return b""
        self._is_begun = True
        out: bytes | None = None
        with suppress(brotli.error):
            out = self._inflate.process(data, output_buffer_limit=self._left + 1)
        if out is None:  # Outside the handler, so that the library's error is not the context.
            raise unreadable()
        return self._take(out)


class _Parts(Layer):
    """Decodes consecutive compressed parts; passes on a body without any of them unchanged."""

    __slots__ = ("_inflate", "_parts", "_pending", "_plain")
    head_bytes: ClassVar[int]
    """Number of bytes that show the format."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self._inflate: Any = None
        self._pending = b""
        """First bytes that are too few to detect the format."""
        self._parts = 0
        self._plain = False

    @property
    def is_cut(self) -> bool:
        """Whether a part has begun but not ended."""
        return self._inflate is not None

    def feed(self, data: bytes) -> bytes:
        """See `Layer`."""
        out = bytearray()
        while data:
            if self._inflate is None and not self._begin(data := self._pending + data):
                # Bytes after a compressed part are dropped.
                out += self._take(data) if self._plain and not self._parts else b""
                break
            data = self._part(out, data)
        return bytes(out)

    def finish(self) -> bytes:
        """See `Layer`."""
        return b"" if self._parts else self._take(self._pending)

    def _begin(self, data: bytes) -> bool:
        """Start a compressed part if one begins here; return whether it does.

        Bytes that are too few to decide stay pending.
        """
        self._pending = b""
        if self._plain:
            return False
        if len(data) < self.head_bytes:
            self._pending = data
            return False
        if (inflate := self._start(data)) is None:
            self._plain = True
            return False
        if self._parts >= PARTS_MAX:
            raise too_large()
        self._inflate = inflate
        return True

    def _end(self) -> bytes:
        """End the current part; return the bytes after it."""
        data: bytes = self._inflate.unused_data
        self._inflate = None
        self._parts += 1
        return data

    @abstractmethod
    def _start(self, data: bytes) -> object | None:
        """Return a decompressor for the part that begins here; ``None``: no compression."""

    @abstractmethod
    def _part(self, out: bytearray, data: bytes) -> bytes:
        """Decompress bytes of the current part; return the bytes after it."""


class Zstd(_Parts):
    """Decodes Zstandard: any number of consecutive frames."""

    __slots__ = ()
    head_bytes = 4

    def _start(self, data: bytes) -> object | None:
        if _ZSTD.match(data) is None:
            return None
        return zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)

    def _part(self, out: bytearray, data: bytes) -> bytes:
        made: bytes | None = None
        with suppress(zstd.ZstdError):
            made = self._inflate.decompress(data, self._left + 1)
        if made is None:
            raise unreadable()
        out += self._take(made)
        return self._end() if self._inflate.eof else b""


class Unpacker(_Parts):
    """Decompresses one layer of gzip or deflate.

    Args:
        limit_bytes: Limit on the decompressed size.
        is_deflate: Whether the data may be deflate, with or without zlib's header.
    """

    __slots__ = ("_is_deflate",)
    head_bytes = len(_GZIP)

    def __init__(self, limit_bytes: int, *, is_deflate: bool) -> None:
        super().__init__(limit_bytes)
        self._is_deflate = is_deflate

    def _start(self, data: bytes) -> object | None:
        window = self._window_bits(data)
        return None if window is None else zlib.decompressobj(window)

    def _part(self, out: bytearray, data: bytes) -> bytes:
        try:
            # One byte over the limit shows that it is exceeded; the rest of a decompression bomb
            # stays compressed.
            out += self._take(self._inflate.decompress(data, self._left + 1))
        except zlib.error:
            if self._parts == 0:
                raise
            self._inflate, self._plain = None, True  # Bytes after a complete part are dropped.
            return b""
        return self._end() if self._inflate.eof else bytes(self._inflate.unconsumed_tail)

    def _window_bits(self, data: bytes) -> int | None:
        """Return zlib's window bits for the format that begins here; ``None``: no compression."""
        if data.startswith(_GZIP):
            return zlib.MAX_WBITS | 16
        if self._parts or not self._is_deflate:
            return None
        framed = data[0] & 0x0F == _ZLIB_METHOD
        framed = framed and int.from_bytes(data[:2], "big") % _ZLIB_CHECK == 0
        return zlib.MAX_WBITS if framed else -zlib.MAX_WBITS

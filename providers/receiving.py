"""Reading one answer off a connection without believing it: caps, encodings, cookies."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import httptools

from providers.contract import Cookie, ProviderBrokenError, Reply
from providers.cookies import parse_set_cookie

FIRST_FINAL_STATUS = 200
INFORMATIONAL = frozenset(range(100, 200)) - {101}
"""Hints before the answer. 101 is none: it would change the language."""
ZLIB_METHOD = 8
"""Low half of the first byte of zlib's frame (RFC 1950)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may weigh in either direction, in bytes unless said otherwise."""

    header_line_bytes: int = 16_384
    headers_count: int = 100
    headers_bytes: int = 65_536
    wire_bytes: int = 2 * 1024 * 1024
    """The body as it travels; with chunks it may come with as much again around them."""
    body_bytes: int = 2 * 1024 * 1024
    """The body decoded: 261 kB of gzip once became 256 MiB (FACTS 22)."""
    request_bytes: int = 262_144


class Answer:
    """The listener that makes a `Reply` of what a provider says, within the limits.

    llhttp (through httptools) parses as the bytes arrive and calls the ``on_`` methods. It
    is strict but for habits of old servers that cannot mislead here, where one answer is all a
    connection carries: lines without CR, spaces behind a chunk's size, and header values that
    are folded or hold control characters. The code is used by now: what can be read is read.

    Args:
        path: The request's, for cookies that name none.
        limits: What it may weigh.
        ends_with_head: Whether the answer has no body whatever it says: to HEAD.
        refusal: The status whose body does not matter (407 of a proxy), if there is one.
    """

    __slots__ = (
        "_all_bytes", "_cookies", "_decoder", "_ends_with_head", "_error", "_framed", "_head_bytes",
        "_head_count", "_headers", "_limits", "_parser", "_path", "_raw", "_refusal", "_reply",
        "_status", "_unnoticed_bytes", "_wire_bytes", "is_begun",
    )  # fmt: skip

    def __init__(
        self, *, path: str, limits: Limits, ends_with_head: bool, refusal: int | None = None
    ) -> None:
        self.is_begun = False
        """Whether the head of the final answer was read."""
        self._path = path
        self._limits = limits
        self._ends_with_head = ends_with_head
        self._refusal = refusal
        self._reply: Reply | None = None
        self._error: BaseException | None = None
        self._raw: list[tuple[bytes, bytes]] = []
        self._status = 0
        self._headers: dict[str, str] = {}
        self._cookies: list[Cookie] = []
        self._head_bytes = 0
        self._head_count = 0
        self._unnoticed_bytes = 0
        self._all_bytes = 0
        self._wire_bytes = 0
        self._framed = True
        self._decoder: Decoder | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )

    @property
    def is_over(self) -> bool:
        """Whether there is a reply or a reason why there is none."""
        return self._parser is None

    def feed(self, data: bytes) -> bool:
        """Parse some bytes.

        The parser keeps a header until its line ends and calls nobody for a long chunk
        extension: what it takes in without a call is counted, and everything in all.
        """
        if self._parser is None:
            return True
        self._unnoticed_bytes += len(data)
        self._all_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as caught:
            self._fail(caught.__context__ or caught)  # Ours, raised in a method below.
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as caught:
            self._fail(caught)
        most = 2 * (self._limits.headers_bytes + self._limits.wire_bytes)
        if self._unnoticed_bytes > self._limits.headers_bytes or self._all_bytes > most:
            self._fail(_too_large())
        return self.is_over

    def end(self, error: Exception | None) -> None:
        """Take the end of the connection, which is the end of a body without a length."""
        if self.is_over:
            return
        if self._decoder is None or self._framed or error is not None:
            self._fail(error or ConnectionResetError())
            return
        try:
            self._finish(self._decoder.finish())
        except ProviderBrokenError as caught:
            self._fail(caught)

    def result(self) -> Reply:
        """Return the reply.

        Raises:
            ProviderBrokenError: It is too large, in an encoding we did not learn, or no
                final answer at all.
            Exception: The parser's or the decoder's own error, or the connection's.
        """
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # Its traceback leads here: no circle.
        assert self._reply is not None
        return self._reply

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, also of a hint before the answer and of a trailer behind it."""
        self._unnoticed_bytes = 0
        size = len(name) + len(value)
        self._head_count += 1
        self._head_bytes += size
        if (
            size > self._limits.header_line_bytes
            or self._head_bytes > self._limits.headers_bytes
            or self._head_count > self._limits.headers_count
        ):
            raise _too_large()
        self._raw.append((name, value))  # A trailer's is never read.

    def on_headers_complete(self) -> None:
        """Read the head of an answer; hints (1xx) are passed over."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status in INFORMATIONAL:
            self._raw.clear()
            return
        self.is_begun = True
        if status < FIRST_FINAL_STATUS:
            raise _unreadable()
        self._status = status
        self._read_head()
        if self._ends_with_head or status == self._refusal:
            self._finish(b"")
            return
        encoding = self._headers.get("content-encoding", "")
        self._decoder = Decoder(encoding, self._limits.body_bytes)

    def on_body(self, data: bytes) -> None:
        """Undo the encoding of some of the body."""
        if self._decoder is None:
            return
        self._unnoticed_bytes = 0
        self._wire_bytes += len(data)
        if self._wire_bytes > self._limits.wire_bytes:
            raise _too_large()
        self._decoder.feed(data)

    def on_message_complete(self) -> None:
        """Finish the reply, unless it was only a hint."""
        if self._decoder is not None:
            self._finish(self._decoder.finish())

    def _read_head(self) -> None:
        headers = self._headers
        for raw_name, raw_value in self._raw:
            name = raw_name.decode("latin-1").lower()
            value = raw_value.decode("utf-8", "replace").strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
            if name == "set-cookie" and (cookie := parse_set_cookie(value, path=self._path)):
                self._cookies.append(cookie)
        # Any coding that ends in "chunked" has its own end. Where the parser sees none and
        # this does, a whole body counts as cut short, never the other way round.
        chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        self._framed = chunked or "content-length" in headers

    def _finish(self, body: bytes) -> None:
        self._reply = Reply(
            status=self._status, headers=self._headers, cookies=tuple(self._cookies), body=body
        )
        self._over()

    def _fail(self, error: BaseException) -> None:
        """Give up, unless the answer was whole: what follows it is nobody's."""
        if not self.is_over:
            self._error = error
            self._over()

    def _over(self) -> None:
        self._parser = None  # It holds this object, and nobody should wait for the collector.
        self._decoder = None


def _unreadable() -> ProviderBrokenError:
    return ProviderBrokenError("The provider's answer is cut short or unreadable.")


def _too_large() -> ProviderBrokenError:
    return ProviderBrokenError("The provider's answer is too large.")


class Decoder:
    """Undoes one content encoding, never producing more than its limit.

    Args:
        encoding: The ``Content-Encoding``; gzip and deflate are known.
        limit_bytes: Cap on what comes out.
    """

    def __init__(self, encoding: str, limit_bytes: int) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise _unreadable()
        self._plain = self._encoding in {"", "identity"}
        self._left = limit_bytes
        self._inflate: zlib._Decompress | None = None
        self._out = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take in some bytes of the body."""
        if self._plain:
            self._keep(chunk)
            return
        while chunk:
            if self._inflate is not None and self._inflate.eof:
                # What follows the end is padding, and the answer was complete. Zlib would copy
                # all of the padding for each piece of it.
                return
            if self._inflate is None:
                self._inflate = zlib.decompressobj(self._window_bits(chunk))
            # One byte more than allowed is enough to know; the rest of a bomb stays packed.
            self._keep(self._inflate.decompress(chunk, self._left + 1))
            chunk = self._inflate.unconsumed_tail

    def finish(self) -> bytes:
        """Return the whole body."""
        if self._inflate is not None and not self._inflate.eof:
            raise _unreadable()
        return bytes(self._out)

    def _keep(self, data: bytes) -> None:
        if len(data) > self._left:
            raise _too_large()
        self._left -= len(data)
        self._out += data

    def _window_bits(self, first: bytes) -> int:
        """Return zlib's word for the format; "deflate" comes with and without its frame."""
        if self._encoding != "deflate":
            return zlib.MAX_WBITS | 16
        is_framed = first[0] & 0x0F == ZLIB_METHOD
        return zlib.MAX_WBITS if is_framed else -zlib.MAX_WBITS

"""TLS contexts of the product: as strict as the standard library's, and without a key log."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from checkpoint_worker.providers.contract import CodeRequest
from checkpoint_worker.providers.http import exchange as transport
from checkpoint_worker.providers.http import tls
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.app import make_app
from tests.support.exchanges import exchange, in_loop
from tests.support.hostile import answer, answering, make_certificates, serving

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Make the shared context anew, in this test's environment, and once more after it."""
    transport.default_tls.cache_clear()
    yield
    transport.default_tls.cache_clear()


@pytest.mark.parametrize("name", ["keys", "missing/keys"])
@in_loop
async def test_an_exchange_writes_no_key_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The keys of an exchange open its recorded traffic, and with it the code.

    A path that cannot be written once failed every code of a worker that was ready.
    """
    log = tmp_path / name
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)  # The helper's own contexts would heed it.
    certificates = make_certificates(tmp_path)
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    transport.default_tls.cache_clear()  # Each loop has a certificate of its own.
    async with serving(answering(answer(b"ok")), certificates.server) as server:
        url = f"https://localhost:{server.port}/"
        request = CodeRequest(method="POST", url=url, body=lambda code: code.encode())
        reply = await exchange().send_code(request)
    assert reply.body == b"ok"
    assert not log.exists()


@pytest.mark.parametrize("make", [tls.client_context, tls.server_context])
def test_no_context_opens_a_key_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], ssl.SSLContext]
) -> None:
    """The server's is that of the simulated providers, which see codes too."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert make().keylog_filename is None
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    ("make", "purpose"),
    [
        (tls.client_context, ssl.Purpose.SERVER_AUTH),
        (tls.server_context, ssl.Purpose.CLIENT_AUTH),
    ],
)
def test_a_context_is_as_strict_as_that_of_the_standard_library(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], ssl.SSLContext], purpose: ssl.Purpose
) -> None:
    """A later Python that asks for more is noticed here."""
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    ours, usual = make(), ssl.create_default_context(purpose)
    for name in ("protocol", "options", "verify_mode", "verify_flags", "check_hostname"):
        assert getattr(ours, name) == getattr(usual, name), name
    assert ours.minimum_version == usual.minimum_version
    assert ours.get_ciphers() == usual.get_ciphers()
    assert ours.cert_store_stats() == usual.cert_store_stats()


def test_no_other_module_makes_a_context_that_may_log_keys() -> None:
    """`ssl.create_default_context` reads ``SSLKEYLOGFILE``: `providers.http.tls` replaces it."""
    calls = re.compile(r"ssl\.(?:create_default_context|_create_stdlib_context)\(")
    modules = [
        path for top in ("providers", "tasks", "worker") for path in ROOT.glob(f"{top}/**/*.py")
    ]
    found = {path.relative_to(ROOT) for path in modules if calls.search(path.read_text("utf-8"))}
    assert found == set()


def test_a_worker_that_can_have_no_tls_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would be ready, and fail at each code."""

    def fail() -> ssl.SSLContext:
        raise ssl.SSLError(1, "[CONF] a module of openssl.cnf is missing")

    monkeypatch.setattr(transport, "client_context", fail)
    settings = Settings(secret_keys=(make_key(),))  # type: ignore[arg-type]
    with pytest.raises(click.ClickException, match=r"no TLS .*openssl\.cnf is missing"):
        make_app(settings)

"""The sandbox over TLS: who trusts its authority gets through, everybody else sends nothing."""

from __future__ import annotations

import asyncio
import ssl
import stat
import urllib.error
from pathlib import Path

import pytest

from checkpoint_worker.providers.contract import (
    Cleared,
    NetworkDownError,
    ProviderFailure,
    Rejected,
)
from checkpoint_worker.providers.linkedin.adapter import LinkedIn, LinkedInContext
from checkpoint_worker.providers.sandbox import Sandbox, SandboxClient, background
from checkpoint_worker.providers.sandbox.accounts import Account
from checkpoint_worker.providers.sandbox.certificate import make_tls
from tests.support.canned_server import attempt


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Return a client's context that trusts this authority, checked as Python 3.13 does."""
    assert ca_file is not None
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


async def solve(
    sandbox: Sandbox, account: Account, code: str, tls: ssl.SSLContext | None = None
) -> object:
    """Log in as far as the checkpoint and verify a code there."""
    context = LinkedInContext.model_validate(sandbox.begin_login(account).context)
    return await attempt(LinkedIn(), sandbox.urls["LINKEDIN"], context, code, tls=tls)


async def test_an_adapter_clears_a_checkpoint_over_tls() -> None:
    """The same simulator, behind what a real provider has."""
    async with Sandbox(tls=True) as sandbox:
        addresses = [sandbox.page_url, *sandbox.urls.values()]
        assert all(each.startswith("https://127.0.0.1:") for each in addresses)
        tls = trusting(sandbox.ca_file)
        account = sandbox.add_account("LINKEDIN", source="APP")
        assert isinstance(await solve(sandbox, account, account.wrong_code(), tls), Rejected)
        assert isinstance(await solve(sandbox, account, account.current_code(), tls), Cleared)
        assert len(sandbox.sends) == 2


async def test_without_trust_in_its_authority_nothing_is_sent() -> None:
    """Another sandbox's authority is of no use either: each run makes its own."""
    async with Sandbox(tls=True) as sandbox, Sandbox(tls=True) as other:
        account = sandbox.add_account("LINKEDIN", source="APP")
        for tls in (None, trusting(other.ca_file)):
            with pytest.raises(NetworkDownError):
                await solve(sandbox, account, account.current_code(), tls)
        assert sandbox.sends == []
        assert sandbox.connection_logs["LINKEDIN"].connections == 0


async def test_faults_of_the_line_work_through_tls() -> None:
    """They reach below HTTP: cutting and dripping act on the encrypted connection."""
    async with Sandbox(tls=True) as sandbox:
        tls = trusting(sandbox.ca_file)
        account = sandbox.add_account("LINKEDIN", source="APP")
        sandbox.set_faults(account, drip=0.0001)
        assert isinstance(await solve(sandbox, account, account.wrong_code(), tls), Rejected)
        sandbox.set_faults(account, reset=True)
        with pytest.raises(ProviderFailure):
            await solve(sandbox, account, account.wrong_code(), tls)
        await asyncio.wait_for(sandbox.connection_logs["LINKEDIN"].deserted(), 10)


@pytest.mark.timeout(20)
async def test_it_stops_while_a_client_keeps_it_waiting_for_the_handshake() -> None:
    """A client that connects and says nothing does not hold it up."""
    async with Sandbox(tls=True) as sandbox:
        port = int(sandbox.urls["LINKEDIN"].rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()


async def test_key_material_is_private_and_leaves_with_the_sandbox() -> None:
    """What stays on disk while it runs is what everybody may read: the authority."""
    async with Sandbox(tls=True) as sandbox:
        ca_file = sandbox.ca_file
        assert ca_file is not None
        assert stat.S_IMODE(ca_file.parent.stat().st_mode) == 0o700
        assert list(ca_file.parent.iterdir()) == [ca_file]
        assert b"PRIVATE KEY" not in ca_file.read_bytes()
    assert sandbox.ca_file is None
    assert not ca_file.parent.exists()


def test_a_key_is_never_written_over_another_file(tmp_path: Path) -> None:
    """A file that is there may be readable for others, or a link to elsewhere."""
    (tmp_path / "server.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        make_tls(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


async def test_a_taken_port_leaves_no_directory_behind() -> None:
    """A start that failed cleans up like a stop."""
    async with Sandbox() as first:
        port = int(first.page_url.rpartition(":")[2])
        second = Sandbox(port=port, tls=True)
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
    assert second.ca_file is None
    assert second._directory is not None
    assert not Path(second._directory.name).exists()  # noqa: ASYNC240  nothing else runs here


def test_the_client_speaks_to_it_with_its_authority() -> None:
    """Page and control API are behind TLS too; ``localhost`` is a name of it."""
    with background(tls=True) as client:
        assert client.ca_file is not None
        account = client.add_account("LINKEDIN")["id"]
        assert client.begin_login(account)["context"]
        by_name = client.page_url.replace("127.0.0.1", "localhost")
        assert SandboxClient(by_name, client.ca_file).account(account)["id"] == account
        with pytest.raises(urllib.error.URLError) as caught:
            SandboxClient(client.page_url).state()
        assert isinstance(caught.value.reason, ssl.SSLCertVerificationError)

"""The sandbox under the real names of the providers' hosts: a proxy, and TLS by server name."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from typing import Any

import pytest

from checkpoint_worker.providers.sandbox import Sandbox, SandboxError, background, client_hint
from checkpoint_worker.providers.sandbox.accounts import NO_SECOND_FACTOR, Source
from checkpoint_worker.providers.sandbox.certificate import make_tls
from checkpoint_worker.providers.sandbox.messenger_app import Apps, signature

HOSTS = {
    "www.linkedin.com": "LINKEDIN",
    "i.instagram.com": "INSTAGRAM",
    "b.i.instagram.com": "INSTAGRAM",
    "www.instagram.com": "INSTAGRAM",
    "api.x.com": "TWITTER",
    "x.com": "TWITTER",
    "abs.twimg.com": "TWITTER",
    "b-graph.facebook.com": "MESSENGER",
    "m.facebook.com": "MESSENGER",
}


def trusting(sandbox: Sandbox) -> ssl.SSLContext:
    """Return a client's context, checked as Python 3.13 does."""
    context = ssl.create_default_context(cafile=sandbox.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def port_of(sandbox: Sandbox) -> int:
    """Return the port of the real names."""
    return int(sandbox.proxy_url.rpartition(":")[2])


async def ask(sandbox: Sandbox, host: str, *, through_proxy: bool) -> bytes:
    """Ask a host for its start page: through the proxy, or at the port as its address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(sandbox))
    if through_proxy:
        writer.write(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    await writer.start_tls(trusting(sandbox), server_hostname=host)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.timeout(30)
@pytest.mark.parametrize("through_proxy", [True, False])
async def test_each_host_leads_to_its_provider_under_a_certificate_for_it(
    *, through_proxy: bool
) -> None:
    """By either way; connections are counted where they end."""
    async with Sandbox(as_provider=True) as sandbox:
        for host, provider in HOSTS.items():
            before = sandbox.connection_logs[provider].connections
            assert (await ask(sandbox, host, through_proxy=through_proxy)).startswith(b"HTTP/1.")
            assert sandbox.connection_logs[provider].connections == before + 1


@pytest.mark.timeout(30)
async def test_no_other_host_is_reached() -> None:
    """A client that means the real world is told so, and nothing leaves this machine."""
    async with Sandbox(as_provider=True) as sandbox:
        for target in ("example.com:443", "notlinkedin.com:443", "127.0.0.1:22", "nonsense"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(sandbox))
            writer.write(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
            writer.close()
        for said in (
            b"GET http://www.linkedin.com/ HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x00\x01x",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(sandbox))
            writer.write(said)
            writer.write_eof()
            assert not (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await ask(sandbox, "example.com", through_proxy=False)
        assert all(each.connections == 0 for each in sandbox.connection_logs.values())


@pytest.mark.timeout(30)
async def test_it_stops_while_clients_are_connected() -> None:
    """One that has said nothing, and one in a tunnel."""
    async with Sandbox(as_provider=True) as sandbox:
        _, silent = await asyncio.open_connection("127.0.0.1", port_of(sandbox))
        reader, tunnel = await asyncio.open_connection("127.0.0.1", port_of(sandbox))
        tunnel.write(b"CONNECT x.com:443 HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    assert sandbox.ca_file is None
    silent.close()
    tunnel.close()


@pytest.mark.timeout(30)
async def test_cookies_have_the_domain_that_the_client_asked() -> None:
    """Clients look them up by it; under a loopback address there is none to give."""
    async with Sandbox(as_provider=True) as sandbox:
        for host, domain in {
            "www.instagram.com": "instagram",
            "m.facebook.com": "facebook",
        }.items():
            answer = await ask(sandbox, host, through_proxy=True)
            cookies = [line for line in answer.splitlines() if line.startswith(b"Set-Cookie")]
            assert cookies
            assert all(f"; Domain=.{domain}.com; ".encode() in each for each in cookies)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=trusting(sandbox)),
        )
        reply = await asyncio.to_thread(opener.open, sandbox.urls["INSTAGRAM"], None, 10)
        with reply:
            assert "Domain" not in str(reply.headers)


def test_without_it_the_certificate_names_this_machine_alone(tmp_path: Any) -> None:
    """A client that trusts a plain sandbox trusts nothing under a provider's name."""
    make_tls(tmp_path)
    assert not Sandbox(tls=True)._as_provider
    assert client_hint({"page": "x", "ca_file": "y"}) == ""


@pytest.mark.parametrize("source", ["EMAIL", "APP"])
def test_an_account_without_a_second_factor_has_no_checkpoint(source: Source) -> None:
    """At every provider; there is no login to open an intent for."""
    with background() as client:
        assert client.state()["kinds_everywhere"] == [NO_SECOND_FACTOR]
        for provider, about in client.state()["providers"].items():
            if source in about["sources"]:
                account = client.add_account(provider, source=source, kind=NO_SECOND_FACTOR)
                with pytest.raises(SandboxError, match="no second factor"):
                    client.begin_login(account["id"])


def test_an_apps_secret_signs_where_it_is_told() -> None:
    """Without it the token is the secret; the app of the sandbox has its own token alone."""
    form = {"access_token": "7|token", "api_key": "7", "sig": "", "a": "1"}
    by_token = {**form, "sig": signature(form, "token")}
    by_secret = {**form, "sig": signature(form, "secret")}
    assert Apps({}).knows(form)
    assert Apps({}).is_signed(by_token)
    assert not Apps({}).is_signed(by_secret)
    assert Apps({"7": "secret"}).is_signed(by_secret)
    assert not Apps({}).knows({**form, "api_key": "8"})
    assert not Apps({}).knows({"access_token": "7"})


def test_a_second_try_with_the_same_flow_token_is_refused() -> None:
    """Each answer brings the next token; clients that keep the last one get error 366."""
    with background() as client:
        account = client.add_account("TWITTER", source="APP")
        context = client.begin_login(account["id"])["context"]
        statuses = []
        for _ in range(2):
            entered = {"text": client.wrong_code(account["id"]), "link": "next_link"}
            inputs = [{"subtask_id": context["subtask_id"], "enter_text": entered}]
            body = {"flow_token": context["flow_token"], "subtask_inputs": inputs}
            request = urllib.request.Request(  # noqa: S310  the sandbox's own address
                client.urls()["TWITTER"] + "/1.1/onboarding/task.json",
                data=json.dumps(body).encode(),
                headers={"Authorization": "Bearer x", "x-guest-token": context["guest_token"]},
            )
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with pytest.raises(urllib.error.HTTPError) as caught:
                opener.open(request, timeout=10)
            with caught.value as error:
                statuses.append(json.load(error)["errors"][0]["code"])
        assert statuses == [399, 366]
        assert len(client.sends(account["id"])) == 2

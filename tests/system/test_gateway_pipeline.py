"""Every outcome of the contract comes out of the gateway: HTTP, Redis, a worker, HTTP."""

from collections.abc import Iterator

import pytest

from checkpoint_worker.tasks.catalogue import PAIRS, error_body
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import Deployment
from tests.support.gateways import GatewayProcess, over_http
from tests.support.outcome_cases import (
    CRASHING,
    CRASHING_SOURCE,
    ENABLED,
    ERRORS,
    SUCCESSES,
    Row,
)
from tests.support.plugins import installed


@pytest.fixture(scope="module")
def shared_deployment(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A worker with a crashing plug-in, without one provider, and a gateway before it."""
    folders = [tmp_path_factory.mktemp(name) for name in ("plug-in", "logs")]
    entry_points = f"[checkpoint.providers]\n{CRASHING} = crashing:Crashing\n"
    with (
        installed(folders[0], "crashing", CRASHING_SOURCE, entry_points),
        Deployment(
            redis_server.url,
            "gateway-pipeline",
            folders[1],
            providers=ENABLED,
            messenger_url="http://127.0.0.1:1",
        ) as deployment,
        GatewayProcess(deployment) as gateway,
        over_http(deployment, gateway),
    ):
        worker = deployment.worker()
        yield deployment
        assert worker.terminate() == 0, worker.log[-4000:]
        assert gateway.terminate() == 0, gateway.log[-4000:]
        assert "canary-password" not in gateway.log


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: f"{row.status} {row.word}")
def test_every_error_comes_out(deployment: Deployment, row: Row) -> None:
    """Status, content type and body; byte for byte those of the record where there is one."""
    told = row.play(deployment)
    assert (told.status, told.body["type"]) == (row.status, f"errors/{row.word}")
    instance, detail = str(told.body["instance"]), str(told.body["detail"])
    assert told.body == error_body(PAIRS[row.status, row.word], instance, detail)


@pytest.mark.parametrize("row", SUCCESSES, ids=lambda row: f"{row.status} {row.word}")
def test_every_success_comes_out(deployment: Deployment, row: Row) -> None:
    """And a success was sent."""
    told = row.play(deployment)
    assert (told.status, told.body["object"], told.code_sent) == (row.status, row.word, True)

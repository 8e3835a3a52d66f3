"""Every outcome of the contract comes out of the gateway: HTTP, Redis, a worker, HTTP."""

from collections.abc import Iterator

import pytest

from checkpoint_worker.tasks.catalogue import PAIRS, error_body
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.behaviour.arising import (
    CRASHING,
    CRASHING_SOURCE,
    ENABLED,
    ERRORS,
    SUCCESSES,
    Row,
    closed_port,
)
from tests.behaviour.gateways import GatewayProcess, over_http
from tests.behaviour.plugins import installed
from tests.behaviour.stage import Stage


@pytest.fixture(scope="module")
def theatre(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A worker with a crashing plug-in, without one provider, and a gateway before it."""
    folders = [tmp_path_factory.mktemp(name) for name in ("plug-in", "logs")]
    entry_points = f"[checkpoint.providers]\n{CRASHING} = crashing:Crashing\n"
    with (
        installed(folders[0], "crashing", CRASHING_SOURCE, entry_points),
        Stage(
            redis_server.url,
            "gateway-pipeline",
            folders[1],
            providers=ENABLED,
            messenger_url=f"http://127.0.0.1:{closed_port()}",
        ) as stage,
        GatewayProcess(stage) as gateway,
        over_http(stage, gateway),
    ):
        worker = stage.worker()
        yield stage
        assert worker.terminate() == 0, worker.log[-4000:]
        assert gateway.terminate() == 0, gateway.log[-4000:]
        assert "canary-password" not in gateway.log


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: f"{row.status} {row.word}")
def test_every_error_comes_out(stage: Stage, row: Row) -> None:
    """Status, content type and body; byte for byte those of the record where there is one."""
    told = row.play(stage)
    assert (told.status, told.body["type"]) == (row.status, f"errors/{row.word}")
    instance, detail = str(told.body["instance"]), str(told.body["detail"])
    assert told.body == error_body(PAIRS[row.status, row.word], instance, detail)


@pytest.mark.parametrize("row", SUCCESSES, ids=lambda row: f"{row.status} {row.word}")
def test_every_success_comes_out(stage: Stage, row: Row) -> None:
    """And a success was sent."""
    told = row.play(stage)
    assert (told.status, told.body["object"], told.code_sent) == (row.status, row.word, True)

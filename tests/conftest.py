"""What every test may ask for."""

from collections.abc import Iterator

import pytest
import redis

from tests import servers
from worker.embedded import EmbeddedRedis, EmbeddedRedisError


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """Run a real Redis for the whole session.

    Imitations don't count: races, expiry and restarts are what the tests are about. Where there is
    no server the tests fail rather than be skipped.
    """
    server = EmbeddedRedis(settings=servers.settings())
    try:
        server.start()
    except EmbeddedRedisError as error:
        pytest.fail(str(error), pytrace=False)
    with server:
        if server.kind == "fakeredis":
            pytest.fail(
                "the tests need a real server: put redis-server 6.2 or newer, or valkey-server, on "
                "PATH",
                pytrace=False,
            )
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """Return the address of an empty Redis; what a failed test left stays until the next one."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url

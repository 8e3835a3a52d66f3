"""What the tests of the ledger may ask for."""

from collections.abc import Iterator

import pytest

from tests.store.desk import RESULTS, Desk, Subscriber


@pytest.fixture
def desk(redis_url: str) -> Iterator[Desk]:
    """Return a desk at an empty Redis."""
    made = Desk.at(redis_url)
    yield made
    made.redis.close()


@pytest.fixture
def results(desk: Desk) -> Iterator[Subscriber]:
    """Return an ear on the channel of final records."""
    made = Subscriber(desk.redis, RESULTS)
    yield made
    made.close()

"""What every test may ask for, and what the machine has to grant."""

import contextlib
import gc
import os
import random
import resource
import signal
from collections.abc import Generator, Iterator

import hypothesis
import pytest
import redis

from checkpoint_worker.worker.local.embedded_redis import (
    EmbeddedRedis,
    EmbeddedRedisError,
    find_program,
)
from tests.support import servers
from tests.support.command_line import env
from tests.support.fixtures import (
    deployment,
    ledger,
    new_deployment,
    results,
    sandbox,
    shared_deployment,
)

__all__ = [
    "deployment", "env", "ledger", "new_deployment", "results", "sandbox", "shared_deployment",
]  # fmt: skip

# How long an example takes, and making it, is the machine's business.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

NO_SERVER = "the tests need a real server: put redis-server 6.2 or newer, or valkey-server, on PATH"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the order of the tests, and how closely to look for what they leave open."""
    parser.addoption("--seed", type=int, help="put the tests in a random order, this one")
    parser.addoption(
        "--leaks", action="store_true", help="collect garbage after each test, to name what leaks"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--seed``, put the modules in random order, and the tests of each.

    A test that needs what another one left passes in the order of the files for ever. Modules
    stay together: many have a worker of their own. pytest's own hook comes after this one, and puts
    together what shares a fixture's parameter.
    """
    if config.option.seed is None:
        return
    chance = random.Random(config.option.seed)
    order: dict[str, float] = {}
    for item in items:
        order.setdefault(item.location[0], chance.random())
    keys = [(order[item.location[0]], chance.random()) for item in items]
    items[:] = [item for _, item in sorted(zip(keys, items, strict=True), key=lambda each: each[0])]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Say how many processes share the tests with ``-n auto``."""
    with contextlib.suppress(AttributeError):  # macOS has no sched_getaffinity.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pytest_sessionstart(session: pytest.Session) -> None:
    """Undo what the caller's shell left us, for us and for every process a test starts.

    Where there is no real server, the whole suite ends here with a sentence instead of hundreds of
    errors; what needs none can be asked for by its path.

    A script's ``… &`` leaves SIGINT and SIGQUIT ignored, and tests end programs by them. Some tests
    hold thousands of connections: the soft limit of open files rises to the hard one.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS grants less than it says.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    whole = session.config.args_source is not pytest.Config.ArgsSource.ARGS
    whole = whole or bool(session.config.getoption("cov_source", None))  # `make coverage`.
    if whole and find_program() is None:
        pytest.exit(NO_SERVER, returncode=1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without the garbage collector: it looks at thousands of them, which all stay.

    It took a seventh of the time, in each process.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Keep what thousands of collected tests are made of out of the collector's way.

    A test that looks for what it left behind calls ``gc.collect``, which took 0.2 s each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _leaks(pytestconfig: pytest.Config) -> Iterator[None]:
    """With ``--leaks``, let what a test left open be told in that very test.

    A socket or a coroutine that was left open is told when the collector comes by, and pytest
    fails the test that runs by then.
    """
    yield
    if pytestconfig.option.leaks:
        gc.collect()


@pytest.fixture(autouse=True, scope="module")
def _settled() -> Iterator[None]:
    """Let the collector pass once after each module, and never again over what is left.

    What a module left open is reported before the next one runs. What pytest keeps of thousands of
    tests would make each `gc.collect` of a later test take 0.2 s.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Return the one event loop that the product runs on."""
    return "asyncio"


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
            pytest.fail(NO_SERVER, pytrace=False)
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """Return the address of an empty Redis; what a failed test left stays until the next one."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url

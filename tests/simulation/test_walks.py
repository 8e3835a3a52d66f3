"""Random walks over the rules: every promise, after every step."""

from hypothesis import HealthCheck, settings

from tests.support.walks import Walk

TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=300,
    stateful_step_count=50,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

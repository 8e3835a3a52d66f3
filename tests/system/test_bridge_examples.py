"""The examples of the bridges, whole: library, intent, code through the gateway, library.

They run where ``CHECKPOINT_LIBRARIES`` names a folder for the libraries' environments; what can be
said of them without a library is said everywhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from checkpoint_worker.tasks.gateway import make_gateway
from tests.support.examples import example
from tests.support.fixtures import NewDeployment
from tests.support.gateways import KEY, served
from tests.support.library_cases import Case, Unavailable, drive

GLUE_MAX: Final = 15
"""Lines of an example that name what is ours; the others are the library's own."""
OURS: Final = ("bridge", "worker", "checkpoint", "account_id")

EXAMPLES: Final = {
    "bridges/login_instagrapi.py": ("instagrapi", "INSTAGRAM", "APP"),
    "bridges/login_linkedin_messaging.py": ("linkedin-messaging", "LINKEDIN", "EMAIL"),
    "bridges/login_tweety_ns.py": ("tweety-ns", "TWITTER", "APP"),
    "bridges/login_maufbapi.py": ("maufbapi", "MESSENGER", "APP"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_glue_is_short(name: str) -> None:
    """What a backend adds to its use of a library."""
    text = example(name)
    compile(text, name, "exec")
    lines = [line for line in text.splitlines()[1:] if not line.startswith("#")]
    assert len([line for line in lines if any(word in line for word in OURS)]) <= GLUE_MAX


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.timeout(600)
def test_a_login_begins_and_goes_on_in_its_library(
    name: str, new_deployment: NewDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong code is 401, the right one 201, and a new client is the person's."""
    folder = os.environ.get("CHECKPOINT_LIBRARIES")
    if not folder:
        pytest.skip("CHECKPOINT_LIBRARIES names no folder for the libraries' environments")
    library, provider, source = EXAMPLES[name]
    case = Case(library=library, provider=provider, source=source, way="handover")
    deployment = new_deployment(as_provider=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(deployment.sandbox.ca_file))
    deployment.worker()
    account = deployment.loops.do(deployment.sandbox.add_account, provider, source=source)
    where = Path(folder).resolve()
    try:
        intent = deployment.loops.run(drive(case, where, deployment.sandbox, account))
    except Unavailable as reason:
        pytest.skip(f"{library} did not run: {reason}")
    opened = {part: intent[part] for part in ("provider", "checkpoint", "context")}
    deployment.client.open_intent(account_id=account.id, **opened)
    settings = deployment.settings.model_copy(update={"api_keys": (SecretStr(KEY),)})
    named = {"account_id": account.id, "provider": provider}
    with served(make_gateway(settings)) as caller:
        wrong = caller.submit({**named, "code": deployment.loops.do(account.wrong_code)})
        assert wrong.status == 401, wrong.body
        right = caller.submit({**named, "code": deployment.loops.do(account.current_code)})
        assert right.status == 201, right.body
        taken = caller.call("POST", "/v1/sessions", named)
    assert taken.status == 200, taken.body
    session = taken.body.get("session", taken.body)
    went_on = deployment.loops.run(drive(case, where, deployment.sandbox, account, session))
    assert str(went_on["owner"]) == account.user_id

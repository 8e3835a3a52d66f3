"""The examples of the bridges, whole: library, intent, code through the gateway, library.

They run where ``CHECKPOINT_LIBRARIES`` names a folder for the libraries' environments; what can be
said of them without a library is said everywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from checkpoint_worker.providers.contract import Checkpoint
from checkpoint_worker.providers.twitter.protocol import TWO_FACTOR, OcfContext
from checkpoint_worker.tasks.gateway import make_gateway
from checkpoint_worker.tasks.operations.validation import read_context
from tests.support.code_requests import distinct
from tests.support.examples import example
from tests.support.fixtures import NewDeployment
from tests.support.gateways import KEY, served
from tests.support.library_cases import STATES, Case, Unavailable, drive

ROOT: Final = Path(__file__).parents[2]
COOKIES: Final = [{"name": "auth_token", "value": "made-up", "domain": ".x.com", "path": "/"}]
GLUE_MAX: Final = 15
"""Lines of an example that name what is ours; the others are the library's own."""
OURS: Final = ("bridge", "worker", "checkpoint", "account_id")

EXAMPLES: Final = {
    "bridges/login_instagrapi.py": ("instagrapi", "INSTAGRAM", "APP"),
    "bridges/login_linkedin_messaging.py": ("linkedin-messaging", "LINKEDIN", "EMAIL"),
    "bridges/login_linkedin_api.py": ("linkedin-api", "LINKEDIN", "EMAIL"),
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


NODE: Final = "bridges/twitter_scraper.mjs"
FLOW: Final = """
import { cookiesOf, intentOf, stopAtCode } from %(example)s;
const { answers, headers, session } = %(told)s;
const send = stopAtCode(async () =>
  new Response(JSON.stringify(answers.shift()), { headers: { "set-cookie": "att=2; Path=/" } }));
const found = [];
const task = "https://api.x.com/1.1/onboarding/task.json";
for (const address of ["https://x.com/i/flow/login", task, task, task, task]) {
  try {
    await send(address, { headers: new Headers(headers) });
    found.push(null);
  } catch ({ flow }) {
    found.push(intentOf(flow, { accountId: "acc_1", source: "APP" }));
  }
}
console.log(JSON.stringify({ found, cookies: cookiesOf(session) }));
"""
"""A client's requests: a page, the password, an address, the code."""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_flow_of_a_client_in_node_becomes_an_intent() -> None:
    """Its headers and cookies are those of its last request, its subtask that of the answer."""
    recorded = distinct(json.loads(STATES.read_text())["twikit handover APP"])
    answer = {name: value for name, value in recorded["answer"].items() if name != "guest_token"}
    address = {"subtask_id": "LoginAcid", "enter_text": {"hint_text": "Phone or email"}}
    answers = [{}, {"subtasks": [{"subtask_id": "LoginEnterPassword"}]}, {"subtasks": [address]},
               {}, answer]  # fmt: skip
    headers = {
        "authorization": "Bearer made-up", "cookie": "guest_id=v1; att=1", "x-guest-token": "471",
        "user-agent": "Agent/1", "accept-language": "en-US", "origin": "https://x.com",
    }  # fmt: skip
    told = {"answers": answers, "headers": headers, "session": {"cookies": COOKIES}}
    path = json.dumps((ROOT / "deploy/docs/examples" / NODE).as_uri())
    script = FLOW % {"example": path, "told": json.dumps(told)}
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = json.loads(done.stdout)
    *others, intent = said["found"]
    assert others == [None] * 4
    assert len(said["cookies"]) == len(COOKIES)
    checkpoint = Checkpoint(**intent["checkpoint"])
    held = read_context(intent["provider"], intent["context"], checkpoint=checkpoint)
    assert isinstance(held, OcfContext)
    assert (held.flow_token, held.subtask_id) == (answer["flow_token"], TWO_FACTOR)
    assert (held.bearer_token, held.guest_token, held.user_agent) == ("made-up", "471", "Agent/1")
    assert {each.name: each.value for each in held.cookies} == {"guest_id": "v1", "att": "2"}
    assert held.headers == {"accept-language": "en-US"}


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

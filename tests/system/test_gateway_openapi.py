"""The OpenAPI document: complete, valid, and what the gateway does with a live worker behind it."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from pydantic import Field

from checkpoint_worker.providers import LIVE_SESSION, adapters
from checkpoint_worker.providers.contract import Cookie
from checkpoint_worker.providers.live_session import new_session_secret
from checkpoint_worker.providers.sessions import Session, SessionCookie
from checkpoint_worker.tasks.catalogue import PAIRS, Success, error_body
from checkpoint_worker.tasks.gateway import make_gateway
from checkpoint_worker.tasks.gateway.http import TRANSPORT
from checkpoint_worker.tasks.gateway.openapi import SUBMISSION, make_openapi
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import make_key
from tests.support.deployment import Deployment
from tests.support.gateways import KEY, GatewayProcess

EXAMPLES = 40
"""For each of the nine addresses, beside those that walk the document systematically."""
DOCUMENT: dict[str, Any] = make_openapi(Settings(api_keys=KEY))  # type: ignore[arg-type]

CONFIG = schemathesis.Config.from_dict(
    {
        "seed": 1,
        "generation": {"deterministic": True, "max-examples": EXAMPLES},
        "checks": {
            # Data may fit the document and still be refused for what nobody can write there: a
            # code that does not fit the checkpoint, a context's values, an id of another account.
            "positive_data_acceptance": {
                "expected-statuses": ["2xx", "400", "401", "403", "404", "408", "409", "5xx"]
            },
            # These are outcomes of the provider, all in the document.
            "not_a_server_error": {"enabled": False},
        },
        "operations": [
            # Instead of it: `assert_only_the_context_is_odd`.
            {
                "include-name": "POST /v1/intents",
                "checks": {"negative_data_rejection": {"enabled": False}},
            }
        ],
    }
)
schema = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)


@pytest.fixture(scope="module")
def gateway(shared_deployment: Deployment) -> Iterator[GatewayProcess]:
    """One gateway for the module."""
    with GatewayProcess(shared_deployment) as process:
        yield process
        assert process.terminate() == 0, process.log[-4000:]
        assert "request.crashed" not in process.log


def assert_only_the_context_is_odd(body: Any) -> None:
    """Assert that a body that was accepted fits the document, but for its context.

    An adapter's model takes a number's text for the number; the document names the number.
    """
    usual = {**body, "context": {"route": LIVE_SESSION, "secret": new_session_secret()}}
    reference = f"#/components/schemas/{body['provider']}IntentRequest"
    Draft202012Validator({**DOCUMENT, "$ref": reference}).validate(usual)


turns = itertools.count()


@schema.parametrize()
@settings(suppress_health_check=list(HealthCheck))
def test_nothing_is_found_behind_the_document(
    case: schemathesis.Case, shared_deployment: Deployment, gateway: GatewayProcess
) -> None:
    """Whatever is sent: a status, type, header and body of the document, and no bug of ours.

    Every other submission that fits is made one for an open intent, so that it goes all the way.
    """
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if case.operation.label.startswith("POST /v1/accounts") and positive and next(turns) % 2:
        person = shared_deployment.person().open()
        case.body = {
            "account_id": person.id,
            "provider": person.provider,
            "code": person.right() if next(turns) % 3 else person.wrong(),
        }
        case.headers = {name: case.headers[name] for name in ("Prefer",) if name in case.headers}
    response = case.call_and_validate(base_url=gateway.address, headers={"X-API-KEY": KEY})
    if (case.operation.label, response.status_code) == ("POST /v1/intents", 201):
        assert_only_the_context_is_odd(case.body)
    if response.status_code == 500:
        assert response.json()["type"] != "errors/unexpected_error"


# The document -----------------------------------------------------------------------------


def test_it_is_served_as_it_is_made(gateway: GatewayProcess) -> None:
    """Without a key: it tells nothing that is not in the source."""
    answer = gateway.call("GET", "/openapi.json", headers={"X-API-KEY": ""})
    assert answer.status == 200
    served = answer.body
    assert served.pop("servers") == [{"url": "/"}]
    assert served == json.loads(json.dumps(DOCUMENT))


def test_every_session_has_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `take_session` hands over, by provider; and the shape of all others."""

    class MadeUpSession(Session):
        token: str = Field(description="Of the provider's own.")

    monkeypatch.setattr(type(adapters()["LINKEDIN"]), "session", MadeUpSession, raising=False)
    schemas = make_openapi(Settings())["components"]["schemas"]
    assert schemas["MadeUpSession"]["properties"]["token"]["description"]
    told = {each["$ref"] for each in schemas["Session"]["properties"]["session"]["anyOf"]}
    assert "#/components/schemas/MadeUpSession" in told
    assert "#/components/schemas/OtherSession" in told
    assert {"httpOnly", "sameSite", "expires"} <= set(schemas["SessionCookie"]["required"])
    cookie = {"name": "a", "value": "b"}
    cookies = [SessionCookie.of(Cookie.model_validate(cookie))]
    given = {"user_agent": "x", "device": {}, "app": {}, "headers": {}, "cookies": cookies}
    made = MadeUpSession(provider="LINKEDIN", user_id="7", token="t", **given)  # type: ignore[arg-type]
    reference = "#/components/schemas/MadeUpSession"
    document = {"components": {"schemas": schemas}, "$ref": reference}
    Draft202012Validator(document).validate(made.as_json())


def test_it_has_the_whole_catalogue_with_examples() -> None:
    """All 32 errors and 3 successes, in the words of the one table."""
    told = DOCUMENT["paths"]["/v1/accounts/checkpoint"]["post"]["responses"]
    examples = {
        (int(status), name): example["value"]
        for status, response in told.items()
        for name, example in response["content"]["application/json"]["examples"].items()
    }
    for key, pair in PAIRS.items():
        assert examples[key] == error_body(pair, SUBMISSION)
    assert {(success.status, success.object) for success in Success} <= set(examples)


def test_what_is_outside_the_catalogue_is_marked() -> None:
    """A client of the contract must be able to tell them apart."""
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            if method == "parameters":
                continue
            for status, response in operation["responses"].items():
                content = response.get("content", {}).get("application/json", {})
                named = set(content.get("examples", {}))
                outside = {pair.type for pair in TRANSPORT if pair.status == int(status)} & named
                marked = {f"errors/{word}" for word in outside}
                assert set(response.get("x-outside-catalogue", ())) == marked, (path, method)


def _examples() -> Iterator[tuple[Any, Any]]:
    for operations in DOCUMENT["paths"].values():
        for method, operation in operations.items():
            for response in operation["responses"].values() if method != "parameters" else ():
                for content in response.get("content", {}).values():
                    for example in content.get("examples", {}).values():
                        yield content["schema"], example["value"]


def test_its_examples_fit_its_schemas() -> None:
    """An example that would be refused teaches a mistake."""
    examples = list(_examples())
    assert len(examples) > len(PAIRS)
    for schema_, value in examples:
        Draft202012Validator({**DOCUMENT, **schema_}).validate(value)


def test_it_has_every_context_of_every_provider() -> None:
    """The login service writes its requests by it."""
    schemas = DOCUMENT["components"]["schemas"]
    for provider, adapter in adapters().items():
        context = schemas[f"{provider}IntentRequest"]["properties"]["context"]
        routes = {
            route
            for each in context["anyOf"]
            for route in schemas[each["$ref"].rpartition("/")[2]]["properties"]["route"]["enum"]
        }
        assert routes == {*adapter.contexts, LIVE_SESSION}


def test_the_application_gives_the_same_document() -> None:
    """A backend that mounts it may want to show it with its own."""
    app = make_gateway(Settings(api_keys=KEY, secret_keys=make_key()))  # type: ignore[arg-type]
    assert app.openapi() == DOCUMENT

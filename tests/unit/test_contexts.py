"""Every field of a context explains itself, and a context that does not fit is told why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from checkpoint_worker.providers.contract import CHECKPOINT_KEY, KEPT_KEY, Context, Cookie
from checkpoint_worker.providers.linkedin.adapter import LinkedInContext
from checkpoint_worker.tasks.gateway.models import make_schemas
from checkpoint_worker.tasks.operations.validation import CheckpointError, read_context
from tests.support.contexts import (
    CONTEXTS,
    PAGES,
    PROVIDERS,
    example,
    is_needed,
    page_of,
    schema_of,
    with_table,
)

CANARY: Final = "canary-471100815"
"""In every wrong value. Its digits are so many that no random request id holds them by chance."""
NOT_SENT: Final = ("not sent", "not read")
"""What the description of a field says that no client has to look for."""
WRONG: Final = {
    "string": [{CANARY: CANARY}, [CANARY], None, 471100815.5],
    "object": [CANARY, [CANARY], None, 471100815],
    "array": [CANARY, {CANARY: CANARY}, None, 471100815],
    "boolean": [CANARY, [CANARY], None, 471100815],
    "integer": [CANARY, [CANARY], None, 471100815],
    "": [CANARY, [CANARY], None, 471100815],
}
"""Values that are wrong for a field of each type; a field of given words has none."""

Place = tuple[str, str]


def refusal(provider: str, context: object) -> str:
    """Return why a context is refused; no value of it may be told."""
    with pytest.raises(CheckpointError) as caught:
        read_context(provider, context)
    assert caught.value.pair.key == (400, "invalid_parameters")
    detail = str(caught.value.body["detail"])
    assert "471100815" not in f"{caught.value} {caught.value.body}"
    return detail


def said_of(detail: str, field: str) -> str:
    """Return what a refusal says of a field, empty if it names the field alone."""
    start = detail.index(f"context.{field}") + len(f"context.{field}")
    return detail[start:].partition("; context.")[0].strip(" .")


def fields() -> Iterator[tuple[Place, type[Context], str]]:
    """Yield every field of every route but ``route`` itself."""
    for place, model in CONTEXTS.items():
        for name in model.model_fields:
            if name != "route":
                yield place, model, name


FIELDS: Final = list(fields())
IDS: Final = ["-".join((*place, name)) for place, _, name in FIELDS]
every_field = pytest.mark.parametrize(("place", "model", "name"), FIELDS, ids=IDS)
every_route = pytest.mark.parametrize("place", CONTEXTS, ids="-".join)


def whole(place: Place) -> dict[str, Any]:
    """Return a context of the examples, of this route."""
    return example(CONTEXTS[place]) | {"route": place[1]}


# What a field says of itself ------------------------------------------------------------


@every_route
def test_the_examples_of_a_route_are_a_context_that_fits(place: Place) -> None:
    """With everything that it can have, and with what it must have alone."""
    provider, route = place
    assert read_context(provider, whole(place)).as_json()["route"] == route
    CONTEXTS[place].model_validate(example(CONTEXTS[place], required=True) | {"route": route})


@every_field
def test_a_field_says_what_it_is_and_where_clients_keep_it(
    place: Place, model: type[Context], name: str
) -> None:
    """In the schema, which is the gateway's too; each example fits alone."""
    told = schema_of(model)["properties"][name]
    assert told["description"].endswith(".")
    assert len(told["examples"]) == 1
    usual = Context.model_fields.get(name)
    is_own = usual is None or usual.description != told["description"]
    if is_own and place[1] != "jetfuel" and not any(w in told["description"] for w in NOT_SENT):
        assert told[KEPT_KEY]
    needed = example(model, required=True) | {"route": place[1]}
    model.model_validate(needed | {name: told["examples"][0]})


def test_a_cookie_says_what_it_has() -> None:
    """It is the one model inside of the contexts."""
    told = Cookie.model_json_schema()["properties"]
    assert all(each["description"] and each["examples"] for each in told.values())
    Cookie.model_validate({name: each["examples"][0] for name, each in told.items()})


def test_the_gateways_document_has_all_of_it() -> None:
    """The author of a client needs no page of this project."""
    schemas = make_schemas()
    for model in CONTEXTS.values():
        told = schemas[model.__name__]["properties"]
        assert told["route"][CHECKPOINT_KEY]
        for name, each in told.items():
            assert each["description"], (model, name)
            assert each["examples"], (model, name)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_has_the_tables_of_the_models(name: str) -> None:
    """``python -m tests.support.contexts`` writes them."""
    page = page_of(name).read_text("utf-8")
    assert "<!-- context -->" in page
    assert with_table(page, name) == page


# Contexts that do not fit ---------------------------------------------------------------


@every_field
def test_a_field_that_is_missing_is_described(
    place: Place, model: type[Context], name: str
) -> None:
    """Or it may be left out; `csrftoken` may because the example's cookies have it."""
    context = whole(place)
    del context[name]
    if model.model_fields[name].is_required():
        description = str(model.model_fields[name].description).rstrip(".")
        assert said_of(refusal(place[0], context), name).startswith(f"is missing: {description}")
    elif is_needed(model, name) and name != "csrftoken":
        assert "need" in said_of(refusal(place[0], context), name)
    elif (*place, name) == ("LINKEDIN", "http", "cookies"):
        assert said_of(refusal(place[0], context), name).startswith("needs JSESSIONID")
    else:
        read_context(place[0], context)


@every_field
def test_a_field_of_a_wrong_type_is_told_its_rule(
    place: Place, model: type[Context], name: str
) -> None:
    """Every field, every type; the sentence says what it must be."""
    kind = schema_of(model)["properties"][name].get("type", "")
    for value in WRONG[kind]:
        if isinstance(value, float) and name in {"pk", "verification_method"}:
            continue  # These take numbers, which clients keep.
        said = said_of(refusal(place[0], whole(place) | {name: value}), name)
        assert said.startswith(("must ", "is ", "has ")), (value, said)


@every_field
def test_a_text_that_may_not_be_empty_or_so_long_is_told_so(
    place: Place, model: type[Context], name: str
) -> None:
    """By the bound of its schema."""
    told = schema_of(model)["properties"][name]
    if told.get("minLength"):
        assert said_of(refusal(place[0], whole(place) | {name: ""}), name) == "must not be empty"
    if (most := told.get("maxLength", 1 << 20)) < 60_000:
        said = said_of(refusal(place[0], whole(place) | {name: "/" + "x" * most}), name)
        assert said.startswith(("must have at most", "is ", "has "))


@every_field
def test_an_unknown_field_is_told_its_nearest(
    place: Place, model: type[Context], name: str
) -> None:
    """A slip of the keyboard, in every name."""
    assert name in model.model_fields
    detail = refusal(place[0], whole(place) | {f"{name}x": CANARY})
    assert said_of(detail, f"{name}x") == f"is unknown here; perhaps `{name}`"


@every_field
def test_a_number_inside_of_an_object_of_texts_is_told_by_its_name(
    place: Place, model: type[Context], name: str
) -> None:
    """It has to become a text."""
    if schema_of(model)["properties"][name].get("type") == "object":
        context = whole(place)
        detail = refusal(place[0], context | {name: context[name] | {"more": 4711}})
        assert said_of(detail, f"{name}.more").startswith("must be a string; write a number as")


NETSCAPE: Final = f"# Netscape HTTP Cookie File\n.example.com\tTRUE\t/\tTRUE\t0\tgt\t{CANARY}"
JAR: Final = "must be a list of objects with name, value"
NO_BEARER: Final = "needs bearer_token, the site's public token, with or without `Bearer`"
HIDDEN: Final = {"csrfToken": CANARY}
OTHER_HOST: Final = f"https://elsewhere.example/{CANARY}/"

BROKEN: Final[list[tuple[Place, dict[str, Any], str, str]]] = [
    *((each, {"cookies": {"a": CANARY}}, "cookies", JAR) for each in CONTEXTS),
    *((each, {"cookies": NETSCAPE}, "cookies", JAR) for each in CONTEXTS),
    *((each, {"cookies": [CANARY]}, "cookies.0", "must be an object") for each in CONTEXTS),
    *(
        (each, {"cookies": [{"value": CANARY}]}, "cookies.0.name", "is missing: Name")
        for each in CONTEXTS
    ),
    *(
        (each, {"headers": {"Cookie": CANARY}}, "headers", "cannot have cookie, which is made")
        for each in CONTEXTS
    ),
    (("LINKEDIN", "http"), {"fields": {"a": CANARY}}, "fields", "needs csrfToken"),
    (("LINKEDIN", "http"), {"fields": HIDDEN | {"pin": ""}}, "fields", "holds hidden inputs only"),
    (("LINKEDIN", "http"), {"action": OTHER_HOST}, "action", "must be a path on the provider's"),
    (("LINKEDIN", "http"), {"referer": OTHER_HOST}, "referer", "must be a path on the provider's"),
    (("LINKEDIN", "http"), {"cookies": []}, "cookies", "needs JSESSIONID"),
    (
        ("LINKEDIN", "http"),
        {"cookies": [{"name": "li_at", "value": CANARY}]},
        "cookies",
        "needs JSESSIONID",
    ),
    (("INSTAGRAM", "two_factor"), {"device": {"guid": CANARY}}, "device", "needs guid and device_"),
    (("INSTAGRAM", "challenge"), {"api_path": OTHER_HOST}, "api_path", "is a path on the provider"),
    (("INSTAGRAM", "web"), {"two_factor_path": f"/{CANARY}"}, "two_factor_path", "is /accounts/"),
    (("INSTAGRAM", "web"), {"csrftoken": "", "cookies": []}, "csrftoken", "is needed: as a cookie"),
    (
        ("INSTAGRAM", "bloks_two_factor"),
        {"device": {"guid": CANARY, "device_id": CANARY}},
        "device",
        "needs phone_id",
    ),
    (("INSTAGRAM", "bloks_auth_platform"), {"app": {}}, "app", "needs bloks_version_id"),
    (("TWITTER", "ocf"), {"app": {}}, "app", NO_BEARER),
    (("TWITTER", "ocf"), {"app": {"bearer_token": " "}}, "app", NO_BEARER),
    (("TWITTER", "ocf"), {"app": {"bearer_token": "Bearer "}}, "app", NO_BEARER),
    (("TWITTER", "ocf"), {"guest_token": ""}, "guest_token", "is needed: by itself"),
    (("TWITTER", "ocf"), {"subtask_id": CANARY}, "subtask_id", "must be 'LoginTwoFactorAuth"),
    (("MESSENGER", "http"), {"device": {"adid": CANARY}}, "device", "needs device_id"),
    (("MESSENGER", "http"), {"app": {"app_id": CANARY}}, "app", "needs app_id and client_token"),
    (("MESSENGER", "http"), {"uid": CANARY}, "uid", "has 1 to 20 digits"),
    (("MESSENGER", "http"), {"try_num": 4711}, "try_num", "must be at most 99"),
    (("LINKEDIN", "live_session"), {"secret": CANARY}, "secret", "must be 32 random bytes"),
]


@pytest.mark.parametrize(("place", "change", "field", "sentence"), BROKEN, ids=str)
def test_a_broken_context_is_told_its_field_and_the_mend(
    place: Place, change: dict[str, Any], field: str, sentence: str
) -> None:
    """What integrators run into first."""
    assert said_of(refusal(place[0], whole(place) | change), field).startswith(sentence)


@pytest.mark.parametrize("token", ["made-up", "Bearer made-up", "bearer made-up"])
def test_a_bearer_is_taken_with_its_prefix_or_without(token: str) -> None:
    """Clients keep it in either form."""
    read_context("TWITTER", whole(("TWITTER", "ocf")) | {"app": {"bearer_token": token}})


@pytest.mark.parametrize(
    ("provider", "name", "place"),
    [
        ("INSTAGRAM", "uuids", "device"),
        ("INSTAGRAM", "ig_www_claim", "www_claim"),
        ("INSTAGRAM", "device_settings", "app"),
        ("MESSENGER", "transient_auth_token", None),
        ("MESSENGER", "application", "app"),
        ("TWITTER", "guestToken", "guest_token"),
    ],
)
def test_a_place_of_a_client_library_is_told_its_field(
    provider: str, name: str, place: str | None
) -> None:
    """A whole settings file that was pasted has many of them; those come before the others."""
    context = {name: CANARY, "authorization_data": CANARY}
    context |= {f"a{number}": CANARY for number in range(9)}
    detail = refusal(provider, whole((provider, "http")) | context)
    if place is not None:
        assert said_of(detail, name) == f"is unknown here; it goes into `{place}`"
    assert detail.endswith("; and 3 more.")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("route", ["", "htpp", CANARY, None, 4711, ["http"]])
def test_an_unknown_route_is_told_all_of_them(provider: str, route: object) -> None:
    """A context without one has the usual."""
    detail = refusal(provider, whole((provider, "http")) | {"route": route})
    assert detail.startswith("`context.route` is none that")
    assert all(name in detail for whose, name in CONTEXTS if whose == provider)


@pytest.mark.parametrize(
    ("place", "provider", "sentence"),
    [
        *(
            (("INSTAGRAM", route), "INSTAGRAM", f"set `route` to `{route}`.")
            for whose, route in CONTEXTS
            if whose == "INSTAGRAM" and route not in {"http", "two_factor"}
        ),
        (("LINKEDIN", "live_session"), "TWITTER", "set `route` to `live_session`."),
        (("LINKEDIN", "http"), "TWITTER", "These are fields of LINKEDIN, route `http`."),
        (("TWITTER", "ocf"), "MESSENGER", "These are fields of TWITTER, route `http`."),
        (("MESSENGER", "http"), "LINKEDIN", "These are fields of MESSENGER, route `http`."),
    ],
)
def test_a_context_of_another_route_or_provider_is_recognised(
    place: Place, provider: str, sentence: str
) -> None:
    """By the names of its fields."""
    context = whole(place)
    del context["route"]
    assert refusal(provider, context).endswith(sentence)


def test_a_context_that_is_stored_is_not_asked_again() -> None:
    """What was opened by an earlier version goes its way."""
    assert LinkedInContext(fields={"csrfToken": "x"}).why_hopeless() is not None

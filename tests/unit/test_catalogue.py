"""The table of errors and successes is the contract's, word by word."""

import pytest

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import (
    PAIRS,
    Actor,
    CeleryState,
    Pair,
    Success,
    error_body,
    success_body,
)

# Status, type, who acts, effect on the intent when a provider's answer says it, Celery state.
CONTRACT = """
400 invalid_parameters             caller   -      SUCCESS
400 missing_parameters             caller   -      SUCCESS
400 invalid_request                caller   -      SUCCESS
400 malformed_request              caller   -      SUCCESS
400 content_too_large              caller   -      SUCCESS
400 too_many_characters            caller   -      SUCCESS
400 unescaped_characters           caller   -      SUCCESS
400 limit_too_high                 caller   -      SUCCESS
401 invalid_checkpoint_solution    person   counts SUCCESS
403 account_restricted             person   kills  SUCCESS
403 account_mismatch               caller   kills  SUCCESS
403 insufficient_permissions       operator -      FAILURE
403 session_mismatch               caller   kills  SUCCESS
403 feature_not_subscribed         operator -      FAILURE
403 subscription_required          person   -      SUCCESS
403 unknown_authentication_context caller   kills  SUCCESS
403 action_required                person   -      SUCCESS
403 resource_access_restricted     operator -      FAILURE
407 proxy_auth_error               operator -      FAILURE
408 request_timeout                caller   -      FAILURE
409 operation_canceled             nobody   -      REVOKED
409 already_exists                 caller   -      SUCCESS
500 unexpected_error               operator -      FAILURE
500 provider_error                 operator -      FAILURE
500 authentication_intent_error    caller   kills  SUCCESS
502 proxy_error                    operator -      FAILURE
503 no_client_session              operator -      FAILURE
503 no_channel                     operator -      FAILURE
503 no_handler                     operator -      FAILURE
503 network_down                   operator -      FAILURE
503 service_unavailable            operator -      FAILURE
504 request_timeout                caller   -      FAILURE
"""
ROWS = [line.split() for line in CONTRACT.strip().splitlines()]


def test_the_catalogue_has_32_pairs_and_31_types() -> None:
    """``request_timeout`` alone exists twice: the provider's silence and our own clock."""
    assert len(PAIRS) == 32
    types = [row.type for row in PAIRS.values()]
    assert len(set(types)) == 31
    assert {type_ for type_ in types if types.count(type_) > 1} == {"request_timeout"}


def test_its_keys_are_the_contracts_in_its_order() -> None:
    """Other people's programs switch on these words."""
    assert list(PAIRS) == [(int(status), type_) for status, type_, *_ in ROWS]
    assert all(key == row.key for key, row in PAIRS.items())


@pytest.mark.parametrize(("status", "type_", "who", "effect", "state"), ROWS, ids=str)
def test_each_row_says_who_acts_what_it_does_and_how_flower_shows_it(
    status: str, type_: str, who: str, effect: str, state: str
) -> None:
    """REVOKED for canceled, FAILURE where an operator acts or time ran out, else SUCCESS."""
    row = PAIRS[int(status), type_]
    assert row.who is Actor(who)
    assert (row.counts, row.kills) == (effect == "counts", effect == "kills")
    assert row.celery_state is CeleryState(state)


@pytest.mark.parametrize("row", PAIRS.values(), ids=lambda row: f"{row.status} {row.type}")
def test_the_envelope_has_the_contracts_fields_in_its_order(row: Pair) -> None:
    """One envelope for every error; the instance is the submission's id."""
    body = error_body(row, "sub_1")
    assert list(body) == ["object", "type", "title", "status", "detail", "instance", "req_id"]
    assert body == {
        "object": "Error",
        "type": f"errors/{row.type}",
        "title": row.title,
        "status": row.status,
        "detail": row.detail,
        "instance": "sub_1",
        "req_id": "sub_1",
    }
    assert row.title
    assert row.detail.endswith(".")
    assert error_body(row, "sub_1", "Better.")["detail"] == "Better."


@pytest.mark.parametrize(
    ("success", "body"),
    [
        (Success.CREATED, {"object": "AccountCreated", "account_id": "acc_1"}),
        (Success.RECONNECTED, {"object": "AccountReconnected", "account_id": "acc_1"}),
        (
            Success.CHECKPOINT,
            {
                "object": "Checkpoint",
                "account_id": "acc_1",
                "checkpoint": {"type": "2FA", "source": "APP"},
            },
        ),
    ],
)
def test_a_success_has_the_contracts_body(success: Success, body: dict[str, object]) -> None:
    """201 twice and 202; only the last one carries a checkpoint."""
    made = success_body(success, "acc_1", {"type": "2FA", "source": "APP"})
    assert made == body
    assert list(made) == list(body)
    assert success.status == (202 if success is Success.CHECKPOINT else 201)


def test_an_unknown_word_is_our_own_mistake() -> None:
    """A typing error must not become a new wire word."""
    with pytest.raises(KeyError):
        catalogue.pair(418, "teapot")

"""The vault: sealed for one name, opened by any key we have, silent about what it holds."""

import base64
import re
from collections.abc import Callable

import pytest

from checkpoint_worker.tasks.storage.vault import (
    BadKeyError,
    CannotOpenError,
    Vault,
    VaultError,
    context_name,
    make_key,
    session_name,
    solution_name,
)

CANARY = b"canary-482913"
NAME = solution_name("LINKEDIN", "acc_1", "sub_1")
OLD, NEW = make_key(), make_key()


def damaged(sealed: str, at: int) -> str:
    """Flip one bit of a sealed value."""
    raw = bytearray(base64.b64decode(sealed))
    raw[at] ^= 1
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("value", [b"", b"1", CANARY, bytes(range(256)) * 40])
def test_what_was_sealed_is_opened(value: bytes) -> None:
    """Any bytes, also none."""
    vault = Vault([NEW])
    assert vault.open(NAME, vault.seal(NAME, value)) == value


def test_the_same_value_is_never_sealed_the_same() -> None:
    """Two people with one code, or one with the same code twice, cannot be told by looking."""
    vault = Vault([NEW])
    sealed = {vault.seal(NAME, CANARY) for _ in range(100)}
    assert len(sealed) == 100
    assert all(CANARY not in base64.b64decode(text) for text in sealed)


@pytest.mark.parametrize(
    "other",
    [
        solution_name("LINKEDIN", "acc_1", "sub_2"),
        solution_name("LINKEDIN", "acc_2", "sub_1"),
        solution_name("TWITTER", "acc_1", "sub_1"),
        context_name("LINKEDIN", "acc_1"),
        session_name("LINKEDIN", "acc_1"),
    ],
)
def test_a_sealed_value_cannot_be_moved(other: str) -> None:
    """Who can write to Redis must not hand one person's code to another's login."""
    vault = Vault([NEW])
    with pytest.raises(CannotOpenError, match="something else"):
        vault.open(other, vault.seal(NAME, CANARY))


def test_names_of_different_things_differ() -> None:
    """An account id is opaque and may hold the separator."""
    names = {
        solution_name("LINKEDIN", "a|b", "s"),
        solution_name("LINKEDIN", "b", "s"),
        context_name("LINKEDIN", "a|b"),
        context_name("LINKEDIN", "a"),
        session_name("LINKEDIN", "a|b"),
        session_name("LINKEDIN", "a"),
    }
    assert len(names) == 6


def test_keys_rotate_the_first_seals_and_all_open() -> None:
    """What rests in Redis while keys change is still opened; new values need the new key."""
    before, between, after = Vault([OLD]), Vault([NEW, OLD]), Vault([NEW])
    assert between.open(NAME, before.seal(NAME, CANARY)) == CANARY
    assert after.open(NAME, between.seal(NAME, CANARY)) == CANARY
    with pytest.raises(CannotOpenError, match="CHECKPOINT_SECRET_KEYS does not hold"):
        after.open(NAME, before.seal(NAME, CANARY))


@pytest.mark.parametrize("at", [4, 15, 16, 20, -1])
def test_a_damaged_value_is_not_opened(at: int) -> None:
    """Nonce, text or tag: one bit is enough."""
    vault = Vault([NEW])
    with pytest.raises(CannotOpenError, match="damaged"):
        vault.open(NAME, damaged(vault.seal(NAME, CANARY), at))


@pytest.mark.parametrize("cut", [0, 1, 4, 8, 16, 24])
def test_a_value_cut_short_is_not_opened(cut: int) -> None:
    """However short: the library's complaint about a short nonce is no crash of ours."""
    vault = Vault([NEW])
    raw = base64.b64decode(vault.seal(NAME, CANARY))
    with pytest.raises(CannotOpenError):
        vault.open(NAME, base64.b64encode(raw[:cut]).decode())


@pytest.mark.parametrize("text", ["*", "abc", "é", "a b=="])
def test_what_is_not_base64_is_damaged(text: str) -> None:
    """Another program wrote it."""
    with pytest.raises(CannotOpenError, match="damaged"):
        Vault([NEW]).open(NAME, text)


@pytest.mark.parametrize(
    "bad",
    ["", "short", NEW[:-4], "é" * 44, base64.b64encode(b"x" * 31).decode(), NEW + "AAAA"],
    ids=["empty", "short", "cut", "not-ascii", "31-bytes", "longer"],
)
def test_a_bad_key_is_refused_with_the_way_to_make_one(bad: str) -> None:
    """The message helps and does not repeat the key."""
    with pytest.raises(BadKeyError, match="openssl rand -base64 32") as caught:
        Vault([NEW, bad])
    assert bad == "" or bad not in str(caught.value)


def test_no_key_is_refused_with_the_way_to_make_one() -> None:
    """Without keys nothing may be sealed, so nothing starts."""
    with pytest.raises(BadKeyError, match="CHECKPOINT_SECRET_KEYS"):
        Vault([])


def test_a_new_key_is_what_openssl_would_make() -> None:
    """32 bytes in base64, of either alphabet."""
    key = make_key()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}=", key)
    standard = key.replace("-", "+").replace("_", "/")
    assert Vault([standard]).open(NAME, Vault([key]).seal(NAME, CANARY)) == CANARY


@pytest.mark.parametrize(
    "fail",
    [
        lambda vault, sealed: vault.open("other", sealed),
        lambda vault, sealed: vault.open(NAME, damaged(sealed, 20)),
        lambda _, sealed: Vault([OLD]).open(NAME, sealed),
        lambda vault, sealed: vault.open(NAME, sealed[:-5] + "*"),
    ],
)
def test_no_value_and_no_key_is_in_an_error_or_a_repr(
    fail: Callable[[Vault, str], object],
) -> None:
    """Errors are logged; they carry names of settings and nothing else."""
    vault = Vault([NEW])
    sealed = vault.seal(NAME, CANARY)
    with pytest.raises(VaultError) as caught:
        fail(vault, sealed)
    shown = "".join(map(repr, (caught.value, caught.value.__cause__, vault))) + str(caught.value)
    assert not any(secret in shown for secret in (CANARY.decode(), NEW, OLD, sealed[:20]))


def test_a_digest_tells_the_same_code_of_the_same_account_and_nothing_more() -> None:
    """Codes are short: without the key the digest must not be a table to look up."""
    vault = Vault([NEW, OLD])
    digest = vault.digest("LINKEDIN", "acc_1", "123456")
    assert re.fullmatch(r"[0-9a-f]{32}", digest)
    assert vault.digest("LINKEDIN", "acc_1", "123456") == digest
    others = {
        vault.digest("LINKEDIN", "acc_2", "123456"),
        vault.digest("TWITTER", "acc_1", "123456"),
        vault.digest("LINKEDIN", "acc_1", "123457"),
        Vault([OLD]).digest("LINKEDIN", "acc_1", "123456"),
    }
    assert len(others) == 4
    assert digest not in others

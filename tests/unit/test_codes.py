"""Codes as people type and paste them, in any script: folded, checked, told apart by their form."""

from __future__ import annotations

import string
import sys
import unicodedata
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoint_worker.providers.contract import (
    TRY_ANOTHER_WAY,
    CodeFormat,
    InvalidRequestError,
    ProviderFailure,
    TooManyCharactersError,
    check_code,
    fold,
    normalise,
    source_of,
)

BY_CATEGORY: defaultdict[str, list[str]] = defaultdict(list)
for char in map(chr, range(sys.maxunicode + 1)):
    BY_CATEGORY[unicodedata.category(char)].append(char)
DIGITS, FORMATS, SPACES = BY_CATEGORY["Nd"], BY_CATEGORY["Cf"], BY_CATEGORY["Zs"]
SELECTORS = [
    char for char in BY_CATEGORY["Mn"] if "VARIATION SELECTOR" in unicodedata.name(char, "")
]
DASHES = [*BY_CATEGORY["Pd"], *"\u2053\u207b\u208b\u2212"]
PUNCTUATION = [
    char for category, chars in BY_CATEGORY.items() if category[0] == "P" for char in chars
]

SIX = CodeFormat(max_length=6, min_length=6)
APP = CodeFormat(
    max_length=6,
    min_length=6,
    alternatives={"BACKUP": CodeFormat(max_length=8, min_length=8)},
)
WORDS = CodeFormat(max_length=12, min_length=6, alphabet="alphanumeric")
LOOSE = CodeFormat(max_length=12, alphabet="alphanumeric")
FORMS = {"SMS": APP, "EMAIL": WORDS}


def test_unicode_is_as_large_as_the_rules_say() -> None:
    """Each of these classes is tried whole: a new Unicode brings its own digits and marks."""
    assert len(DIGITS) >= 650
    assert len(FORMATS) >= 160
    assert len(SELECTORS) == 260
    assert "\ufeff" in FORMATS


def test_every_decimal_digit_is_its_ascii_digit() -> None:
    """Ten of each script, in order; the code of an authenticator looks the same to its reader."""
    for digit in DIGITS:
        assert check_code(f"04{digit}213", SIX) == f"04{unicodedata.decimal(digit)}213"


def test_every_invisible_mark_is_dropped() -> None:
    """Also around and inside ``TRY_ANOTHER_WAY``, and where the source has no form."""
    for mark in (*FORMATS, *SELECTORS):
        assert check_code(f"{mark}048{mark}213{mark}", SIX) == "048213"
        assert fold(f"{mark}(+33)06 12{mark}") == "(+33)06 12"
        assert fold(f"TRY_ANOTHER{mark}_WAY") == TRY_ANOTHER_WAY


def test_every_space_and_dash_between_groups_goes() -> None:
    """One or many, and around the code as well."""
    for char in (*SPACES, *DASHES):
        assert check_code(f"{char}048{char}{char}213{char}", SIX) == "048213"
        assert normalise(f"048{char}213") == "048213"


def test_punctuation_around_a_code_goes_and_inside_it_does_not() -> None:
    """A sentence's full stop, quotes of any language, brackets, a mail's asterisks."""
    around = [*PUNCTUATION, *(set(string.punctuation) - {"+"})]
    for char in around:
        assert check_code(f"{char}048213{char}", SIX) == "048213"
        if char not in DASHES:
            with pytest.raises(InvalidRequestError):
                check_code(f"048{char}213", SIX)


@given(
    digits=st.lists(st.sampled_from(DIGITS), min_size=6, max_size=6),
    noise=st.lists(
        st.text(st.sampled_from([*FORMATS, *SELECTORS, *SPACES, *DASHES]), max_size=3),
        min_size=5,
        max_size=5,
    ),
    ends=st.tuples(*[st.text(st.sampled_from([*PUNCTUATION, *FORMATS, " "]), max_size=4)] * 2),
)
def test_however_it_is_typed_it_is_the_same_code(
    digits: list[str], noise: list[str], ends: tuple[str, str]
) -> None:
    """So a double click is recognised, too. Single digits never make two codes."""
    typed = digits[0] + "".join(a + b for a, b in zip(noise, digits[1:], strict=True))
    wanted = "".join(str(unicodedata.decimal(digit)) for digit in digits)
    assert check_code(f"{ends[0]}{typed}{ends[1]}", SIX) == wanted
    assert check_code(wanted, SIX) == wanted


@given(text=st.text(max_size=20), code_format=st.sampled_from([SIX, APP, WORDS, LOOSE]))
def test_what_is_let_through_is_a_code_and_the_rest_is_refused(
    text: str, code_format: CodeFormat
) -> None:
    """No other character is ever sent where the source has a form."""
    try:
        code = check_code(text, code_format)
    except (InvalidRequestError, TooManyCharactersError):
        return
    assert code.isascii()
    assert code.isalnum() or text == TRY_ANOTHER_WAY
    assert check_code(code, code_format) == code, "what was let through is let through again"


@given(text=st.text(max_size=30))
def test_without_a_form_a_text_is_only_folded(text: str) -> None:
    """A phone number keeps its brackets and its plus."""
    folded = check_code(text, None)
    assert folded == fold(folded) == fold(text)
    assert check_code("(+33)0612345678", None) == "(+33)0612345678"
    assert check_code("\u200e(+33) \uff10\uff16", None) == "(+33) 06"


@pytest.mark.parametrize(
    ("text", "code_format", "error"),
    [
        ("123456 654321", SIX, InvalidRequestError),
        ("123456-654321", APP, InvalidRequestError),
        ("048213 048213", SIX, InvalidRequestError),
        ("abc123 def456", WORDS, InvalidRequestError),
        ("123456,654321", SIX, InvalidRequestError),
        ("123456 or 654321", SIX, InvalidRequestError),
        ("1234567 7654321", LOOSE, InvalidRequestError),
        ("1234567", SIX, TooManyCharactersError),
        ("1234567", APP, TooManyCharactersError),
        ("123456789", APP, TooManyCharactersError),
        ("1234567890123", WORDS, TooManyCharactersError),
        ("(+33)0612345678", APP, InvalidRequestError),
        ("+33 06 12 34 56 78", APP, InvalidRequestError),
        ("\u2460\u2461\u2462\u2463", SIX, InvalidRequestError),
        ("\u00b2\u00b3", SIX, InvalidRequestError),
        ("...", SIX, InvalidRequestError),
        ("", SIX, InvalidRequestError),
    ],
)
def test_what_is_no_code_is_refused(
    text: str, code_format: CodeFormat, error: type[ProviderFailure]
) -> None:
    """Two codes in one text, too many characters, another alphabet, a phone number."""
    with pytest.raises(error):
        check_code(text, code_format)


@pytest.mark.parametrize(
    ("text", "source", "code", "found"),
    [
        ("048 213", "SMS", "048213", "SMS"),
        ("1234 5678", "SMS", "12345678", "BACKUP"),
        ("1234", "SMS", "1234", "SMS"),
        ("\uff11\uff12\uff13\uff14 5678.", "SMS", "12345678", "BACKUP"),
        ("abc 123", "EMAIL", "abc123", "EMAIL"),
        ("(+33)06", None, "(+33)06", None),
        ("x", "PHONE", "x", "PHONE"),
    ],
)
def test_a_code_of_another_source_is_told_by_its_form(
    text: str, source: str | None, code: str, found: str | None
) -> None:
    """Typed at the only field there is; the adapter sends it as what it is."""
    assert check_code(text, FORMS.get(source or "")) == code
    assert source_of(text, source, FORMS) == source_of(code, source, FORMS) == found


def test_the_longest_text_costs_nothing() -> None:
    """Both ends and every group are looked at once."""
    for text in ("-" * 100_000, "1 " * 50_000, "\u200b" * 100_000, "." * 50_000 + "1"):
        with pytest.raises(ProviderFailure):
            check_code(text * 2 + "x1", SIX)

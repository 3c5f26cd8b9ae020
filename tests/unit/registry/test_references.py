"""References as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidName
from registry.references import AdapterRef, check_alias, parse_reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("sw", AdapterRef(name="sw")),
        ("sw@3", AdapterRef(name="sw", number=3)),
        ("ner.multi-2_x@production", AdapterRef(name="ner.multi-2_x", alias="production")),
        ("0" * 64, AdapterRef(name="0" * 64)),
    ],
)
def test_reads_the_three_forms(text: str, reference: AdapterRef) -> None:
    assert parse_reference(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "@", "@3", "sw@", "sw@0", "sw@03", "sw@-1", "sw@3@4", "sw@٣", "sw@Production", "sw@" + "9" * 10),
        *("Sw", "-sw", "../x", "a/b", "s w", "sw\n", "sw@3\n", "é", "x" * 65),
    ],
)
def test_refuses_everything_else(text: str) -> None:
    with pytest.raises(InvalidName) as caught:
        parse_reference(text)
    assert caught.value.code == "invalid_name"


def test_an_alias_starts_with_a_letter() -> None:
    assert check_alias("v2") == "v2"
    with pytest.raises(InvalidName, match="starting with a letter"):
        check_alias("2v")


def test_a_reference_has_one_selector() -> None:
    with pytest.raises(InvalidName, match="not both"):
        AdapterRef(name="sw", number=1, alias="production")


@given(st.text(max_size=80))
def test_whatever_is_read_is_written_the_same(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidName:
        return
    assert str(reference) == text

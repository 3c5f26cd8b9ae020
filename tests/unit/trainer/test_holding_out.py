"""Which lines are held out: by their own hash, within bounds."""

import pytest

from trainer.errors import TooLittleData
from trainer.holdout import is_held_out, part, split_lines

LINES = [f"line {number}" for number in range(2000)]
ONES = [1] * len(LINES)


def held_lines(lines: list[str], **bounds: float) -> set[str]:
    parting = part(lines, [1] * len(lines), **({"share": 0.05, "least": 1, "most": 10**6} | bounds))  # type: ignore[arg-type]
    assert sorted(parting.train + parting.held_out) == list(range(len(lines)))
    assert list(parting.held_out) == sorted(parting.held_out)
    return {lines[number] for number in parting.held_out}


def test_the_share_is_held_out_whatever_the_order() -> None:
    found = held_lines(LINES)
    assert len(found) == 100
    assert held_lines(LINES[::-1]) == found


def test_bounds_prevail_over_the_share() -> None:
    assert len(held_lines(LINES, least=300)) == 300
    assert len(held_lines(LINES, most=20)) == 20


def test_a_smaller_share_is_a_subset_of_a_larger_and_of_the_fixed_threshold() -> None:
    small, large = held_lines(LINES, share=0.01), held_lines(LINES, share=0.1)
    assert small < large
    assert all(is_held_out(line, 0.03) for line in small)
    assert not any(is_held_out(line, 0.05) for line in set(LINES) - large)


def test_equal_lines_stay_on_one_side() -> None:
    doubled = LINES + LINES
    parting = part(doubled, ONES + ONES, share=0.05, least=1, most=10**6)
    train, held = ({doubled[number] for number in numbers} for numbers in (parting.train, parting.held_out))
    assert not train & held


def test_too_little_to_hold_out_is_refused() -> None:
    with pytest.raises(TooLittleData, match="too small to hold out 6 of 10"):
        part(LINES[:10], ONES[:10], share=0.05, least=6, most=10)
    with pytest.raises(TooLittleData, match="alike"):
        part(["same"] * 10, ONES[:10], share=0.05, least=1, most=10)


def test_splitting_by_threshold_keeps_the_order() -> None:
    train, held = split_lines(LINES, 0.1)
    assert sorted(train + held) == sorted(LINES)
    assert 150 < len(held) < 250
    assert train == [line for line in LINES if not is_held_out(line, 0.1)]

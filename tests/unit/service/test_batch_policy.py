"""Which rows make the next batch, with plain values."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madx.manifest import Digest, digest_of
from service.batching import BatchLimits, Costs, Waiting, choose, split

A, B, C, D, E = (digest_of(name) for name in (b"a", b"b", b"c", b"d", b"e"))
SIZES = {A: 10, B: 10, C: 10, D: 1, E: 2}
COSTS = Costs(seconds_per_token=1e-3)
WIDE = BatchLimits(tokens=1_000, masked=1_000, size_bytes=1_000, cost=1_000.0)


def row(
    work: int, tokens: int = 10, *, masked: int = 0, language: Digest | None = None, task: Digest | None = None
) -> Waiting:
    return Waiting(
        work=work,
        row=0,
        tokens=tokens,
        cost=COSTS.of_row(tokens, masked),
        rank_s=float(work),
        masked=masked,
        language=language,
        task=task,
    )


def works(
    line: list[Waiting], limits: BatchLimits = WIDE, *, costs: Costs = COSTS, resident: tuple[Digest, ...] = ()
) -> list[int]:
    choice = choose(line, limits=limits, costs=costs, sizes=SIZES, resident=resident, now_s=0.0)
    return [chosen.work for chosen in choice.batch]


def test_nothing_in_line_is_no_batch() -> None:
    assert works([]) == []


def test_a_batch_keeps_to_its_tokens_and_smaller_rows_may_pass_one_that_does_not_fit() -> None:
    assert works([row(1, 60), row(2, 60), row(3, 40)], replace(WIDE, tokens=100)) == [1, 3]


def test_a_batch_keeps_to_its_time_which_adapters_take_too() -> None:
    line = [row(1, language=A), row(2, language=B), row(3, language=A)]
    assert works(line, replace(WIDE, cost=35.0)) == [1, 2, 3]
    assert works(line, replace(WIDE, cost=35.0), costs=replace(COSTS, language=10.0)) == [1, 3]
    assert works(line, replace(WIDE, cost=40.0), costs=replace(COSTS, language=10.0)) == [1, 3]
    assert sorted(works(line, replace(WIDE, cost=50.0), costs=replace(COSTS, language=10.0))) == [1, 2, 3]


def test_a_batch_keeps_to_its_masks() -> None:
    line = [row(1, masked=3), row(2, masked=3), row(3), row(4, masked=1)]
    assert works(line, replace(WIDE, masked=4)) == [1, 3, 4]


def test_a_batch_keeps_to_its_adapters_bytes() -> None:
    line = [row(1, language=A, task=B), row(2, task=C), row(3, task=B), row(4)]
    assert works(line, replace(WIDE, size_bytes=20)) == [1, 3, 4]


def test_the_first_in_line_is_taken_even_if_nothing_holds_it() -> None:
    assert works([row(1, 500), row(2, 5)], replace(WIDE, tokens=100, cost=100.0)) == [1]
    assert works([row(1, language=A, task=B), row(2, task=C)], replace(WIDE, size_bytes=15)) == [1]


def test_rows_of_a_language_that_is_in_the_batch_go_before_others() -> None:
    line = [row(1, language=A), row(2, language=B), row(3, language=C), row(4, language=A), row(5, language=A)]
    assert works(line, replace(WIDE, tokens=30)) == [1, 2, 4]


def test_among_new_adapters_small_ones_and_those_on_the_device_go_first() -> None:
    line = [row(1, 20, language=A), row(2, language=B), row(3, language=C), row(4, task=D)]
    assert works(line, replace(WIDE, tokens=40), resident=(C,)) == [1, 4, 3]


def test_what_is_late_is_left_out_and_takes_no_room() -> None:
    line = [replace(row(1, 80), deadline_s=4.0), replace(row(2, 60), deadline_s=5.0), row(3, 60), row(4, 40)]
    line[3] = replace(line[3], deadline_s=5.1)
    choice = choose(line, limits=replace(WIDE, tokens=100), costs=COSTS, sizes=SIZES, now_s=5.0)
    assert [chosen.work for chosen in choice.batch] == [3, 4]
    assert [passed.work for passed in choice.late] == [1, 2]


def test_however_many_are_late_a_batch_is_found_behind_them() -> None:
    line = [replace(row(number, 50), deadline_s=1.0) for number in range(100)] + [row(100)]
    choice = choose(line, limits=replace(WIDE, tokens=100), costs=COSTS, sizes=SIZES, now_s=1.0)
    assert [chosen.work for chosen in choice.batch] == [100]
    assert len(choice.late) == 100


@pytest.mark.parametrize(("waited", "cost"), [(0.0, 125.0), (0.1, 125.0), (0.5, 500.0), (1.0, 1000.0), (9.0, 1000.0)])
def test_a_batch_takes_about_as_long_as_its_first_row_has_waited(waited: float, cost: float) -> None:
    assert WIDE.for_wait(waited) == replace(WIDE, cost=cost)


def test_a_batch_that_keys_share_takes_an_eighth_of_the_time() -> None:
    assert WIDE.shared() == replace(WIDE, cost=125.0)
    assert replace(WIDE, cost=1.0).shared().cost == 1.0


def test_what_a_row_costs() -> None:
    costs = Costs(seconds_per_token=1.0, attention=0.01, masked=2.0)
    assert costs.of_row(10, 0) == 10 + 1
    assert costs.of_row(10, 3) == 10 + 1 + 6


def test_what_a_batch_may_cost() -> None:
    assert Costs(seconds_per_token=1e-3, fixed_s=0.05).within(0.25) == 200.0
    assert Costs(seconds_per_token=1e-3, fixed_s=1.0).within(0.25) == 125.0
    assert Costs(seconds_per_token=10.0).within(0.25) == 1.0


def test_what_a_batch_costs() -> None:
    costs = Costs(seconds_per_token=1.0, language=100.0, task=10.0)
    assert costs.of_batch([]) == 0.0
    assert costs.of_batch([row(1, 3)]) == 3.0
    assert (
        costs.of_batch([row(1, 3, language=A, task=D), row(2, 4, language=B, task=D), row(3, 1, language=A)]) == 218.0
    )


@pytest.mark.parametrize("share", [1 / 3, 0.5, 1.0, 3.0])
def test_batches_come_to_take_as_long_as_they_should(share: float) -> None:
    """On a machine that begins a batch in 0.05 s and then computes a token in a millisecond, whatever `share` of the
    limit its batches take, and whatever speed it was calibrated at.
    """

    def settled(cost: float, seconds_per_token: float) -> float:
        costs = Costs(seconds_per_token=seconds_per_token, fixed_s=0.05)
        for _ in range(40):
            took_s = 0.05 + share * cost * 1e-3
            cost = costs.paced(cost, cost=share * cost, seconds=took_s, within_s=0.25)
        return cost

    assert settled(10.0, 1e-2) == pytest.approx(200.0)
    assert settled(10_000.0, 1e-5) == pytest.approx(200.0)


def test_a_batch_as_fast_as_it_should_be_moves_nothing_however_large_it_is() -> None:
    """A row that exceeds the limit takes longer, one of a batch half as large less."""
    costs = Costs(seconds_per_token=1e-3)
    for cost in (100.0, 125.0, 250.0, 500.0):
        assert costs.paced(250.0, cost=cost, seconds=cost * 1e-3, within_s=0.25) == pytest.approx(250.0)


def test_one_slow_batch_changes_little_and_a_small_one_nothing() -> None:
    assert COSTS.paced(200.0, cost=200.0, seconds=60.0, within_s=0.25) == 160.0
    assert COSTS.paced(200.0, cost=200.0, seconds=0.0, within_s=0.25) == 250.0
    assert COSTS.paced(200.0, cost=60.0, seconds=60.0, within_s=0.25) == 200.0


ROWS = st.lists(
    st.builds(
        row,
        st.just(0),
        st.integers(1, 50),
        masked=st.integers(0, 3),
        language=st.sampled_from([None, A, B, C]),
        task=st.sampled_from([None, D, E]),
    ),
    max_size=60,
).map(lambda rows: [replace(each, work=number) for number, each in enumerate(rows)])
LIMITS = st.builds(
    BatchLimits,
    tokens=st.integers(1, 200),
    masked=st.integers(1, 5),
    size_bytes=st.integers(0, 45),
    cost=st.floats(1, 200),
)


@given(ROWS, LIMITS)
def test_no_batch_of_several_rows_is_larger_than_its_limits(line: list[Waiting], limits: BatchLimits) -> None:
    costs = replace(COSTS, language=7.0, task=1.0)
    batch = choose(line, limits=limits, costs=costs, sizes=SIZES, now_s=0.0).batch
    assert batch[:1] == line[:1]
    assert len({chosen.work for chosen in batch}) == len(batch)
    if len(batch) > 1:
        languages, tasks = ({getattr(chosen, kind) for chosen in batch} - {None} for kind in ("language", "task"))
        assert sum(chosen.tokens for chosen in batch) <= limits.tokens
        assert sum(chosen.masked for chosen in batch) <= limits.masked
        assert sum(SIZES[digest] for digest in languages | tasks) <= limits.size_bytes
        assert costs.of_batch(batch) <= limits.cost + 1e-6


@given(ROWS)
def test_nobody_is_passed_for_long_by_rows_of_a_language_that_is_in_the_batch(line: list[Waiting]) -> None:
    """Half of each batch goes by the line, so a row with so many tokens before it waits for so many halves."""
    tokens = 100
    limits = replace(WIDE, tokens=tokens)
    before = {}
    ahead = 0
    for waiting in line:
        before[waiting.work] = ahead
        ahead += waiting.tokens
    turns, left = 0, line
    while left:
        batch = choose(left, limits=limits, costs=COSTS, sizes=SIZES, now_s=0.0).batch
        turns += 1
        for chosen in batch:
            assert turns <= 1 + before[chosen.work] / (tokens / 2)
        left = [waiting for waiting in left if waiting not in batch]


def test_parts_cost_about_the_same_and_keep_languages_together() -> None:
    batch = [row(work, 10 + work % 7, language=(A, B, C, D)[work % 4]) for work in range(40)]
    parts = split(batch, 2)
    assert sorted(waiting.work for part in parts for waiting in part) == list(range(40))
    costs = [sum(waiting.cost for waiting in part) for part in parts]
    assert max(costs) - min(costs) <= 2 * 17
    languages = [{waiting.language for waiting in part} for part in parts]
    assert len(languages[0] & languages[1]) <= 1


def test_rows_that_cannot_be_shared_out_stay_together() -> None:
    assert split([row(1, 90)], 2) == [[row(1, 90)]]
    assert [len(part) for part in split([row(1, 90), row(2, 5), row(3, 5)], 2)] == [3]
    assert [len(part) for part in split([row(1, 50), row(2, 50)], 2)] == [1, 1]
    assert [len(part) for part in split([row(1, 50), row(2, 50)], 1)] == [2]


@given(
    costs=st.lists(st.integers(min_value=1, max_value=128), min_size=1, max_size=60),
    parts=st.integers(min_value=1, max_value=16),
)
def test_every_row_is_in_one_part(costs: list[int], parts: int) -> None:
    found = split([row(number, cost) for number, cost in enumerate(costs)], parts)
    assert sorted(waiting.work for part in found for waiting in part) == list(range(len(costs)))
    assert all(found)
    assert len(found) <= parts


def test_limits_of_several_batches_together() -> None:
    assert WIDE.times(3).cost == 3 * WIDE.cost
    assert WIDE.times(3).tokens == 3 * WIDE.tokens
    assert WIDE.times(3).size_bytes == WIDE.size_bytes


def test_a_batch_takes_no_more_than_its_part_of_the_rows_whatever_their_adapters_cost() -> None:
    line = [row(work, language=A) for work in range(8)]
    for costs in (COSTS, replace(COSTS, language=500.0)):
        assert works(line, WIDE.part(40.0), costs=costs) == [0, 1, 2, 3]
    assert works(line, WIDE.part(1.0)) == [0]
    assert len(works(line, replace(WIDE, cost=30.0).part(40.0))) == 3

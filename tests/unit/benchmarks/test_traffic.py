"""Traffic of the speed benchmarks: lengths, Zipf's law, the same stream for the same seed, batches within a budget."""

from itertools import islice, pairwise
from statistics import mean, median, pstdev

import numpy as np
import pytest

from benchmarks.shapes import END, START
from benchmarks.traffic import Ask, asks, batches, lengths, take, tokens_of, zipf


def stream_of(seed: int = 5) -> list[Ask]:
    return list(islice(asks(vocab_size=1000, languages=10, tasks=20, seed=seed), 4000))


def test_lengths_are_those_of_real_sentences() -> None:
    drawn = lengths(np.random.default_rng(0), 20_000)
    assert median(drawn) == pytest.approx(30, abs=1)
    assert max(drawn) == 128
    assert sum(length == 128 for length in drawn) / len(drawn) == pytest.approx(0.019, abs=0.004)
    assert pstdev(np.log(drawn)) == pytest.approx(0.68, abs=0.03)


def test_languages_and_tasks_follow_zipf_independently() -> None:
    rows = stream_of()
    for count, ranks in ((10, [row.language for row in rows]), (20, [row.task for row in rows])):
        shares = zipf(count)
        assert ranks.count(0) / len(rows) == pytest.approx(shares[0], abs=0.03)
        assert shares[0] == pytest.approx(2 * shares[1])
        assert set(ranks) == set(range(count))
    rare = [row.task for row in rows if row.language == 0]
    assert rare.count(0) / len(rare) == pytest.approx(zipf(20)[0], abs=0.04)


def test_a_seed_names_a_stream() -> None:
    assert stream_of(1) == stream_of(1)
    assert [row.ids for row in stream_of(1)[:5]] != [row.ids for row in stream_of(2)[:5]]


def test_rows_have_their_special_tokens_and_no_others() -> None:
    rows = stream_of()
    assert all(row.ids[0] == START and row.ids[-1] == END for row in rows)
    assert all(4 < piece < 1000 for row in rows for piece in row.ids[1:-1])
    assert [row.number for row in rows] == list(range(4000))


def test_rows_are_taken_until_there_are_enough_tokens() -> None:
    stream = asks(vocab_size=1000, languages=2, tasks=2, seed=1)
    first, second = take(stream, 500), take(stream, 500)
    assert 500 <= tokens_of(first) < 500 + 128
    assert tokens_of(first[:-1]) < 500
    assert second[0].number == first[-1].number + 1


def test_batches_keep_the_order_and_the_budget() -> None:
    rows = stream_of()[:200]
    packed = batches(rows, 256)
    assert [row for batch in packed for row in batch] == rows
    assert all(tokens_of(batch) <= 256 for batch in packed)
    assert all(tokens_of(batch) + len(after[0].ids) > 256 for batch, after in pairwise(packed))
    assert mean(map(tokens_of, packed)) > 200


def test_a_row_beyond_the_budget_is_a_batch_of_its_own() -> None:
    rows = [Ask(number=number, ids=(0,) * length, language=0, task=0) for number, length in enumerate((5, 300, 5))]
    assert [len(batch) for batch in batches(rows, 100)] == [1, 1, 1]

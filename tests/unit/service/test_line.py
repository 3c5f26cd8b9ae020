"""The line: fair between keys, in order within one, and quick with many rows."""

from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from service.batching import BatchLimits, Costs, Waiting, choose
from service.line import Line

COSTS = Costs(seconds_per_token=1e-3)


def rows(work: int, key: str, *tokens: int, rank_s: float | None = None) -> list[Waiting]:
    rank = float(work) if rank_s is None else rank_s
    return [
        Waiting(work=work, row=number, tokens=each, cost=float(each), rank_s=rank, key=key)
        for number, each in enumerate(tokens)
    ]


def run_batch(line: Line, tokens: int) -> list[Waiting]:
    limits = BatchLimits(tokens=tokens, masked=tokens, size_bytes=0, cost=float(tokens))
    batch = choose(line.in_turn(), limits=limits, costs=COSTS, sizes={})
    line.take(batch)
    return batch


def tokens_of(batch: list[Waiting]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for waiting in batch:
        counted[waiting.key] += waiting.tokens
    return counted


def test_rows_of_one_key_stand_by_their_rank_whatever_the_order_they_come_in() -> None:
    line = Line()
    for work in (3, 1, 2):
        line.add(rows(work, "", 10))
    line.add(rows(4, "", 10, rank_s=1.5))
    assert [waiting.work for waiting in line.in_turn()] == [1, 4, 2, 3]
    assert len(line) == 4


def test_two_keys_share_a_batch_however_much_one_of_them_asks() -> None:
    line = Line()
    line.add(rows(1, "flood", *[10] * 100))
    line.add(rows(2, "other", *[10] * 5))
    assert tokens_of(run_batch(line, 100)) == {"flood": 50, "other": 50}
    assert tokens_of(run_batch(line, 100)) == {"flood": 100}


def test_a_key_that_comes_late_cannot_claim_what_it_did_not_ask_for() -> None:
    line = Line()
    line.add(rows(1, "early", *[10] * 200))
    for _ in range(10):
        run_batch(line, 100)
    line.add(rows(2, "late", *[10] * 200))
    served = tokens_of(run_batch(line, 100)) + tokens_of(run_batch(line, 100))
    assert served == {"early": 100, "late": 100}


def test_a_key_that_was_served_alone_owes_nothing_for_it() -> None:
    """Beside small visitors it went on to gain; another that stays gets no more than its share for that."""
    line = Line()
    line.add(rows(0, "busy", *[10] * 2_000))
    for visit in range(1, 50):
        line.add(rows(visit, f"visitor {visit}", 10))
        run_batch(line, 100)
    line.add(rows(100, "second", *[10] * 200))
    served = sum((tokens_of(run_batch(line, 100)) for _ in range(4)), Counter())
    assert 100 <= served["busy"] <= 300


def test_a_stream_of_new_keys_does_not_keep_an_old_one_waiting() -> None:
    line = Line()
    line.add(rows(0, "old", *[50] * 3))
    waited = 0
    for number in range(1, 100):
        line.add(rows(number, f"new {number}", 50, 50))
        waited += 1
        run_batch(line, 100)
        if not any(waiting.key == "old" for waiting in line.in_turn()):
            break
    assert waited <= 8


def test_rows_that_leave_are_not_charged_and_make_room_for_the_next() -> None:
    line = Line()
    left = rows(1, "a", 10, 10)
    line.add(left)
    line.add(rows(2, "a", 10))
    line.add(rows(3, "b", 10))
    line.discard(left)
    line.discard(left)
    assert [waiting.work for waiting in line.in_turn()] == [2, 3]
    assert len(line) == 2
    assert set(line.keys) == {"a", "b"}


KEYS = ("a", "b", "c")
ARRIVALS = st.lists(
    st.lists(st.tuples(st.sampled_from(KEYS), st.lists(st.integers(1, 40), min_size=1, max_size=8)), max_size=4),
    min_size=1,
    max_size=15,
)


@given(ARRIVALS)
def test_every_row_runs_once_and_keys_that_wait_are_served_alike(arrivals: list[list[tuple[str, list[int]]]]) -> None:
    line = Line()
    number = 0
    given_rows, ran = [], []
    backlogged: Counter[str] = Counter()  # served while all of KEYS wait
    for arriving in [*arrivals, *([[]] * 200)]:
        for key, tokens in arriving:
            number += 1
            new = rows(number, key, *tokens)
            given_rows += new
            line.add(new)
        all_wait = set(line.keys) == set(KEYS)
        batch = run_batch(line, 100)
        ran += batch
        if all_wait and set(line.keys) == set(KEYS):
            backlogged += tokens_of(batch)
        else:
            backlogged.clear()
        if backlogged:
            assert max(backlogged[key] for key in KEYS) - min(backlogged[key] for key in KEYS) <= 2 * 100
    place = {(waiting.work, waiting.row) for waiting in ran}
    assert len(ran) == len(place) == len(given_rows)
    assert len(line) == 0


def test_a_key_with_little_to_ask_is_in_the_next_batch_whatever_others_flood() -> None:
    line = Line()
    for flooder in range(5):
        line.add(rows(flooder, f"flooder {flooder}", *[10] * 500))
    for moment in range(20):
        line.add(rows(100 + moment, "small", 10))
        assert tokens_of(run_batch(line, 100))["small"] == 10


def test_only_the_rows_near_the_front_are_looked_at() -> None:
    line = Line()
    for number in range(2_000):
        line.add(rows(number, f"key {number % 7}", *[10] * 10))
    looked_at = 0

    def counted() -> Iterator[Waiting]:
        nonlocal looked_at
        for waiting in line.in_turn():
            looked_at += 1
            yield waiting

    limits = BatchLimits(tokens=1_000, masked=1, size_bytes=0, cost=1_000.0)
    batch = choose(counted(), limits=limits, costs=COSTS, sizes={})
    assert len(batch) == 100
    assert looked_at <= 200

"""The line: fair between keys, in order within one, and quick with many rows."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching import LOOKAHEAD, BatchLimits, Costs, Waiting, choose
from service.line import Line
from service.readout import AllLogits
from service.work import AskedRow, waiting_rows

COSTS = Costs(seconds_per_token=1e-3)
BATCH = 100
CREDIT = 4.0 * BATCH


def rows(work: int, key: str, *tokens: int, rank_s: float | None = None) -> list[Waiting]:
    rank = float(work) if rank_s is None else rank_s
    return [
        Waiting(work=work, row=number, tokens=each, cost=float(each), rank_s=rank, key=key)
        for number, each in enumerate(tokens)
    ]


def run_batch(line: Line, tokens: int) -> list[Waiting]:
    limits = BatchLimits(tokens=tokens, masked=tokens, size_bytes=0, cost=float(tokens))
    batch = choose(line.in_turn(), limits=limits, costs=COSTS, sizes={}, now_s=0.0).batch
    line.take(batch)
    return batch


def tokens_of(batch: list[Waiting]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for waiting in batch:
        counted[waiting.key] += waiting.tokens
    return counted


def test_rows_of_one_key_stand_by_their_rank_whatever_the_order_they_come_in() -> None:
    line = Line(credit=0.0)
    for work in (3, 1, 2):
        line.add(rows(work, "", 10))
    line.add(rows(4, "", 10, rank_s=1.5))
    assert [waiting.work for waiting in line.in_turn()] == [1, 4, 2, 3]
    assert len(line) == 4


def bare_row(tokens: int) -> AskedRow:
    return AskedRow(input_ids=(5,) * tokens, positions=(), language=None, task=None, leave_out=(), readout=AllLogits())


def test_a_small_request_stands_where_a_large_one_would_have_come_to_by_itself() -> None:
    line = Line(credit=0.0)
    for work, accepted_s, count in ((1, 5.0, 300), (2, 5.095, 1)):
        line.add(waiting_rows(work, [bare_row(10)] * count, key="", accepted_s=accepted_s, deadline_s=9.0, costs=COSTS))
    order = [(waiting.work, waiting.row) for waiting in line.in_turn()]
    assert order.index((2, 0)) == 10  # at 1000 tokens/s ten rows of ten tokens take 0.1 s
    assert order[:10] + order[11:] == [(1, row) for row in range(300)]
    assert {waiting.deadline_s for waiting in line.in_turn()} == {9.0}


def test_two_keys_share_a_batch_however_much_one_of_them_asks() -> None:
    line = Line(credit=0.0)
    line.add(rows(1, "flood", *[10] * 100))
    line.add(rows(2, "other", *[10] * 5))
    assert tokens_of(run_batch(line, 100)) == {"flood": 50, "other": 50}
    assert tokens_of(run_batch(line, 100)) == {"flood": 100}


def test_a_key_that_comes_late_cannot_claim_what_it_did_not_ask_for() -> None:
    line = Line(credit=0.0)
    line.add(rows(1, "early", *[10] * 200))
    for _ in range(10):
        run_batch(line, 100)
    line.add(rows(2, "late", *[10] * 200))
    served = tokens_of(run_batch(line, 100)) + tokens_of(run_batch(line, 100))
    assert served == {"early": 100, "late": 100}


def test_a_key_that_was_served_alone_owes_nothing_for_it() -> None:
    """Beside small visitors it went on to gain; another that stays gets no more than its share for that."""
    line = Line(credit=0.0)
    line.add(rows(0, "busy", *[10] * 2_000))
    for visit in range(1, 50):
        line.add(rows(visit, f"visitor {visit}", 10))
        run_batch(line, 100)
    line.add(rows(100, "second", *[10] * 200))
    served = sum((tokens_of(run_batch(line, 100)) for _ in range(4)), Counter())
    assert 100 <= served["busy"] <= 300


def test_a_key_that_had_the_machine_for_itself_goes_before_a_flood_that_comes() -> None:
    """They begin level: the other one took nothing from anybody, and asks for less than half."""
    line = Line(credit=CREDIT)
    for work in range(20):
        line.add(rows(work, "modest", 25))
        run_batch(line, BATCH)
    line.add(rows(100, "flood", *[10] * 1_000))
    for work in range(101, 150):
        line.add(rows(work, "modest", 25))
        assert tokens_of(run_batch(line, BATCH))["modest"] == 25


def test_rows_of_a_key_with_most_of_its_credit_run_apart() -> None:
    line = Line(credit=CREDIT)
    line.add(rows(1, "flood", *[10] * 1_000))
    line.add(rows(2, "modest", 10))
    for _ in range(8):
        run_batch(line, BATCH)
    for moment in range(20):
        line.add(rows(10 + moment, "modest", 10))
        assert tokens_of(run_batch(line, BATCH)) == {"modest": 10}
        assert tokens_of(run_batch(line, BATCH)) == {"flood": 100}


@pytest.mark.parametrize(("credit", "batches"), [(0.0, 8), (1.0 * BATCH, 8), (4.0 * BATCH, 20)])
def test_a_stream_of_new_keys_does_not_keep_an_old_one_waiting(credit: float, batches: int) -> None:
    """Each of them asks for a whole batch, and begins level with the old one."""
    line = Line(credit=credit)
    line.add(rows(0, "old", *[50] * 3))
    for number in range(1, batches + 1):
        line.add(rows(number, f"new {number}", 50, 50))
        run_batch(line, BATCH)
    assert not any(waiting.key == "old" for waiting in line.in_turn())


def test_rows_that_leave_are_not_charged_and_make_room_for_the_next() -> None:
    line = Line(credit=0.0)
    left = rows(1, "a", 10, 10)
    line.add(left)
    line.add(rows(2, "a", 10))
    line.add(rows(3, "b", 10))
    line.discard(left)
    line.discard(left)
    assert [waiting.work for waiting in line.in_turn()] == [2, 3]
    assert len(line) == 2
    assert line.waiting_keys == 2


def falling_behind(line: Line, key: str, *, turns: int) -> None:
    """Of a key that is new beside a flood, and asks little: afterwards it has all of its credit."""
    for turn in range(turns):
        line.add(rows(10_000 + turn, key, 1))
        run_batch(line, BATCH)


def test_a_new_key_is_level_with_those_that_wait() -> None:
    line = Line(credit=CREDIT)
    line.add(rows(1, "old", *[10] * 200))
    for _ in range(5):
        run_batch(line, BATCH)
    line.add(rows(2, "new", *[10] * 200))
    assert tokens_of(run_batch(line, BATCH)) == {"old": 50, "new": 50}


def test_a_key_below_its_share_goes_first_until_its_credit_is_used() -> None:
    line = Line(credit=150.0)
    line.add(rows(1, "flood", *[10] * 200))
    falling_behind(line, "burst", turns=8)
    line.add(rows(2, "burst", *[10] * 50))
    assert tokens_of(run_batch(line, BATCH)) == {"burst": 100}
    later = sum((tokens_of(run_batch(line, BATCH)) for _ in range(4)), Counter())
    assert 0 < later["burst"] - later["flood"] <= 50  # what was left of its credit, and no more


def test_a_key_that_has_used_its_credit_does_not_have_it_again_for_going_away() -> None:
    line = Line(credit=100.0)
    line.add(rows(0, "flood", *[10] * 500))
    run_batch(line, BATCH)
    served: Counter[str] = Counter()
    for visit in range(1, 20):
        line.add(rows(visit, "comes and goes", *[10] * 10))
        batch = run_batch(line, BATCH)
        served += tokens_of(batch)
        line.discard([waiting for waiting in line.in_turn() if waiting.key != "flood"])
    assert served["comes and goes"] <= served["flood"] + 100 + BATCH


def test_keys_are_remembered_for_a_while() -> None:
    line = Line(credit=BATCH / 4)
    line.add(rows(0, "flood", *[10] * 20_000))
    for visit in range(1, 1_000):
        line.add(rows(visit, f"visitor {visit}", 10))
        run_batch(line, BATCH)
        assert line.remembered_keys <= 5
    assert line.waiting_keys == 1


KEYS = ("a", "b", "c")
TOKENS = st.lists(st.integers(1, 40), min_size=1, max_size=8)
ARRIVALS = st.lists(st.lists(st.tuples(st.sampled_from(KEYS), TOKENS), max_size=4), min_size=1, max_size=15)
CREDITS = st.sampled_from([0.0, 50.0, CREDIT])


@given(ARRIVALS, CREDITS)
def test_every_row_runs_once(arrivals: list[list[tuple[str, list[int]]]], credit: float) -> None:
    line = Line(credit=credit)
    number = 0
    given_rows, ran = [], []
    for arriving in [*arrivals, *([[]] * 200)]:
        for key, tokens in arriving:
            number += 1
            new = rows(number, key, *tokens)
            given_rows += new
            line.add(new)
        ran += run_batch(line, BATCH)
    assert len({(waiting.work, waiting.row) for waiting in ran}) == len(ran) == len(given_rows)
    assert len(line) == line.waiting_keys == 0


@given(ARRIVALS, CREDITS)
def test_keys_that_always_wait_are_served_alike_whatever_was_before(
    arrivals: list[list[tuple[str, list[int]]]], credit: float
) -> None:
    """They differ by the credit that one may have had beyond another, once, and by a batch."""
    line = Line(credit=credit)
    for number, arriving in enumerate(arrivals):
        for place, (key, tokens) in enumerate(arriving):
            line.add(rows(10 * number + place, key, *tokens))
        run_batch(line, BATCH)
    for number, key in enumerate(KEYS):
        line.add(rows(1_000 + number, key, *[20] * 250))
    served: Counter[str] = Counter()
    for turn in range(40):
        if turn == 20:  # by now whoever had credit has used it
            served.clear()
        served += tokens_of(run_batch(line, BATCH))
        differ = max(served[key] for key in KEYS) - min(served[key] for key in KEYS)
        assert differ <= (BATCH if turn >= 20 else credit + 2 * BATCH)


@given(st.lists(st.lists(st.tuples(st.integers(1, 5), TOKENS), max_size=5), min_size=10, max_size=30), CREDITS)
def test_a_key_that_always_waits_gets_its_share_whatever_the_others_do(
    arrivals: list[list[tuple[int, list[int]]]], credit: float
) -> None:
    others = 5
    line = Line(credit=credit)
    line.add(rows(0, "waits", *[20] * 150))
    total: Counter[str] = Counter()
    for number, arriving in enumerate(arrivals):
        for place, (key, tokens) in enumerate(arriving):
            line.add(rows(1 + 10 * number + place, f"other {key}", *tokens))
        total += tokens_of(run_batch(line, BATCH))
    assert total["waits"] >= sum(total.values()) / (others + 1) - others * credit - 2 * BATCH


@given(st.integers(1, 3), st.lists(st.lists(st.integers(1, 25), max_size=6), min_size=40, max_size=80))
def test_a_key_at_half_its_share_is_always_taken_at_once(floods: int, bursts: list[list[int]]) -> None:
    """In bursts of up to a batch, in any order, beside keys that always wait."""
    line = Line(credit=CREDIT)
    for flood in range(floods):
        line.add(rows(flood, f"flood {flood}", *[20] * 1_000))
    falling_behind(line, "small", turns=20 * (floods + 1))
    may_ask = float(BATCH)
    for number, burst in enumerate(bursts):
        asked = []
        for tokens in burst:
            if tokens <= may_ask:
                may_ask -= tokens
                asked.append(tokens)
        line.add(rows(10 + number, "small", *asked))
        batch = run_batch(line, BATCH)
        assert tokens_of(batch)["small"] == sum(asked)
        may_ask = min(float(BATCH), may_ask + BATCH / (2 * (floods + 1)))


def test_a_key_with_little_to_ask_is_in_the_next_batch_whatever_others_flood() -> None:
    line = Line(credit=0.0)
    for flooder in range(5):
        line.add(rows(flooder, f"flooder {flooder}", *[10] * 500))
    for moment in range(20):
        line.add(rows(100 + moment, "small", 10))
        assert tokens_of(run_batch(line, 100))["small"] == 10


def test_only_the_rows_near_the_front_are_looked_at() -> None:
    line = Line(credit=0.0)
    for number in range(2_000):
        line.add(rows(number, f"key {number % 7}", *[10] * 10))
    looked_at = 0

    def counted() -> Iterator[Waiting]:
        nonlocal looked_at
        for waiting in line.in_turn():
            looked_at += 1
            yield waiting

    limits = BatchLimits(tokens=1_000, masked=1, size_bytes=0, cost=1_000.0)
    batch = choose(counted(), limits=limits, costs=COSTS, sizes={}, now_s=0.0).batch
    assert len(batch) == 100
    assert looked_at <= LOOKAHEAD * len(batch)

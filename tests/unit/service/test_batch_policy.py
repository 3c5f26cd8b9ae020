"""The batch policy, with plain lists."""

from hypothesis import given
from hypothesis import strategies as st

from madx.manifest import Digest, digest_of
from service.batching import AGEING_TOKENS_PER_S, Waiting, choose

A, B, C = (digest_of(name) for name in (b"a", b"b", b"c"))
SIZES = {A: 10, B: 10, C: 10}


def waiting(
    work: int,
    tokens: int,
    *,
    row: int = 0,
    arrived_s: float | None = None,
    before: int = 0,
    adapters: tuple[Digest, ...] = (),
) -> Waiting:
    arrived = float(work) if arrived_s is None else arrived_s
    return Waiting(work=work, row=row, tokens=tokens, arrived_s=arrived, tokens_before=before, adapters=adapters)


def works(pending: list[Waiting], *, tokens: int = 100, size_bytes: int = 1000) -> list[int]:
    chosen = choose(pending, budget_tokens=tokens, budget_bytes=size_bytes, adapter_bytes=SIZES)
    return [row.work for row in chosen]


def test_nothing_pending_is_no_batch() -> None:
    assert works([]) == []


def test_rows_go_in_the_order_of_arrival_whatever_the_order_they_are_listed_in() -> None:
    assert works([waiting(3, 10), waiting(1, 10), waiting(2, 10)]) == [1, 2, 3]


def test_a_batch_keeps_to_its_tokens_and_smaller_rows_may_pass_one_that_does_not_fit() -> None:
    assert works([waiting(1, 60), waiting(2, 60), waiting(3, 40)]) == [1, 3]


def test_a_batch_keeps_to_its_adapters_bytes() -> None:
    pending = [
        waiting(1, 5, adapters=(A, B)),
        waiting(2, 5, adapters=(C,)),
        waiting(3, 5, adapters=(B,)),
        waiting(4, 5),
    ]
    assert works(pending, size_bytes=20) == [1, 3, 4]


def test_the_first_in_line_is_taken_even_if_nothing_holds_it() -> None:
    assert works([waiting(1, 500), waiting(2, 5)]) == [1]
    assert works([waiting(1, 5, adapters=(A, B)), waiting(2, 5, adapters=(C,))], size_bytes=15) == [1]


def test_a_bulk_request_lets_a_later_small_one_through() -> None:
    bulk = [waiting(1, 100, row=row, arrived_s=0.0, before=100 * row) for row in range(400)]
    later = waiting(2, 100, arrived_s=1.0)
    turn = sorted([*bulk, later], key=lambda row: row.turn).index(later)
    assert turn == 1 + AGEING_TOKENS_PER_S // 100


@given(
    st.lists(st.tuples(st.integers(1, 100), st.floats(0, 10), st.sampled_from([(), (A,), (B, C)])), max_size=40),
    st.integers(1, 100),
    st.integers(0, 40),
)
def test_every_row_runs_once_and_the_first_in_line_always_does(
    rows: list[tuple[int, float, tuple[Digest, ...]]], budget: int, size_bytes: int
) -> None:
    pending = [waiting(i, n, arrived_s=at, adapters=adapters) for i, (n, at, adapters) in enumerate(rows)]
    ran: list[int] = []
    while pending:
        first = min(pending, key=lambda row: row.turn)
        batch = choose(pending, budget_tokens=budget, budget_bytes=size_bytes, adapter_bytes=SIZES)
        assert batch[0] == first
        assert len(batch) == 1 or sum(row.tokens for row in batch) <= budget
        ran += [row.work for row in batch]
        pending = [row for row in pending if row not in batch]
    assert sorted(ran) == list(range(len(rows)))

"""What is refused before it is queued, and when to come again."""

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission import Admission
from service.batching import Costs
from service.errors import BodyTooLarge, QueueFull
from service.metrics import Metrics
from service.readout import AllLogits, Candidates
from service.sharing import SHARED_S
from service.work import AskedRow

COSTS = Costs(seconds_per_token=0.01, masked=3.0)


def row(tokens: int, *, masks: int = 0) -> AskedRow:
    return AskedRow(
        input_ids=(5,) * tokens,
        positions=tuple(range(masks)),
        language=None,
        task=None,
        leave_out=(),
        readout=Candidates(top_k=1) if masks else AllLogits(),
    )


def admission(
    *,
    queue_tokens: int = 1_000,
    queue_s: float = 1e9,
    costs: Costs = COSTS,
    clock: Callable[[], float] = lambda: 0.0,
) -> Admission:
    return Admission(
        costs,
        queue_tokens=queue_tokens,
        queue_s=queue_s,
        batch_tokens=100,
        batch_masked=4,
        metrics=Metrics(),
        clock=clock,
    )


def fill(queue: Admission, key: str, tokens: int) -> int:
    """Requests of so many tokens until one is refused; how many were admitted."""
    for admitted in range(1_000):
        try:
            queue.admit([row(tokens)], key)
        except QueueFull:
            return admitted
    pytest.fail("nothing was refused")


def test_the_queue_holds_its_tokens_and_a_mask_costs_more_than_a_token() -> None:
    assert fill(admission(queue_tokens=100), "", 10) == 10
    queue = admission(queue_tokens=100)
    assert queue.admit([row(10, masks=4)] * 4, "") == 4 * (10 + 12)
    assert fill(queue, "", 10) == 1


def test_the_queue_holds_no_more_than_is_computed_in_its_time() -> None:
    assert fill(admission(queue_s=0.5), "", 10) == 5


def test_a_machine_that_turns_out_faster_has_a_longer_queue() -> None:
    queue = admission(queue_s=0.5)
    queue.ran(cost=1.0, seconds=10.0)
    assert fill(queue, "", 10) == 5
    for _ in range(50):
        queue.ran(cost=200.0, seconds=1.0)
    assert 4 <= fill(queue, "", 10) <= 5


def test_what_is_released_makes_room() -> None:
    queue = admission(queue_tokens=100)
    cost = queue.admit([row(50), row(50)], "")
    with pytest.raises(QueueFull):
        queue.admit([row(1)], "")
    queue.release(cost, "")
    assert fill(queue, "", 10) == 10


def test_to_an_empty_queue_everything_comes_that_may_come_at_all() -> None:
    queue = admission(queue_tokens=500, queue_s=1.0)
    cost = queue.admit([row(90)] * 5, "a")
    with pytest.raises(QueueFull):
        queue.admit([row(1)], "b")
    queue.release(cost, "a")
    with pytest.raises(BodyTooLarge, match="whole queue"):
        queue.admit([row(90)] * 6, "a")


def test_a_request_larger_than_the_queue_comes_in_where_a_quarter_is_free() -> None:
    queue = admission(queue_tokens=10_000, queue_s=4.0)
    large = [row(100)] * 20  # five times what is computed in 4 s
    held = [queue.admit([row(10)], "") for _ in range(31)]
    assert not queue.fits(large, "")
    with pytest.raises(QueueFull):
        queue.admit(large, "")
    queue.release(held.pop(), "")
    assert queue.fits(large, "")
    assert queue.admit(large, "") == 2_000
    assert not queue.fits([row(1)], "")


def test_beside_one_key_that_floods_the_queue_any_request_of_another_comes_in() -> None:
    queue = admission(queue_tokens=9_000)
    fill(queue, "flood", 10)
    assert queue.fits([row(100)] * 90, "second")
    assert queue.admit([row(100)] * 90, "second") == 9_000
    assert not queue.fits([row(10)], "third")


def test_a_look_refuses_nothing() -> None:
    metrics = Metrics()
    queue = Admission(COSTS, queue_tokens=100, queue_s=1e9, batch_tokens=100, batch_masked=4, metrics=metrics)
    cost = queue.admit([row(100)], "")
    assert not queue.fits([row(1)], "")
    assert metrics.value("glossa_rejections_total", reason="queue_full") is None
    queue.release(cost, "")
    assert queue.fits([row(1)], "")


def test_what_fits_no_batch_is_refused_for_good() -> None:
    queue = admission()
    with pytest.raises(BodyTooLarge, match="a row of 101 tokens fits no batch"):
        queue.admit([row(3), row(101)], "")
    with pytest.raises(BodyTooLarge, match="5 masks fits no batch"):
        queue.admit([row(10, masks=5)], "")


def test_a_key_that_floods_the_queue_leaves_room_for_others() -> None:
    queue = admission(queue_tokens=9_000)
    assert fill(queue, "flood", 10) == 600
    assert fill(queue, "second", 10) == 90
    assert fill(queue, "third", 10) >= 60
    with pytest.raises(QueueFull, match="this key"):
        queue.check_room("flood")
    queue.check_room("fourth")


def test_a_key_that_shares_holds_a_tenth_of_the_queue() -> None:
    queue = admission(queue_tokens=9_000)
    cost = queue.admit([row(10)], "modest")
    assert fill(queue, "flood", 10) == 90
    queue.release(cost, "modest")
    assert fill(queue, "flood", 10) == 0
    assert queue.admit([row(100)] * 60, "large") == 6_000  # the first of a key is not cut


def test_a_key_shares_until_the_others_have_asked_nothing_for_a_while() -> None:
    now_s = 0.0
    queue = admission(queue_tokens=9_000, clock=lambda: now_s)
    queue.release(queue.admit([row(10)], "modest"), "modest")
    now_s = SHARED_S
    assert fill(queue, "flood", 10) == 90
    now_s = SHARED_S + 0.1
    assert fill(queue, "flood", 10) == 600 - 90


def test_without_keys_all_of_the_queue_is_for_all() -> None:
    assert fill(admission(queue_tokens=900), "", 10) == 90


def test_a_full_queue_is_seen_before_anything_is_tokenised() -> None:
    queue = admission(queue_tokens=1_000)
    queue.check_room("")
    cost = queue.admit([row(99)] * 10, "")
    with pytest.raises(QueueFull):
        queue.check_room("")
    queue.release(cost, "")
    queue.check_room("")


def test_the_time_to_come_again_follows_the_measured_rate() -> None:
    def told(tokens_per_s: float) -> int:
        queue = admission(queue_tokens=1_000)
        queue.admit([row(100)] * 10, "")
        for _ in range(50):
            queue.ran(cost=tokens_per_s, seconds=1.0)
        with pytest.raises(QueueFull) as refused:
            queue.admit([row(100)], "")
        return refused.value.retry_after_s

    assert told(100.0) == 5
    assert told(25.0) == 20
    assert told(1e6) == 1
    assert told(0.01) == 60


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.integers(1, 90), st.booleans()), max_size=60),
    st.floats(0.0, 0.4),
)
def test_nothing_is_lost_count_of(requests: list[tuple[str, int, bool]], attention: float) -> None:
    metrics = Metrics()
    costs = replace(COSTS, attention=attention)
    queue = Admission(costs, queue_tokens=400, queue_s=1e9, batch_tokens=100, batch_masked=4, metrics=metrics)
    held = []
    for key, tokens, one_goes in requests:
        with contextlib.suppress(QueueFull, BodyTooLarge):
            held.append((queue.admit([row(tokens)], key), key))
        if one_goes and held:
            queue.release(*held.pop(0))
        assert (metrics.value("glossa_queue_tokens") or 0.0) == pytest.approx(sum(cost for cost, _ in held), abs=1e-6)
    for cost, key in held:
        queue.release(cost, key)
    assert metrics.value("glossa_queue_requests") == 0
    assert metrics.value("glossa_queue_tokens") == 0
    assert fill(queue, "a", 1) > 0

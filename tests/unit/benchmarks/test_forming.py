"""Batches of our side of a race: as many as the server would take, every row in exactly one."""

from benchmarks.forming import Policy, of_tokens
from benchmarks.traffic import Ask, asks, take, tokens_of
from madx.plan import BARE, RowStack, Slot
from service.batching import BatchLimits, Costs

LIMITS = BatchLimits(tokens=4_096, masked=1, size_bytes=1 << 60, cost=250.0)
COSTS = Costs(seconds_per_token=0.001, language=20.0, task=2.0)


def rows() -> list[Ask]:
    return take(asks(vocab_size=300, languages=16, tasks=32, seed=5), 2_000)


def stack_of(ask: Ask) -> RowStack:
    return RowStack(language=Slot(1 + ask.language), task=Slot(100 + ask.task))


def test_every_row_is_in_one_batch_of_the_policy() -> None:
    asked = rows()
    formed = Policy(costs=COSTS, limits=LIMITS, lanes=1)(asked, stack_of)
    assert sorted(ask.number for batch in formed for ask in batch) == [ask.number for ask in asked]
    for batch in formed:
        adapters = {stack_of(ask) for ask in batch}
        languages, tasks = {stack.language for stack in adapters}, {stack.task for stack in adapters}
        cost = tokens_of(batch) + 20 * len(languages) + 2 * len(tasks)
        assert cost <= LIMITS.cost or len(batch) == 1


def test_adapters_make_a_batch_smaller_and_bare_rows_fill_it() -> None:
    policy = Policy(costs=COSTS, limits=LIMITS, lanes=1)
    mixed, alike, bare = (
        len(policy(rows(), stack)) for stack in (stack_of, lambda _: stack_of(rows()[0]), lambda _: BARE)
    )
    assert mixed > alike >= bare


def test_named_tokens_are_the_only_bound() -> None:
    formed = of_tokens(600)(rows(), stack_of)
    assert [ask.number for batch in formed for ask in batch] == [ask.number for ask in rows()]
    assert max(tokens_of(batch) for batch in formed) > 500

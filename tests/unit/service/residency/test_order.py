"""What leaves the device first, as a pure order."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from madx.manifest import Digest
from service.residency.order import PROVEN, EvictionOrder

LIMIT_BYTES = 100


def name(number: int) -> Digest:
    return Digest(f"{number:064x}")


def numbers(order: Iterable[Digest]) -> list[int]:
    return [int(digest, 16) for digest in order]


class Memory:
    """Makes room in the order's order, as the device does where nothing is in use."""

    def __init__(self) -> None:
        self.order = EvictionOrder(LIMIT_BYTES)
        self.sizes: dict[Digest, int] = {}
        self.num_loads = 0

    def want(self, number: int, size_bytes: int = 10) -> None:
        digest = name(number)
        if digest in self.sizes:
            self.order.want(digest)
            return
        while sum(self.sizes.values()) + size_bytes > LIMIT_BYTES:
            leaving = next(iter(self.order))
            self.order.discard(leaving)
            del self.sizes[leaving]
        self.sizes[digest] = size_bytes
        self.order.add(digest, size_bytes)
        self.num_loads += 1


def test_who_was_wanted_once_leaves_before_who_was_wanted_again() -> None:
    memory = Memory()
    for number in (1, 2, 3, 1, 4):
        memory.want(number)
    assert numbers(memory.order) == [2, 3, 4, 1]


def test_passers_by_do_not_drive_out_regulars() -> None:
    """A plain LRU of ten places would load each of the five anew every time."""
    memory = Memory()
    for regular in [*range(5)] * 2:
        memory.want(regular)
    for turn in range(20):
        for regular in range(5):
            memory.want(regular)
        for passer_by in range(20):
            memory.want(1000 + 20 * turn + passer_by)
    assert memory.num_loads == 5 + 20 * 20


def test_yesterdays_regulars_leave_for_todays() -> None:
    memory = Memory()
    for _ in range(100):
        for regular in range(8):
            memory.want(regular)
    for _ in range(20):
        for regular in range(100, 108):
            memory.want(regular)
            memory.want(regular)
    before = memory.num_loads
    for regular in range(100, 108):
        memory.want(regular)
    assert memory.num_loads == before


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 60))))
def test_each_is_there_once_and_regulars_have_their_share_at_most(wanted: list[tuple[int, int]]) -> None:
    memory = Memory()
    for number, size_bytes in wanted:
        memory.want(number, size_bytes)
        listed = list(memory.order)
        assert len(listed) == len(set(listed))
        assert set(listed) == memory.sizes.keys()
        proven = sum(memory.sizes[digest] for digest in memory.order._proven)
        assert proven == memory.order._proven_bytes <= PROVEN * LIMIT_BYTES

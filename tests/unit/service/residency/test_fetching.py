"""Reads that hang: what they cost others, and when they are given up."""

import threading
from collections.abc import Callable, Iterator

import pytest

from registry.errors import StoreUnavailable
from service.residency.fetching import Came, Fetch, Fetches, NotBegun
from tests.support.served import PATIENCE_S


class Ended:
    """What came of one fetch."""

    def __init__(self) -> None:
        self.outcomes: list[str | Exception] = []
        self._event = threading.Event()

    def __call__(self, _fetch: Fetch[str], outcome: str | Exception) -> None:
        self.outcomes.append(outcome)
        self._event.set()

    def outcome(self) -> str | Exception:
        assert self._event.wait(PATIENCE_S)
        return self.outcomes[0]


class Clock:
    """Stands still unless a test moves it."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def hanging(gate: threading.Event) -> Callable[[Came], str]:
    def read(_came: Came) -> str:
        gate.wait(PATIENCE_S)
        return "late"

    return read


def test_content_and_failures_reach_the_one_who_waits() -> None:
    fetches: Fetches[str] = Fetches(at_once=2, timeout_s=PATIENCE_S)

    def broken(_came: Came) -> str:
        raise ValueError("broken")

    sound, failed = Ended(), Ended()
    fetches.start(lambda _: "content", sound)
    fetches.start(broken, failed)
    assert sound.outcome() == "content"
    assert isinstance(failed.outcome(), ValueError)
    fetches.close()


def test_reads_that_hang_leave_their_places_to_others(gate: threading.Event) -> None:
    fetches: Fetches[str] = Fetches(at_once=2, timeout_s=PATIENCE_S, slow_after_s=0.05)
    stuck = [Ended() for _ in range(10)]
    for ended in stuck:
        fetches.start(hanging(gate), ended)
    sound = Ended()
    fetches.start(lambda _: "content", sound)
    assert sound.outcome() == "content"
    assert not any(ended.outcomes for ended in stuck)
    fetches.close()


def test_no_more_than_so_many_are_in_memory_at_once() -> None:
    """A place is taken until the content is used, not only while it is read."""
    fetches: Fetches[str] = Fetches(at_once=2, timeout_s=PATIENCE_S, slow_after_s=PATIENCE_S)
    held: list[Fetch[str]] = []
    began, all_held = threading.Semaphore(0), threading.Event()

    def read(_came: Came) -> str:
        began.release()
        return "content"

    def keep(fetch: Fetch[str], _outcome: str | Exception) -> None:
        held.append(fetch)
        if len(held) >= 2:
            all_held.set()

    for _ in range(3):
        fetches.start(read, keep)
    assert all_held.wait(PATIENCE_S)
    assert began.acquire(timeout=PATIENCE_S)
    assert began.acquire(timeout=PATIENCE_S)
    assert not began.acquire(timeout=0.1)
    fetches.leave(held[0])
    assert began.acquire(timeout=PATIENCE_S)
    fetches.close()


def test_a_read_that_hangs_is_given_up_once_and_its_late_end_changes_nothing(gate: threading.Event) -> None:
    fetches: Fetches[str] = Fetches(at_once=1, timeout_s=0.2, slow_after_s=0.05)
    ended = Ended()
    finished = threading.Event()

    def read(_came: Came) -> str:
        gate.wait(PATIENCE_S)
        finished.set()
        return "late"

    fetches.start(read, ended)
    assert isinstance(ended.outcome(), StoreUnavailable)
    gate.set()
    assert finished.wait(PATIENCE_S)
    after = Ended()
    fetches.start(lambda _: "content", after)
    assert after.outcome() == "content"
    assert len(ended.outcomes) == 1
    fetches.close()


def test_what_waits_for_a_place_is_given_up_as_not_begun(gate: threading.Event) -> None:
    clock = Clock()
    fetches: Fetches[str] = Fetches(at_once=1, timeout_s=10.0, slow_after_s=PATIENCE_S, clock=clock)
    first, second = Ended(), Ended()
    fetches.start(hanging(gate), first)
    fetches.start(hanging(gate), second)
    clock.now_s += 11.0
    assert isinstance(first.outcome(), StoreUnavailable)
    assert isinstance(second.outcome(), NotBegun)
    fetches.close()


def test_closing_gives_up_what_has_not_begun(gate: threading.Event) -> None:
    fetches: Fetches[str] = Fetches(at_once=1, timeout_s=PATIENCE_S, slow_after_s=PATIENCE_S)
    first, second = Ended(), Ended()
    fetches.start(hanging(gate), first)
    fetches.start(hanging(gate), second)
    fetches.close()
    assert isinstance(second.outcome(), NotBegun)
    third = Ended()
    fetches.start(lambda _: "content", third)
    assert isinstance(third.outcome(), NotBegun)


class Trickle:
    """A read whose bytes come when the test lets them."""

    def __init__(self) -> None:
        self.ended = Ended()
        self.error: Exception | None = None
        self._pieces, self._taken = threading.Semaphore(0), threading.Semaphore(0)
        self._is_last = False
        self.over = threading.Event()

    def __call__(self, came: Came) -> str:
        try:
            while not self._is_last:
                assert self._pieces.acquire(timeout=PATIENCE_S)
                came()
                self._taken.release()
        except Exception as error:
            self.error = error
            raise
        finally:
            self.over.set()
            self._taken.release()
        return "content"

    def piece(self, *, last: bool = False) -> None:
        self._is_last = last
        self._pieces.release()
        assert self._taken.acquire(timeout=PATIENCE_S)


def test_a_thin_line_neither_ends_a_read_nor_takes_its_place() -> None:
    """It takes longer than either limit in all, but bytes keep coming."""
    clock = Clock()
    fetches: Fetches[str] = Fetches(at_once=1, timeout_s=10.0, slow_after_s=1.0, stalled_after_s=5.0, clock=clock)
    slow, next_ = Trickle(), Ended()
    fetches.start(slow, slow.ended)
    for _ in range(10):
        slow.piece()
        clock.now_s += 4.0
        assert not slow.over.wait(0.15)  # the watch looks every 0.1 s
    fetches.start(lambda _: "content", next_)
    assert not next_.outcomes
    slow.piece(last=True)
    assert slow.ended.outcome() == "content"
    assert not next_.outcomes  # the first one's content is not used yet
    fetches.close()


def test_what_was_slow_counts_again_when_its_content_has_come(gate: threading.Event) -> None:
    """However slow a store is, no more lies in memory than there are places for."""
    fetches: Fetches[str] = Fetches(at_once=1, timeout_s=PATIENCE_S, slow_after_s=0.05)
    held: list[Fetch[str]] = []
    all_held = threading.Event()

    def keep(fetch: Fetch[str], _outcome: str | Exception) -> None:
        held.append(fetch)
        if len(held) == 3:
            all_held.set()

    began = threading.Semaphore(0)

    def read(_came: Came) -> str:
        began.release()
        gate.wait(PATIENCE_S)
        return "late"

    for _ in range(3):
        fetches.start(read, keep)
    for _ in range(3):
        assert began.acquire(timeout=PATIENCE_S)  # each lost its place to the next
    gate.set()
    assert all_held.wait(PATIENCE_S)
    last = Ended()
    fetches.start(lambda _: "content", last)
    for fetch in held:
        assert not last.outcomes
        fetches.leave(fetch)
    assert last.outcome() == "content"
    fetches.close()


def test_a_read_that_was_given_up_ends_with_its_next_bytes() -> None:
    fetches: Fetches[str] = Fetches(at_once=1, timeout_s=0.2, slow_after_s=0.05)
    stuck = Trickle()
    fetches.start(stuck, stuck.ended)
    assert isinstance(stuck.ended.outcome(), StoreUnavailable)
    stuck.piece()
    assert stuck.over.wait(PATIENCE_S)
    assert stuck.error is not None
    fetches.close()


def test_a_system_without_threads_costs_a_wait_and_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    fetches: Fetches[str] = Fetches(at_once=1, timeout_s=PATIENCE_S)
    start, refused = threading.Thread.start, threading.Event()

    def none_left(thread: threading.Thread) -> None:
        refused.set()
        raise RuntimeError("can't start new thread")

    ended = Ended()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        fetches.start(lambda _: "content", ended)
        assert refused.is_set()
    assert threading.Thread.start is start
    assert ended.outcome() == "content"
    fetches.close()

"""Reads that hang: what they cost others, and when they are given up."""

import threading
from collections.abc import Callable, Iterator

import pytest

from registry.errors import StoreUnavailable
from service.residency.fetching import Fetch, Fetches
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


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def hanging(gate: threading.Event) -> Callable[[], str]:
    def read() -> str:
        gate.wait(PATIENCE_S)
        return "late"

    return read


def test_content_and_failures_reach_the_one_who_waits() -> None:
    fetches: Fetches[str] = Fetches(at_once=2, timeout_s=PATIENCE_S)

    def broken() -> str:
        raise ValueError("broken")

    sound, failed = Ended(), Ended()
    fetches.start(lambda: "content", sound)
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
    fetches.start(lambda: "content", sound)
    assert sound.outcome() == "content"
    assert not any(ended.outcomes for ended in stuck)
    fetches.close()


def test_no_more_than_so_many_are_in_memory_at_once() -> None:
    """A place is taken until the content is used, not only while it is read."""
    fetches: Fetches[str] = Fetches(at_once=2, timeout_s=PATIENCE_S, slow_after_s=PATIENCE_S)
    held: list[Fetch[str]] = []
    began, all_held = threading.Semaphore(0), threading.Event()

    def read() -> str:
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

    def read() -> str:
        gate.wait(PATIENCE_S)
        finished.set()
        return "late"

    fetches.start(read, ended)
    assert isinstance(ended.outcome(), StoreUnavailable)
    gate.set()
    assert finished.wait(PATIENCE_S)
    after = Ended()
    fetches.start(lambda: "content", after)
    assert after.outcome() == "content"
    assert len(ended.outcomes) == 1
    fetches.close()


def test_what_waits_for_a_place_is_given_up_too(gate: threading.Event) -> None:
    fetches: Fetches[str] = Fetches(at_once=1, timeout_s=0.2, slow_after_s=PATIENCE_S)
    first, second = Ended(), Ended()
    fetches.start(hanging(gate), first)
    fetches.start(hanging(gate), second)
    assert isinstance(first.outcome(), StoreUnavailable)
    assert isinstance(second.outcome(), StoreUnavailable)
    fetches.close()


def test_closing_gives_up_what_has_not_begun(gate: threading.Event) -> None:
    fetches: Fetches[str] = Fetches(at_once=1, timeout_s=PATIENCE_S, slow_after_s=PATIENCE_S)
    first, second = Ended(), Ended()
    fetches.start(hanging(gate), first)
    fetches.start(hanging(gate), second)
    fetches.close()
    assert isinstance(second.outcome(), StoreUnavailable)

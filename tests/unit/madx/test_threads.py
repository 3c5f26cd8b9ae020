"""Threads that compute by themselves, beside threads that go on computing with as many as before."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from madx.bank import Bank
from madx.lanes import Lanes
from madx.plan import RowStack
from madx.rounding import infer_rounded
from madx.threads import OneThread
from tests.support.network import CONFIG, make_network, make_rows


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as others:
        return others.submit(torch.get_num_threads).result()


def test_a_thread_computes_by_itself_and_others_as_before() -> None:
    with ThreadPoolExecutor(1, initializer=OneThread().begin) as loaders:
        assert loaders.submit(torch.get_num_threads).result() == 1
        assert threads_of_a_new_thread() == torch.get_num_threads() == 3


def infer_bare() -> int:
    return len(infer_rounded(make_network(), Bank(CONFIG), make_rows([20, 20], [RowStack()])))


def test_lanes_compute_each_by_itself_and_leave_other_threads_as_they_were() -> None:
    """Else the next engine of the process, in a thread of its own, would compute on one core."""
    lanes = Lanes(2)
    together = threading.Barrier(2)

    def seen() -> tuple[str, int]:
        together.wait(60)
        return threading.current_thread().name, torch.get_num_threads()

    found = [lanes.submit(seen) for _ in range(2)]
    assert {future.result(60) for future in found} == {("glossa-lane-0", 1), ("glossa-lane-1", 1)}
    assert lanes.submit(infer_bare).result(60) == 2
    assert threads_of_a_new_thread() == torch.get_num_threads() == 3


def test_lanes_end_with_their_owner_and_keep_no_process_alive() -> None:
    before = set(threading.enumerate())
    lanes = Lanes(2)
    threads = [thread for thread in threading.enumerate() if thread not in before]
    assert [thread.daemon for thread in threads] == [True, True]
    assert lanes.submit(infer_bare).result(60) == 2
    del lanes
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_lane_that_fails_tells_so_and_goes_on_and_the_other_waits_for_nobody() -> None:
    lanes = Lanes(2)
    going_on = threading.Event()

    def broken() -> None:
        raise SystemExit

    held = lanes.submit(lambda: going_on.wait(60))
    for _ in range(3):
        assert isinstance(lanes.submit(broken).exception(60), SystemExit)
    assert lanes.submit(infer_bare).result(60) == 2
    assert not held.done()
    going_on.set()
    assert held.result(60)

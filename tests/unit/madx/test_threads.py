"""Threads that compute by themselves, beside threads that go on computing with as many as before."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from madx.bank import Bank
from madx.lanes import Lanes
from madx.plan import RowStack
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


def test_lanes_leave_other_threads_as_they_were() -> None:
    """Else the next engine of the process, in a thread of its own, would compute on one core."""
    lanes = Lanes(2)
    try:
        lanes.infer(make_network(), Bank(CONFIG), make_rows([20, 20, 20, 20], [RowStack()]))
        assert threads_of_a_new_thread() == torch.get_num_threads() == 3
    finally:
        lanes.close()

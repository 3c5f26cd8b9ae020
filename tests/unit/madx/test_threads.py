"""Threads that compute by themselves, beside threads that go on computing with as many as before."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from madx.adapter import Adapter
from madx.bank import Bank
from madx.config import language_config
from madx.lanes import Lanes
from madx.plan import RowStack, Slot
from madx.threads import OneThread
from tests.support.network import CONFIG, make_network, make_rows
from tests.support.tiny import make_adapter


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
    lanes.infer(make_network(), Bank(CONFIG), make_rows([20, 20, 20, 20], [RowStack()]))
    assert threads_of_a_new_thread() == torch.get_num_threads() == 3


def test_lanes_end_with_their_owner_and_keep_no_process_alive() -> None:
    before = set(threading.enumerate())
    lanes = Lanes(2)
    threads = [thread for thread in threading.enumerate() if thread not in before]
    assert [thread.daemon for thread in threads] == [True, True]
    lanes.infer(make_network(), Bank(CONFIG), make_rows([20, 20, 20, 20], [RowStack()]))
    del lanes
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_lane_that_fails_is_waited_for_with_the_others_and_goes_on() -> None:
    lanes = Lanes(2)
    backbone, bank = make_network(), Bank(CONFIG)
    running, going_on = threading.Event(), threading.Event()
    good = make_rows([20, 20], [RowStack()])
    ended: list[bool] = []

    class Gated(Bank):
        """Of two parts, one fails at once, the other when the test lets it go on."""

        def __getitem__(self, slot: Slot) -> Adapter:
            if slot == 1:
                raise RuntimeError("broken")
            running.set()
            assert going_on.wait(60)
            ended.append(True)
            return super().__getitem__(slot)

    gated = Gated(CONFIG)
    for seed in range(2):
        gated.add(gated.stage(make_adapter(CONFIG, language_config(), seed=seed)))

    def release() -> None:
        assert running.wait(60)
        going_on.set()

    releaser = threading.Thread(target=release)
    releaser.start()
    with pytest.raises(RuntimeError, match="broken"):
        lanes.infer(backbone, gated, make_rows([20, 20], [RowStack(language=Slot(1)), RowStack(language=Slot(2))]))
    releaser.join()
    assert ended
    assert len(lanes.infer(backbone, bank, good)) == 2

"""Host memory keeps what the device copies from, counts the bytes it takes, and lets the longest unwanted go first."""

import torch

from madx.adapter import Adapter
from madx.config import language_config
from madx.flat import flatten
from madx.manifest import Digest
from service.metrics import Metrics
from service.residency.host import HostMemory, held_bytes
from tests.support.network import CONFIG


def digest(number: int) -> Digest:
    return Digest(f"{number:064x}")


def adapter() -> Adapter:
    return Adapter(language_config(), None, CONFIG)


class Kept:
    """Host memory with room for `number` adapters in half precision, each in one buffer as the bank makes it."""

    def __init__(self, number: float) -> None:
        self.metrics = Metrics()
        self.one_bytes = held_bytes(self.half(adapter()))
        limit_bytes = int(number * self.one_bytes)
        self.memory = HostMemory(limit_bytes=limit_bytes, host_copy=self.half, metrics=self.metrics)

    def half(self, whole: Adapter) -> Adapter:
        tensors = whole.state_dict()
        copy = adapter()
        halves = flatten(tensors, dict.fromkeys(tensors, torch.bfloat16), page_locked=False)
        copy.load_state_dict(halves, assign=True)
        return copy

    def keep(self, number: int) -> Adapter:
        return self.memory.keep(digest(number), adapter())

    def there(self) -> list[int]:
        """Asks for each, in order."""
        return [number for number in range(10) if self.memory.find(digest(number)) is not None]


def test_what_is_kept_is_the_copy_that_the_device_reads() -> None:
    kept = Kept(2)
    given = kept.keep(1)
    assert kept.memory.find(digest(1)) is given
    assert {tensor.dtype for tensor in given.state_dict().values()} == {torch.bfloat16}
    assert kept.memory.used_bytes == kept.one_bytes
    numbers = sum(tensor.numel() for tensor in given.state_dict().values())
    assert 2 * numbers <= kept.one_bytes < 3 * numbers


def test_the_longest_unwanted_goes_first() -> None:
    kept = Kept(2.5)
    kept.keep(1)
    kept.keep(2)
    assert kept.memory.find(digest(1)) is not None
    kept.keep(3)
    assert kept.there() == [1, 3]
    assert kept.memory.used_bytes == 2 * kept.one_bytes <= kept.memory.limit_bytes
    assert kept.metrics.value("glossa_evictions_total", tier="host") == 1


def test_the_same_is_kept_once() -> None:
    kept = Kept(2)
    first = kept.keep(1)
    kept.keep(1)
    assert kept.memory.find(digest(1)) is first
    assert (len(kept.memory), kept.memory.used_bytes) == (1, kept.one_bytes)


def test_what_does_not_fit_at_all_goes_to_the_device_all_the_same() -> None:
    kept = Kept(0.5)
    assert {tensor.dtype for tensor in kept.keep(1).state_dict().values()} == {torch.bfloat16}
    assert (len(kept.memory), kept.memory.used_bytes) == (0, 0)


def test_without_a_limit_nothing_is_copied() -> None:
    kept, given = Kept(0), adapter()
    assert kept.memory.keep(digest(1), given) is given
    assert kept.memory.find(digest(1)) is None

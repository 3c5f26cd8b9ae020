"""Adapters that leave a CUDA device come back from page-locked memory, and run as they did before."""

import pytest
import torch

from madx.bank import Bank, Staged
from madx.checkpoint import from_safetensors
from madx.flat import buffer_of
from madx.manifest import Digest
from madx.precision import BFLOAT16
from registry.values import Version
from service.metrics import Metrics
from service.residency.device import DeviceMemory
from service.residency.fetching import Came
from service.residency.host import HostMemory
from service.residency.loading import Loading
from service.residency.places import Lease
from service.residency.reading import StoreReader, Weights
from tests.support.served import PATIENCE_S, Home, make_home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("served"))


class Tiers:
    """A device with room for one language adapter, and host memory behind it."""

    def __init__(self, home: Home, device: torch.device) -> None:
        self.home, self.metrics = home, Metrics()
        self.bank = Bank(home.loaded.config, device=device, precision=BFLOAT16)
        self.asked: list[str] = []
        version = home.version("en")
        largest = self.bank.stage(from_safetensors(self.content(version), version.manifest, home.loaded.config))
        self.device: DeviceMemory[Staged] = DeviceMemory(
            self.bank, limit_bytes=largest.size_bytes, metrics=self.metrics, clock=lambda: 0.0
        )
        self.host = HostMemory(limit_bytes=1 << 20, host_copy=self.bank.host_copy, metrics=self.metrics)
        self.loading = Loading(
            device=self.device,
            host=self.host,
            read=self.read,
            read_cached=None,
            decode=lambda version, content: from_safetensors(content, version.manifest, home.loaded.config),
            stage=self.bank.stage,
            threads=1,
            fetches=1,
            timeout_s=PATIENCE_S,
            metrics=self.metrics,
        )

    def content(self, version: Version) -> bytes:
        with self.home.registry() as registry:
            return StoreReader(registry, None)(version, lambda: None).content

    def read(self, version: Version, _came: Came) -> Weights:
        self.asked.append(version.reference)
        return Weights(content=self.content(version), source="store")

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """Of an adapter in its slot, on the CPU."""
        lease: Lease = self.loading.want(self.home.version(name)).result(PATIENCE_S)
        with self.device.slots_of({lease.digest: lease}) as slots:
            state = self.bank[slots[lease.digest]].state_dict()
            return {name: tensor.cpu() for name, tensor in state.items()}

    def digest(self, name: str) -> Digest:
        return self.home.version(name).manifest_digest


def test_what_left_the_device_comes_back_from_page_locked_memory(home: Home, device: torch.device) -> None:
    tiers = Tiers(home, device)
    first = tiers.weights("en")
    kept = tiers.host.find(tiers.digest("en"))
    assert kept is not None
    buffer = buffer_of(kept.state_dict())
    assert buffer is not None
    assert buffer.is_pinned()
    assert tiers.host.used_bytes == 1 << (buffer.numel() - 1).bit_length()
    assert not tiers.device.places()[0].in_use
    # Its slot can only be taken back by a turn, which is taken while the next one waits for room.
    coming = tiers.loading.want(tiers.home.version("sw"))
    while not coming.done():
        tiers.device.reclaim()
    del coming
    assert tiers.digest("en") not in tiers.device
    again = tiers.loading.want(tiers.home.version("en"))
    while not again.done():
        tiers.device.reclaim()
    found = tiers.weights("en")
    assert tiers.asked == ["en@1", "sw@1"]
    assert tiers.metrics.value("glossa_adapter_loads_total", result="ok", source="host") == 1
    assert found.keys() == first.keys()
    assert all(torch.equal(found[name], first[name]) for name in first)
    tiers.loading.close()

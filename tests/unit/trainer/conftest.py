"""One tiny backbone for all tests of the trainer, and a fresh registry for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from madx.loading import LoadedBackbone, load_backbone
from tests.support.tiny import make_backbone
from tests.support.training import workplace
from trainer.jobs.workplace import Workplace


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine, threads that wait for each other make tiny matrices many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedBackbone:
    return load_backbone(make_backbone(tmp_path_factory.mktemp("backbone") / "tiny"))


@pytest.fixture
def place(tmp_path: Path, tiny_loaded: LoadedBackbone) -> Iterator[Workplace]:
    made = workplace(tmp_path / "home", tiny_loaded)
    yield made
    made.registry.close()

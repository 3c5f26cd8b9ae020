"""One tiny backbone for all tests of the trainer, and a fresh registry for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from madx.loading import LoadedBackbone, load_backbone
from tests.support.tiny import make_backbone
from tests.support.training import workplace
from trainer.jobs.workplace import Workplace


@pytest.fixture(scope="session")
def tiny_loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedBackbone:
    return load_backbone(make_backbone(tmp_path_factory.mktemp("backbone") / "tiny"))


@pytest.fixture
def place(tmp_path: Path, tiny_loaded: LoadedBackbone) -> Iterator[Workplace]:
    made = workplace(tmp_path / "home", tiny_loaded)
    yield made
    made.registry.close()

"""Each attack on publishing is refused with exactly its code, takes little memory, and leaves nothing behind."""

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from madx.errors import GlossaError
from madx.manifest import to_bytes
from registry.models import Table
from registry.publish import prepare, publish, too_long
from registry.registry import Registry, open_registry
from registry.weights_gate import check_header
from registry.weights_header import header_end
from tests.support.attacks.attack import Attack, add_attacked_backbones, right_manifest, right_weights
from tests.support.attacks.corpus import all_attacks
from tests.support.made_adapters import written

ATTACKS = all_attacks()
# A manifest of a megabyte of empty objects takes most of it; weights take a tenth.
MOST_MEMORY_BYTES = 32 << 20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacked")


@pytest.fixture(scope="module")
def attacked(home: Path) -> Iterator[Registry]:
    opened = open_registry(home)
    add_attacked_backbones(opened)
    yield opened
    opened.close()


def rows(registry: Registry) -> dict[str, int]:
    with registry.database.reading() as session:
        tables = Table.metadata.tables.items()
        return {name: session.scalar(select(func.count()).select_from(table)) or 0 for name, table in tables}


def files(folder: Path) -> list[str]:
    """All but the database's own."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [name for name in found if not name.startswith("registry.sqlite")]


def test_names_are_distinct() -> None:
    names = [attack.name for attack in ATTACKS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("attack", ATTACKS, ids=[ascii(attack.name) for attack in ATTACKS])
def test_is_refused(attack: Attack, attacked: Registry, home: Path, tmp_path: Path) -> None:
    manifest, weights = attack.make()
    path = written(tmp_path / "weights", weights)
    del weights
    before = rows(attacked)
    tracemalloc.start()
    try:
        with pytest.raises(GlossaError) as caught:
            publish(attacked, manifest, path, name="attacked")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == attack.code, str(caught.value)[:500]
    assert len(str(caught.value).encode()) < 2_000
    assert peak_bytes < MOST_MEMORY_BYTES
    assert rows(attacked) == before
    assert list(attacked.store.list()) == []
    assert files(home) == []


@pytest.mark.parametrize("attack", ATTACKS, ids=[ascii(attack.name) for attack in ATTACKS])
def test_is_refused_as_it_arrives(attack: Attack, attacked: Registry, tmp_path: Path) -> None:
    """As through HTTP: first the header, against the size that the manifest names, then the rest."""
    manifest, weights = attack.make()

    def arrive() -> None:
        prepared = prepare(attacked, manifest, name="attacked")
        begun, named_bytes = weights[: header_end(weights)], prepared.manifest.weights.size_bytes
        if len(begun) > named_bytes:  # what comes is staged first, and no more than that
            raise too_long(prepared)
        check_header(io.BytesIO(begun), prepared.expected, file_bytes=named_bytes)
        publish(attacked, manifest, written(tmp_path / "weights", weights), name="attacked")

    with pytest.raises(GlossaError) as caught:
        arrive()
    assert caught.value.code == attack.streamed_code, str(caught.value)[:500]


def test_what_the_attacks_start_from_is_published(registry: Registry, tmp_path: Path) -> None:
    """Else an attack might be refused for something else."""
    path = written(tmp_path / "weights", right_weights())
    assert publish(registry, to_bytes(right_manifest()), path, name="attacked").created

"""The crowded registry of the benchmark is one that publishing could have made, and its questions have answers."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import func, select

from benchmarks.crowd.contents import Backbones, Member, Size, fill
from benchmarks.crowd.questions import Here, pages, references, searches
from benchmarks.figures import Figure
from benchmarks.registry import KINDS, slower, summary
from madx.manifest import digest_of, from_bytes
from registry import search
from registry.lineage import lineage_rows, stored_lineage
from registry.models import VersionRow
from registry.registry import Registry, open_registry
from tests.support.made_adapters import FINGERPRINT, OTHER_FINGERPRINT, add_made_backbone

SIZE = Size(adapters=40, versions=400)
BACKBONES = Backbones(names={FINGERPRINT: "tiny", OTHER_FINGERPRINT: "other"})


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = open_registry(tmp_path / "home")
    for fingerprint, name in BACKBONES.names.items():
        add_made_backbone(opened, fingerprint, name)
    yield opened
    opened.close()


@pytest.fixture
def members(registry: Registry) -> tuple[Member, ...]:
    return fill(registry, BACKBONES, SIZE, seed=3)


def test_there_are_as_many_as_asked_for(registry: Registry, members: tuple[Member, ...]) -> None:
    with registry.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(VersionRow)) == SIZE.versions
    assert len(members) == SIZE.adapters
    shown = {item.name: item.num_versions for item in search.search_adapters(registry, limit=200).items}
    assert shown == {member.name: len(member.live) for member in members if member.live}


def test_every_row_is_what_its_manifest_says(registry: Registry, members: tuple[Member, ...]) -> None:
    digests = set()
    with registry.database.reading() as session:
        for row in session.scalars(select(VersionRow)):
            manifest = from_bytes(row.manifest)
            assert digest_of(row.manifest) == row.manifest_digest
            assert (manifest.weights.digest, manifest.backbone.fingerprint) == (row.weights_digest, row.fingerprint)
            assert lineage_rows(manifest) == stored_lineage(session, row.adapter)[row.number]
            digests.add(row.manifest_digest)
    assert len(digests) == SIZE.versions


def test_every_question_has_an_answer(registry: Registry, members: tuple[Member, ...]) -> None:
    here = Here(registry=registry, fingerprint=FINGERPRINT)
    fingerprints = list(BACKBONES.names)
    for questions in (
        pages(here, members, seed=5),
        searches(here, members, fingerprints, seed=5),
        references(here, members, seed=5),
    ):
        for ask in islice(questions, 60):
            ask()


def test_the_slower_database_is_reported() -> None:
    figures: dict[str, Figure] = {}
    for number, prefix in enumerate(("sqlite", "http_sqlite", "postgresql", "http_postgresql")):
        for kind in KINDS:
            seconds = [1e-3 * (number + 1)] * 99 + [1.0]
            figures |= {f"{prefix}_{kind}_{key}": figure for key, figure in summary(seconds).items()}
    found = {key: figure.value for key, figure in slower(figures).items()}
    assert found == {f"{prefix}{kind}_p95_ms": value for prefix, value in (("", 3.0), ("http_", 4.0)) for kind in KINDS}
    assert figures["sqlite_list_max_ms"].value == 1000.0
    assert json.dumps([figure.as_json() for figure in figures.values()])

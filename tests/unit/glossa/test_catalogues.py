"""One contract for the two registries that commands work on: this machine's, and that of a real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from glossa.catalogues import AdapterEntry, Catalogue, Filters, Transfer
from glossa.client import Client
from glossa.folders import AdapterFolder, read_folder
from glossa.local_catalogue import LocalCatalogue
from glossa.remote_catalogue import RemoteCatalogue
from glossa.upload_memory import FileUploadMemory
from madx.errors import GlossaError
from registry.evaluations import Measurement, record_evaluation
from registry.references import AdapterRef, parse_reference
from registry.values import Version
from tests.support.adapter_folders import write_folder
from tests.support.listening import listening
from tests.support.served import Home, make_home
from tests.support.tiny import NER_LABELS, language_checkpoint, task_checkpoint

SILENT = Transfer(on_bytes=lambda _bytes: None, on_wait=lambda _error, _seconds: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("catalogues"))


@pytest.fixture
def home(made: Home, tmp_path: Path) -> Home:
    return made.copy(tmp_path / "home")


class CatalogueContract:
    """`catalogue` is the registry of `home`: language adapters en and sw, the task adapter ner."""

    def push(
        self, catalogue: Catalogue, home: Home, folder: Path, name: str, *, seed: int, task: bool = False
    ) -> Version:
        checkpoint = (
            task_checkpoint(home.loaded, seed=seed) if task else language_checkpoint(home.loaded, "ha", seed=seed)
        )
        written = write_folder(folder / f"{name}-{seed}", *checkpoint)
        content = AdapterFolder(
            manifest=(written / "manifest.json").read_bytes(), weights=written / "adapter.safetensors"
        )
        return catalogue.publish(name, content, SILENT).version

    def refused(self, code: str) -> "pytest.RaisesExc[GlossaError]":
        return pytest.raises(GlossaError, check=lambda error: error.code == code)

    def test_adapters_are_listed_by_name(self, catalogue: Catalogue, home: Home) -> None:
        page = catalogue.adapters(Filters(), limit=50)
        assert [entry.name for entry in page.items] == ["en", "ner", "sw"]
        assert page.next_cursor is None
        ner = page.items[1]
        version = home.version("ner")
        assert (ner.kind, ner.language, ner.task, ner.num_versions) == ("task", None, "ner", 1)
        assert ner.newest.reference == "ner@1"
        assert (ner.newest.manifest_digest, ner.newest.weights_digest) == (
            version.manifest_digest,
            version.weights_digest,
        )
        assert ner.newest.labels == NER_LABELS
        assert ner.newest.size_bytes == version.size_bytes
        assert ner.newest.created_at == version.created_at

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            (Filters(kind="language"), ["en", "sw"]),
            (Filters(language="swa"), ["sw"]),
            (Filters(task="ner"), ["ner"]),
            (Filters(label="B-LOC"), ["ner"]),
            (Filters(label="LOC"), ["ner"]),
            (Filters(query="s"), ["sw"]),
            (Filters(backbone="tiny"), ["en", "ner", "sw"]),
            (Filters(kind="language", query="ner"), []),
        ],
    )
    def test_filters(self, catalogue: Catalogue, filters: Filters, names: list[str]) -> None:
        assert [entry.name for entry in catalogue.adapters(filters, limit=50).items] == names

    def test_pages_follow_each_other(self, catalogue: Catalogue) -> None:
        found: list[AdapterEntry] = []
        cursor: str | None = None
        for _ in range(3):
            page = catalogue.adapters(Filters(), limit=1, cursor=cursor)
            found += page.items
            cursor = page.next_cursor
        assert [entry.name for entry in found] == ["en", "ner", "sw"]
        assert cursor is None
        with self.refused("invalid"):
            catalogue.adapters(Filters(), limit=1, cursor="no cursor of ours")

    def test_what_is_published_is_read_again(self, catalogue: Catalogue, home: Home, tmp_path: Path) -> None:
        version = self.push(catalogue, home, tmp_path, "ha", seed=5)
        assert version.reference == "ha@1"
        assert version == catalogue.resolve(AdapterRef(name="ha")) == home.version("ha")
        weights = (tmp_path / "ha-5" / "adapter.safetensors").read_bytes()
        told: list[int] = []
        watched = Transfer(on_bytes=told.append, on_wait=SILENT.on_wait)
        assert b"".join(catalogue.weights(version, 0, watched)) == weights
        assert told[-1] == len(weights)
        assert b"".join(catalogue.weights(version, 1000, SILENT)) == weights[1000:]

    def test_the_same_content_twice_is_one_version(self, catalogue: Catalogue, home: Home, tmp_path: Path) -> None:
        manifest, weights = language_checkpoint(home.loaded, "ha", seed=5)
        folder = write_folder(tmp_path / "ha", manifest, weights)
        content = AdapterFolder(manifest=manifest, weights=folder / "adapter.safetensors")
        first = catalogue.publish("ha", content, SILENT)
        again = catalogue.publish("ha", content, SILENT)
        assert (first.created, again.created) == (True, False)
        assert first.version == again.version

    def test_versions_are_listed_newest_first_also_deleted_ones(
        self, catalogue: Catalogue, home: Home, tmp_path: Path
    ) -> None:
        for seed in (5, 6, 7):
            self.push(catalogue, home, tmp_path, "ha", seed=seed)
        catalogue.delete("ha", 2)
        live = catalogue.versions("ha", include_deleted=False, limit=10)
        assert [version.number for version in live.items] == [3, 1]
        first = catalogue.versions("ha", include_deleted=True, limit=2)
        rest = catalogue.versions("ha", include_deleted=True, limit=2, cursor=first.next_cursor)
        assert [(version.number, version.deleted_at is not None) for version in (*first.items, *rest.items)] == [
            (3, False),
            (2, True),
            (1, False),
        ]
        assert catalogue.adapter("ha").num_versions == 2

    def test_deleting_and_restoring(self, catalogue: Catalogue, home: Home, tmp_path: Path) -> None:
        self.push(catalogue, home, tmp_path, "ha", seed=5)
        catalogue.move_alias("ha", "production", 1, expected=None)
        with self.refused("conflict"):
            catalogue.delete("ha", 1)
        catalogue.remove_alias("ha", "production", expected=None)
        catalogue.delete("ha", 1)
        with self.refused("unknown_version"):
            catalogue.resolve(parse_reference("ha@1"))
        catalogue.restore("ha", 1)
        assert catalogue.resolve(parse_reference("ha@1")).number == 1

    def test_aliases_move_by_compare_and_set(self, catalogue: Catalogue, home: Home, tmp_path: Path) -> None:
        for seed in (5, 6):
            self.push(catalogue, home, tmp_path, "ha", seed=seed)
        made = catalogue.move_alias("ha", "production", 1, expected=0)
        assert (made.adapter, made.alias, made.number, made.revision) == ("ha", "production", 1, 1)
        with self.refused("precondition_failed"):
            catalogue.move_alias("ha", "production", 2, expected=0)
        with self.refused("precondition_failed"):
            catalogue.move_alias("ha", "production", 2, expected=7)
        assert catalogue.move_alias("ha", "production", 2, expected=1).revision == 2
        assert catalogue.move_alias("ha", "production", 1, expected=None).revision == 3
        assert catalogue.alias("ha", "production").number == 1
        assert dict(catalogue.adapter("ha").aliases) == {"production": 1}
        with self.refused("precondition_failed"):
            catalogue.remove_alias("ha", "production", expected=2)
        catalogue.remove_alias("ha", "production", expected=3)
        with self.refused("unknown_alias"):
            catalogue.alias("ha", "production")
        with self.refused("unknown_alias"):
            catalogue.remove_alias("ha", "production", expected=None)
        assert catalogue.move_alias("ha", "production", 2, expected=None).number == 2
        moves = catalogue.alias_history("ha", "production")
        assert [move.number for move in moves] == [1, 2, 1, None, 2]
        assert [move.revision for move in moves] == sorted(move.revision for move in moves)

    def test_a_default_is_set_and_cleared(self, catalogue: Catalogue, home: Home, tmp_path: Path) -> None:
        version = self.push(catalogue, home, tmp_path, "ner", seed=5, task=True)
        catalogue.set_default(parse_reference("ner@2"), version)
        with self.refused("conflict"):
            catalogue.delete("ner", 2)
        catalogue.clear_default(version)
        with self.refused("no_default"):
            catalogue.clear_default(version)
        catalogue.delete("ner", 2)

    def test_a_task_adapter_that_names_a_language_is_the_default_of_its_task(
        self, catalogue: Catalogue, home: Home, tmp_path: Path
    ) -> None:
        folder = write_folder(tmp_path / "ner-en", *task_checkpoint(home.loaded, language="en", seed=5))
        version = catalogue.publish("ner-en", read_folder(folder), SILENT).version
        assert (version.language, version.task) == ("en", "ner")
        catalogue.set_default(parse_reference("ner-en"), version)
        catalogue.clear_default(version)
        with self.refused("no_default"):
            catalogue.clear_default(version)

    def test_lineage(self, catalogue: Catalogue, home: Home) -> None:
        found = catalogue.lineage("ner", 1)
        version = home.version("ner")
        assert (found.reference, found.digest, found.fingerprint) == (
            "ner@1",
            version.manifest_digest,
            version.fingerprint,
        )
        assert (found.method, found.job, found.datasets, dict(found.parents), found.children) == (
            "madx",
            None,
            (),
            {},
            (),
        )

    def test_evaluations_are_listed_newest_first(self, catalogue: Catalogue, home: Home) -> None:
        scores = [
            Measurement(metric="entity-f1", score=n / 4, dataset="d", split="test", language="sw") for n in range(3)
        ]
        with home.registry() as registry:
            added = [record_evaluation(registry, "ner", 1, score) for score in scores]
        first = catalogue.evaluations("ner", 1, limit=2)
        rest = catalogue.evaluations("ner", 1, limit=2, cursor=first.next_cursor)
        assert [*first.items, *rest.items] == added[::-1]
        assert catalogue.evaluations("en", 1, limit=2).items == ()
        with self.refused("unknown_version"):
            catalogue.evaluations("en", 9, limit=2)

    def test_backbones(self, catalogue: Catalogue, home: Home) -> None:
        (backbone,) = catalogue.backbones()
        assert (backbone.name, backbone.fingerprint, backbone.masked_lm) == ("tiny", home.loaded.fingerprint, True)
        assert backbone.config == home.loaded.config

    @pytest.mark.parametrize(
        ("reference", "code"),
        [
            ("nobody", "unknown_adapter"),
            ("nobody@1", "unknown_adapter"),
            ("ner@9", "unknown_version"),
            ("ner@nowhere", "unknown_alias"),
        ],
    )
    def test_what_is_not_there_has_its_code(self, catalogue: Catalogue, reference: str, code: str) -> None:
        with self.refused(code):
            catalogue.resolve(parse_reference(reference))

    def test_names_that_are_none(self, catalogue: Catalogue) -> None:
        for name in ("..", "Not A Name", "", "a/b"):
            with self.refused("invalid_name"):
                catalogue.adapter(name)
            with self.refused("invalid_name"):
                catalogue.move_alias("ner", name, 1, expected=None)

    def test_unknown_names_have_their_codes_everywhere(self, catalogue: Catalogue, home: Home, tmp_path: Path) -> None:
        with self.refused("unknown_adapter"):
            catalogue.adapter("nobody")
        with self.refused("unknown_adapter"):
            catalogue.versions("nobody", include_deleted=False, limit=5)
        with self.refused("unknown_adapter"):
            catalogue.alias_history("nobody", "production")
        with self.refused("unknown_version"):
            catalogue.delete("ner", 9)
        with self.refused("unknown_version"):
            catalogue.restore("ner", 9)
        with self.refused("unknown_version"):
            catalogue.lineage("ner", 9)
        with self.refused("unknown_version"):
            catalogue.move_alias("ner", "production", 9, expected=None)
        with self.refused("unknown_backbone"):
            catalogue.adapters(Filters(backbone="nobody's"), limit=5)
        with self.refused("conflict"):
            self.push(catalogue, home, tmp_path, "ner", seed=5)


class TestLocal(CatalogueContract):
    @pytest.fixture
    def catalogue(self, home: Home) -> Iterator[Catalogue]:
        with home.registry() as registry:
            yield LocalCatalogue(registry=registry)


class TestRemote(CatalogueContract):
    @pytest.fixture
    def catalogue(self, home: Home, tmp_path: Path) -> Iterator[Catalogue]:
        with listening(home.settings()) as server, Client(server.address) as client:
            yield RemoteCatalogue(client=client, memory=FileUploadMemory(folder=tmp_path / "uploads"))

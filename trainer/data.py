"""Where a job's data comes from: a catalogue name or a user's own file, by the same argument."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from registry.datasets.catalogue import Catalogue
from registry.datasets.dataset import DataSet, Format, Task
from registry.datasets.errors import UnknownSplit
from registry.datasets.locate import LocatedFile, locate_file, own_file

_UNER_SUFFIXES = (".iob2", ".conllu")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlaces:
    """The catalogue, the folder GLOSSA_DATA_DIR names, and the cache that `glossa data pull` fills."""

    catalogue: Catalogue
    data_dir: Path | None
    cache_dir: Path

    def locate(self, source: str, split: str, *, task: Task, language: str | None = None) -> LocatedFile:
        """A data set's file, or the user's own if `source` is the path of one.

        Raises `UnknownDataSet`, `UnknownSplit`, `DataMissing`, `DataMismatch`.
        """
        if self.is_own_file(source):
            path = Path(source).expanduser()
            return own_file(path, _own_format(path, task), split=split, language=language)
        return locate_file(self.catalogue.get(source), split, data_dir=self.data_dir, cache_dir=self.cache_dir)

    def locate_optional(self, source: str, split: str, *, task: Task) -> LocatedFile | None:
        """As `locate`, but None where the data set has no such split, or is an own file, which has one split."""
        if self.is_own_file(source):
            return None
        try:
            return self.locate(source, split, task=task)
        except UnknownSplit:
            return None

    def translations(self, name: str, languages: Collection[str]) -> dict[str, LocatedFile]:
        """The training files aligned under `name` by language, of those given.

        Raises `UnknownDataSet` for less than two, and what `locate` raises.
        """
        found = self.catalogue.translations(name, languages)
        return {
            language: locate_file(dataset, "train", data_dir=self.data_dir, cache_dir=self.cache_dir)
            for language, dataset in found.items()
        }

    def is_own_file(self, source: str) -> bool:
        return source not in self.catalogue.names and ("/" in source or Path(source).expanduser().is_file())

    def named(self, source: str) -> DataSet | None:
        return None if self.is_own_file(source) else self.catalogue.get(source)


def _own_format(path: Path, task: Task) -> Format:
    if task == "text":
        return "text"
    return "uner" if path.suffix in _UNER_SUFFIXES else "conll"

"""The catalogue: all data sets by name.

`load_catalogue` reads the entries that ship with the package and, where the user names one, a file of their own in the
same form (docs/data.md). `locate` and `pull` take what `Catalogue.get` returns.
"""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from madx.manifest import canonical_language

from .dataset import DataSet, Task
from .entries import read_entries
from .errors import InvalidCatalogue, UnknownDataSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All data sets by name, in the order of the files they were read from."""

    datasets: tuple[DataSet, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for dataset in self.datasets:
            if dataset.name in seen:
                raise InvalidCatalogue(f"two data sets are named {dataset.name!r}; rename your own")
            seen.add(dataset.name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dataset.name for dataset in self.datasets)

    def get(self, name: str) -> DataSet:
        """Raises `UnknownDataSet` with the nearest names."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        nearest = tuple(difflib.get_close_matches(name, self.names, n=3))
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`glossa data list` shows all names"
        raise UnknownDataSet(f"no data set is named {name!r}; {hint}", nearest=nearest)

    def translations(self, name: str, languages: Collection[str]) -> dict[str, DataSet]:
        """The data sets aligned under `name` by language, of those given. Raises `UnknownDataSet` for less than two."""
        aligned = {dataset.language: dataset for dataset in self.datasets if dataset.aligned == name}
        found = {language: aligned[language] for language in languages if language in aligned}
        if len(found) < 2:
            there = (
                f"{name} has {', '.join(sorted(aligned))}" if aligned else f"no data sets are aligned under {name!r}"
            )
            raise UnknownDataSet(f"translations need two languages of one text: {there}", nearest=())
        return found

    def select(
        self, *, task: Task | None = None, language: str | None = None, is_open: bool | None = None
    ) -> tuple[DataSet, ...]:
        """The data sets that match all that is given; `language` in any form that BCP 47 or ISO 639-3 allows."""
        wanted = None if language is None else canonical_language(language)
        return tuple(
            dataset
            for dataset in self.datasets
            if (task is None or dataset.task == task)
            and (wanted is None or dataset.language == wanted)
            and (is_open is None or dataset.is_open == is_open)
        )


def load_catalogue(own: Path | None = None) -> Catalogue:
    """The built-in data sets, then those of the user's own TOML file (the setting GLOSSA_CATALOGUE).

    Raises `InvalidCatalogue` naming the file, the entry and the field, and if two data sets share a name.
    """
    shipped = resources.files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
    datasets = read_entries(shipped, place="the built-in catalogue", folder=None)
    if own is not None:
        try:
            text = own.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidCatalogue(f"cannot read the catalogue {own} (GLOSSA_CATALOGUE): {error}") from error
        datasets += read_entries(text, place=str(own), folder=own.absolute().parent)
    return Catalogue(datasets=datasets)

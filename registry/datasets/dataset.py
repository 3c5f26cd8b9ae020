"""What a catalogue says of one data set: task, language, licence, and what its files must be.

`entries` reads these values from TOML, `catalogue` holds them by name, `locate` and `pull` act on them.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from madx.errors import InvalidConfig
from madx.manifest import canonical_language, is_digest

from .errors import InvalidCatalogue, UnknownSplit

Task = Literal["text", "ner"]
Format = Literal["text", "conll", "uner"]

FORMATS: dict[Task, tuple[Format, ...]] = {"text": ("text",), "ner": ("conll", "uner")}

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidCatalogue(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where data comes from: a repository's address, pinned to a commit where it has one."""

    address: str
    commit: str | None = None
    licence: str | None = None
    paths: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One file. `path` is relative to the data folder; `url` is None where no single address brings it."""

    split: str
    path: str
    sha256: str
    size_bytes: int
    url: str | None = None

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        _require(
            all(part not in ("", ".", "..") for part in parts) and "\\" not in self.path and ":" not in parts[0],
            f"path {self.path!r} must be relative and stay below the data folder",
        )
        _require(is_digest(self.sha256), f"{self.path}: sha256 must be 64 lower-case hexadecimal digits")
        _require(self.size_bytes > 0, f"{self.path}: size_bytes must be positive")
        _require(
            self.url is None or self.url.startswith(("https://", "http://")), f"{self.path}: url must be http or https"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One data set. `is_open` says whether weights trained on it may be shared.

    Text data sets of one `aligned` name are translations: line n of a split means the same in all of them. `folder` is
    where the catalogue that names it lies, if that is the user's own: its files may lie beside it.
    """

    name: str
    task: Task
    language: str
    format: Format
    licence: str
    is_open: bool
    sources: tuple[Source, ...]
    files: tuple[DataFile, ...]
    aligned: str | None = None
    note: str | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        _require(
            _NAME.fullmatch(self.name) is not None,
            f"the name {self.name!r} must be up to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first",
        )
        allowed = FORMATS[self.task]
        _require(self.format in allowed, f"{self.name}: a {self.task} data set has the format {' or '.join(allowed)}")
        try:
            canonical = canonical_language(self.language)
        except InvalidConfig as error:
            raise InvalidCatalogue(f"{self.name}: {error}") from error
        _require(canonical == self.language, f"{self.name}: write the language {self.language!r} as {canonical!r}")
        _require(bool(self.files), f"{self.name}: a data set has at least one file")
        if self.aligned is not None:
            _require(self.task == "text", f"{self.name}: only text is aligned")
            _require(_NAME.fullmatch(self.aligned) is not None, f"{self.name}: aligned is a name like a data set's")
        _require(len(set(self.splits)) == len(self.splits), f"{self.name}: every split has one file")

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(file.split for file in self.files)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def is_downloadable(self) -> bool:
        """Whether every file has one source address."""
        return all(file.url is not None for file in self.files)

    def file(self, split: str) -> DataFile:
        """Raises `UnknownSplit` naming the splits there are."""
        for file in self.files:
            if file.split == split:
                return file
        raise UnknownSplit(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")

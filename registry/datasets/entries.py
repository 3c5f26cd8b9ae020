"""Catalogue entries as TOML: read, checked field by field, and turned into `DataSet` values.

The form is docs/data.md's: `[[dataset]]` with `[[dataset.source]]` and `[[dataset.file]]` below it. A file names its
address in full (`url`) or as a path in the entry's GitHub repository at its pinned commit (`source_path`).
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pydantic import ConfigDict, TypeAdapter, ValidationError

from .dataset import DataFile, DataSet, Format, Source, Task
from .errors import InvalidCatalogue

_GITHUB = "https://github.com/"
_RAW = "https://raw.githubusercontent.com/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourceEntry:
    __pydantic_config__ = ConfigDict(extra="forbid")

    address: str
    commit: str | None = None
    licence: str | None = None
    paths: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileEntry:
    __pydantic_config__ = ConfigDict(extra="forbid")

    split: str
    path: str
    sha256: str
    size_bytes: int
    url: str | None = None
    source_path: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    task: Task
    language: str
    format: Format
    licence: str
    open: bool
    file: list[_FileEntry]
    source: list[_SourceEntry] = field(default_factory=list)
    aligned: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    __pydantic_config__ = ConfigDict(extra="forbid")

    dataset: list[_Entry]


def read_entries(text: str, *, place: str, folder: Path | None) -> tuple[DataSet, ...]:
    """The data sets of one TOML text. `place` names it in errors; `folder` is where a user's own catalogue lies.

    Raises `InvalidCatalogue` naming the place, the entry and the field.
    """
    try:
        document = TypeAdapter(_Document).validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidCatalogue(f"{place} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidCatalogue(f"{place}: {field}: {first['msg']} (entries count from 0)") from error
    try:
        return tuple(_dataset(entry, folder) for entry in document.dataset)
    except InvalidCatalogue as error:
        raise InvalidCatalogue(f"{place}: {error}") from error


def _dataset(entry: _Entry, folder: Path | None) -> DataSet:
    return DataSet(
        name=entry.name,
        task=entry.task,
        language=entry.language,
        format=entry.format,
        licence=entry.licence,
        is_open=entry.open,
        sources=tuple(
            Source(address=source.address, commit=source.commit, licence=source.licence, paths=source.paths)
            for source in entry.source
        ),
        files=tuple(
            DataFile(
                split=file.split,
                path=file.path,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                url=_url(file, entry),
            )
            for file in entry.file
        ),
        aligned=entry.aligned,
        note=entry.note,
        folder=folder,
    )


def _url(file: _FileEntry, entry: _Entry) -> str | None:
    if file.source_path is None:
        return file.url
    if file.url is not None:
        raise InvalidCatalogue(f"{entry.name}, {file.path}: give url or source_path, not both")
    if len(entry.source) != 1 or not entry.source[0].address.startswith(_GITHUB):
        raise InvalidCatalogue(
            f"{entry.name}, {file.path}: source_path needs exactly one source, a GitHub repository; else give url"
        )
    commit = file.commit or entry.source[0].commit
    if commit is None:
        raise InvalidCatalogue(f"{entry.name}, {file.path}: source_path needs the source's commit")
    repository = entry.source[0].address.removeprefix(_GITHUB).strip("/")
    return f"{_RAW}{repository}/{commit}/{quote(file.source_path)}"

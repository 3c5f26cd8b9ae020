"""From a data set's split, or a user's own file, to a checked file on disk.

A file is taken from the data folder (GLOSSA_DATA_DIR), else from beside the user's own catalogue, else from the cache
that `pull` fills. Its digest is verified every time: it enters the manifest of what is trained on it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from madx.manifest import DataRef, Digest, canonical_language

from .dataset import DataFile, DataSet, Format
from .errors import DataMismatch, DataMissing


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedFile:
    """A file on disk whose bytes have the digest `sha256`. A user's own file has no known licence and is not open."""

    name: str
    split: str
    path: Path
    format: Format
    sha256: Digest
    language: str | None = None
    licence: str | None = None
    is_open: bool = False

    def data_ref(self) -> DataRef:
        """What a manifest records of this file."""
        return DataRef(name=self.name, split=self.split, digest=self.sha256, licence=self.licence)


def locate_file(dataset: DataSet, split: str, *, data_dir: Path | None, cache_dir: Path) -> LocatedFile:
    """Raises `UnknownSplit`, `DataMissing` with what to do, or `DataMismatch` with both digests."""
    file = dataset.file(split)
    for path in _places(dataset, file, data_dir, cache_dir):
        if path.is_file():
            digest = verify(path, file)
            return LocatedFile(
                name=dataset.name,
                split=split,
                path=path,
                format=dataset.format,
                sha256=digest,
                language=dataset.language,
                licence=dataset.licence,
                is_open=dataset.is_open,
            )
    raise DataMissing(_missing(dataset, file, data_dir))


def locate(dataset: DataSet, split: str, data_dir: Path | None, cache_dir: Path) -> Path:
    """The checked file alone; raises as `locate_file` does."""
    return locate_file(dataset, split, data_dir=data_dir, cache_dir=cache_dir).path


def own_file(
    path: Path, file_format: Format, *, split: str = "train", language: str | None = None, licence: str | None = None
) -> LocatedFile:
    """A user's own file, named after itself. Raises `DataMissing` if it cannot be read."""
    return LocatedFile(
        name=path.stem,
        split=split,
        path=path,
        format=file_format,
        sha256=digest_of_file(path),
        language=None if language is None else canonical_language(language),
        licence=licence,
    )


def cache_path(dataset: DataSet, file: DataFile, cache_dir: Path) -> Path:
    """Where `pull` puts a file. The data set's name comes first, so that two data sets never share a place."""
    return cache_dir / dataset.name / file.path


def verify(path: Path, file: DataFile) -> Digest:
    """The digest of `path`. Raises `DataMismatch` if it is not the catalogue's."""
    found = digest_of_file(path)
    if found != file.sha256:
        raise DataMismatch(
            f"{path} is not the file that the catalogue means: expected sha256 {file.sha256}, found {found}; "
            f"replace it, or use it under a name of your own"
        )
    return found


def digest_of_file(path: Path) -> Digest:
    try:
        with path.open("rb") as content:
            return Digest(hashlib.file_digest(content, "sha256").hexdigest())
    except OSError as error:
        raise DataMissing(f"cannot read {path}: {error.strerror or error}") from error


def _places(dataset: DataSet, file: DataFile, data_dir: Path | None, cache_dir: Path) -> list[Path]:
    folders = [folder for folder in (data_dir, dataset.folder) if folder is not None]
    return [folder / file.path for folder in folders] + [cache_path(dataset, file, cache_dir)]


def _missing(dataset: DataSet, file: DataFile, data_dir: Path | None) -> str:
    where = "GLOSSA_DATA_DIR is not set" if data_dir is None else f"{data_dir} (GLOSSA_DATA_DIR) has no {file.path}"
    if dataset.is_downloadable:
        return f"{dataset.name} ({file.split}) is not here: {where}; run `glossa data pull {dataset.name}`"
    return (
        f"{dataset.name} ({file.split}) is not here: {where}; "
        f"set GLOSSA_DATA_DIR to a folder that holds {file.path} (it cannot be downloaded)"
    )

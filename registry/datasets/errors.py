"""What can go wrong with data: a wrong name, a missing or changed file, a failed download, a broken line."""

from pathlib import Path

from madx.errors import GlossaError


class DataError(GlossaError):
    """Base of all errors about data sets."""

    code = "data_error"


class InvalidCatalogue(DataError):
    """A catalogue file that is not TOML, or an entry that lacks or contradicts something."""

    code = "invalid_catalogue"


class UnknownDataSet(DataError):
    """A name that no catalogue holds; `nearest` are names like it, best first."""

    code = "unknown_dataset"

    def __init__(self, message: str, *, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nearest = nearest


class UnknownSplit(DataError):
    """A split that a data set does not have."""

    code = "unknown_split"


class DataMissing(DataError):
    """A file that lies neither in the data folder nor in the cache, or cannot be read."""

    code = "data_missing"


class DataMismatch(DataError):
    """A file whose digest is not the catalogue's."""

    code = "data_mismatch"


class NotDownloadable(DataError):
    """A data set without one source address per file."""

    code = "not_downloadable"


class DownloadFailed(DataError):
    """A download that failed after its retries, or brought something else than the catalogue says."""

    code = "download_failed"


class BrokenData(DataError):
    """A line that is not in its file's format. `line` counts from 1; 0 means the file as a whole."""

    code = "broken_data"

    def __init__(self, path: Path, line: int, expected: str) -> None:
        place = f"{path}:{line}" if line else str(path)
        super().__init__(f"{place}: {expected}")
        self.path = path
        self.line = line


class UnknownTag(DataError):
    """A tag that is neither a label to learn nor one that is known to be dropped."""

    code = "unknown_tag"

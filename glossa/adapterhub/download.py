"""A name on the Hugging Face hub -> a folder in its local cache, at one commit."""

from dataclasses import dataclass
from pathlib import Path

import httpx
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from .errors import HubUnavailable
from .folders import READ_FILES


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a folder lies; what hub name and commit it is of, where it is of any."""

    folder: Path
    repository: str | None = None
    commit: str | None = None


def locate(name: str, revision: str | None = None) -> Source:
    """A local folder as it is, else what the hub has under that name. Raises `HubUnavailable`."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise HubUnavailable(f"{name} is a folder here: it has no revision {revision!r}")
        return Source(folder=folder)
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise HubUnavailable(f"there is no folder {name}, and a hub name is of the form owner/name")
    patterns = [*READ_FILES, *(f"*/{file}" for file in READ_FILES)]
    try:
        snapshot = Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        at = "" if revision is None else f" at revision {revision!r}"
        raise HubUnavailable(
            f"the hub does not give {name}{at} ({type(error).__name__}); check the name and the connection"
        ) from error
    return Source(folder=snapshot, repository=name, commit=snapshot.name)

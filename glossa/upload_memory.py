"""Ids of unfinished uploads, below GLOSSA_HOME: pushing again after an interruption goes on where it was."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.durable import write_file

FOLDER = "uploads"
_KEPT_S = 14 * 86_400  # servers keep unfinished uploads for a day or so


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUploadMemory:
    """One small file for each upload, named by its key. A memory that cannot be written forgets, and breaks nothing."""

    folder: Path

    def recall(self, key: str, /) -> str | None:
        try:
            return (self.folder / key).read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def remember(self, key: str, upload: str, /) -> None:
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._prune()
            write_file(self.folder / key, f"{upload}\n".encode())

    def forget(self, key: str, /) -> None:
        with suppress(OSError):
            (self.folder / key).unlink(missing_ok=True)

    def _prune(self) -> None:
        oldest = time.time() - _KEPT_S
        for path in self.folder.iterdir():
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

"""Files that are there whole or not at all, also after a crash: temporary name, fsync, rename, fsync of the folder."""

import os
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Put a whole file in place, or leave what was there. One process at a time writes a path. Raises `OSError`."""
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """A rename is durable only once the folder that holds the name is synced too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Many processes that publish at the same moment: a script for the wheel's Python.

Arguments: home, database, blobs (`-` for what is embedded), and how many. Says the number that each of them got.
"""

import os
import sys
from pathlib import Path

from made_adapters import publish_made  # type: ignore[import-not-found]

import registry.stores.s3  # noqa: F401 - once, not in every child
from registry.registry import open_registry


def main(home: str, database: str, blobs: str, count: int) -> int:
    held, opened = os.pipe()
    children = []
    for seed in range(count):
        child = os.fork()
        if not child:
            os.close(opened)
            os._exit(race(held, home, database, blobs, seed))
        children.append(child)
    os.close(held)
    os.close(opened)  # nobody writes: all who read go on at once
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


def race(held: int, home: str, database: str, blobs: str, seed: int) -> int:
    os.read(held, 1)
    registry = open_registry(
        Path(home), database_url=None if database == "-" else database, blob_url=None if blobs == "-" else blobs
    )
    os.write(1, f"{publish_made(registry, 'sw', seed=seed).number}\n".encode())
    registry.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))

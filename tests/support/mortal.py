"""Publishes and moves an alias, or collects, until it is killed: a script for the wheel's Python, which `deaths` runs.

It reads orders, lines of JSON, and forks a child for each, so that a life costs a fork and not an interpreter. A child
says what was answered to it in lines of its own; one that is to die at a step kills itself there, in the middle of the
product's own code, without any clearing up.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from made_adapters import publish_made  # type: ignore[import-not-found]

import registry.stores.s3  # noqa: F401 - once, not in every child
from registry import aliases
from registry.collect import collect
from registry.errors import DatabaseUnavailable, StoreUnavailable
from registry.registry import open_registry

MODULES = {"aliases", "collect", "database", "gatekeeper", "journal", "leases", "lineage", "publish", "stores"}
FOREIGN = {"do_begin", "do_execute", "do_commit", "do_rollback", "_make_api_call"}
SYSTEM = {"fsync", "replace", "rename", "unlink", "mkdir", "open", "close"}
PAUSE_S = 0.05
GRACE = timedelta(hours=1)


def say(*words: object) -> None:
    """One write, so that no kill cuts a line in two."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def watcher(on_step: Callable[[str], None]) -> Callable[[FrameType, str, Any], None]:
    """For `sys.setprofile`: calls `on_step` before and after each function that writes, locks or decides."""

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        if event in ("c_call", "c_return"):
            if argument.__name__ in SYSTEM and getattr(argument, "__module__", "") in ("posix", "io", "_io"):
                on_step(f"{event} {argument.__name__}")
            return
        code = frame.f_code
        if code.co_name in FOREIGN or is_ours(code.co_filename):
            on_step(f"{event} {Path(code.co_filename).stem}.{code.co_qualname}")

    return watch


@cache
def is_ours(filename: str) -> bool:
    parts = Path(filename).with_suffix("").parts
    return "registry" in parts and not MODULES.isdisjoint(parts)


def live(order: dict[str, Any]) -> None:
    count = 0
    die_at = order.get("die_at")

    def on_step(step: str) -> None:
        nonlocal count
        if order.get("tell"):
            say("step", count, step)
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    registry = open_registry(Path(order["home"]), database_url=order["database_url"], blob_url=order["blob_url"])
    for seed in range(order["seed"], order["seed"] + order["rounds"]):
        if die_at is not None or order.get("tell"):
            sys.setprofile(watcher(on_step))
        if order.get("sweep"):
            collect(registry, grace=GRACE, delete=True)
        else:
            publish_and_point(registry, seed, patient=bool(order.get("patient")))
        sys.setprofile(None)


def publish_and_point(registry: Any, seed: int, *, patient: bool) -> None:
    """With `patient`, a server that is away is asked again until it answers."""
    while True:
        try:
            number = publish_made(registry, "sw", seed=seed).number
            say("version", seed, number)
            alias = aliases.move_alias(registry, "sw", "production", number)
            say("alias", alias.revision, alias.number)
            return
        except (DatabaseUnavailable, StoreUnavailable) as error:
            if not patient:
                raise
            say("away", error.code)
            time.sleep(PAUSE_S)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            try:
                live(order)
                status = 0
            except BaseException as error:  # noqa: BLE001 - it is told, and the parent's loop must not go on in here
                say("failed", type(error).__name__, " ".join(str(error).split()))
                status = 1
            os._exit(status)
        say("born", child)
        _, state = os.waitpid(child, 0)
        say("ended", os.waitstatus_to_exitcode(state))


if __name__ == "__main__":
    main()

"""Prometheus's own checks of a page of metrics."""

import shutil
import subprocess
import sysconfig


def complaints(page: str) -> str:
    """What `promtool check metrics` says of `page`; nothing where all is well. Fails where there is no promtool."""
    program = shutil.which("promtool", path=sysconfig.get_path("scripts")) or shutil.which("promtool")
    assert program is not None, "no promtool: `make promtool` brings it, or else install Prometheus's"
    checked = subprocess.run(
        [program, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60, check=False
    )
    said = checked.stdout + checked.stderr
    return said if said or checked.returncode == 0 else f"exit status {checked.returncode}"

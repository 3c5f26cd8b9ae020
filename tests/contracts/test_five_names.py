"""`madx`, `registry`, `trainer`, `service` and `glossa` belong to others on the package index: here they are ours."""

import json
import subprocess
import zipfile
from pathlib import Path

NAMES = {"madx", "registry", "trainer", "service", "glossa"}

PROGRAM = """
import importlib.metadata, json
print(json.dumps(importlib.metadata.packages_distributions()))
"""


def test_the_wheel_holds_the_five_packages_and_nothing_else(built_wheel: Path) -> None:
    with zipfile.ZipFile(built_wheel) as wheel:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
        metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        assert "Classifier: Private :: Do Not Upload" in wheel.read(metadata).decode().splitlines()
    assert {name for name in tops if not name.endswith(".dist-info")} == NAMES


def test_no_other_distribution_brings_a_name_of_ours(wheel_bin: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [wheel_bin / "python", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    owners = json.loads(result.stdout)
    assert {owner for name in NAMES for owner in owners[name]} == {"glossa-server"}

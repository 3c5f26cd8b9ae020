"""The gate's child starts from the wheel as it does from a checkout."""

import subprocess
from pathlib import Path

import pytest
from safetensors.numpy import save

from tests.support.made_adapters import made_tensors, written

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
from pathlib import Path
from registry.gatekeeper import Gatekeeper
from registry.refusals import WrongNames
path = Path(sys.argv[1])
try:
    Gatekeeper().check_weights(path, {"a": (1,)})
except WrongNames as refusal:
    print(refusal)
"""


def test_judges_a_file(wheel_bin: Path, tmp_path: Path) -> None:
    weights = written(tmp_path / "weights", save(made_tensors()))
    command = [str(wheel_bin / "python"), "-I", "-c", PROGRAM, str(weights)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "missing a; superfluous " in done.stdout, done.stderr

"""Commands that only list, publish or ask must start at once: what they import leaves torch out of the process."""

import subprocess
import sys

import pytest

PROGRAM = """
import importlib, pkgutil, sys
name = sys.argv[1]
package = importlib.import_module(name)
if "--whole" in sys.argv:
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if ".migrations" not in module.name:
            importlib.import_module(module.name)
print(any(library in sys.modules for library in ("torch", "transformers")))
"""


def _loads_torch(*arguments: str) -> bool:
    result = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip() == "True"


@pytest.mark.parametrize(
    "module", ["madx.config", "madx.errors", "madx.manifest", "madx.shapes", "glossa", "glossa.main"]
)
def test_module_leaves_torch_out(module: str) -> None:
    assert not _loads_torch(module)


def test_the_whole_registry_leaves_torch_out() -> None:
    assert not _loads_torch("registry", "--whole")


def test_the_check_sees_torch() -> None:
    assert _loads_torch("madx.bottleneck")

"""The built wheel, installed in an environment of its own: what every test that starts a process runs.

That environment sees the libraries of the one that runs pytest, but not the checkout: a `.pth` file that is reached
through another `.pth` file is not read, and the checkout is on the path through one.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _run(*command: str | Path) -> None:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}", pytrace=False)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The top folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def built_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel_bin(built_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the `python` and the `glossa` of an environment that holds the wheel, not the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    python = folder / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", built_wheel)
    (site,) = folder.glob("lib/python*/site-packages")
    libraries = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
    return folder / "bin"

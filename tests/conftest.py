"""The built wheel, installed in an environment of its own, which tests that start a process run; and a PostgreSQL.

The wheel's environment sees the libraries of the one that runs pytest, but not the checkout: a `.pth` file that is
reached through another `.pth` file is not read, and the checkout is on the path through one.
"""

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from benchmarks.servers.object_stores import ObjectServer, ministack
from benchmarks.servers.postgres import fresh_database, make_template, postgres_server

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


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """A PostgreSQL server, started when the first test asks for one."""
    with postgres_server() as server:
        make_template(server)
        yield server


@pytest.fixture
def postgres_url(postgres: URL) -> Iterator[str]:
    """A DATABASE_URL of the test's own, with this version's tables and nothing in them."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """An S3-compatible server; who uses it takes a prefix of its own."""
    with ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server

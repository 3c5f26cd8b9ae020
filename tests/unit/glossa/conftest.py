"""`glossa` in this process, on a tiny backbone, made-up data and an empty home."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from glossa.main import run
from tests.support.own_catalogue import write_catalogue
from tests.support.tiny import make_backbone

RECIPE = """
source = "made for tests"
[language]
steps = 6
batch = 4
length = 24
evaluate_every = 3
[language.optimiser]
learning_rate = 2e-3
[task]
epochs = 1
batch = 8
reduction = 2.0
[task.optimiser]
learning_rate = 1e-2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One command line's exit status and what it printed."""

    status: int
    out: str
    err: str


Glossa = Callable[..., Finished]


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`backbone`, `catalogue.toml` with its files, and `recipe.toml`."""
    folder = tmp_path_factory.mktemp("made")
    make_backbone(folder / "backbone")
    write_catalogue(folder)
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return folder


@pytest.fixture
def home(tmp_path: Path, made_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, with every setting of the caller's own out of the way."""
    for name in ("BLOB_URL", "DATA_DIR", "DEBUG", "DTYPE", "SERVER", "API_KEY", "KEYS"):
        monkeypatch.delenv(f"GLOSSA_{name}", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("GLOSSA_HOME", str(folder))
    monkeypatch.setenv("GLOSSA_BACKBONE", str(made_folder / "backbone"))
    monkeypatch.setenv("GLOSSA_CATALOGUE", str(made_folder / "catalogue.toml"))
    monkeypatch.setenv("GLOSSA_DEVICE", "cpu")
    return folder


@pytest.fixture
def glossa(home: Path, capsys: pytest.CaptureFixture[str]) -> Glossa:
    """`glossa("data", "list")`: the finished command line."""

    def call(*arguments: str | Path) -> Finished:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Finished(status=status, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def trained(glossa: Glossa, made_folder: Path) -> Glossa:
    """The same, with `sw`, `en` and `ner-en` published."""
    recipe = ("--recipe", made_folder / "recipe.toml")
    for code in ("sw", "en"):
        assert glossa("train", "language", "--language", code, "--data", f"made-text-{code}", *recipe).status == 0
    assert glossa("train", "task", "--data", "made-ner-en", "--language", "en", *recipe).status == 0
    return glossa

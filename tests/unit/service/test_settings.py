"""Settings from the environment."""

from pathlib import Path

import pytest

from service.errors import InvalidSettings
from service.model import choose_device
from service.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLOSSA_HOME", "GLOSSA_BACKBONE", "GLOSSA_BLOB_URL", "DATABASE_URL", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_home_is_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Settings(backbone="x").home == Path.home() / ".local" / "share" / "glossa"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Settings(backbone="x").home == tmp_path / "glossa"
    monkeypatch.setenv("GLOSSA_HOME", str(tmp_path / "mine"))
    assert Settings(backbone="x").home == tmp_path / "mine"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GLOSSA_BACKBONE": "some/model",
        "DATABASE_URL": "sqlite:////x/y.sqlite",
        "GLOSSA_BLOB_URL": "file:///x/blobs",
        "GLOSSA_DTYPE": "bfloat16",
        "GLOSSA_BATCH_TOKENS": "512",
    }.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(default_backbone="demo")
    assert (settings.backbone, settings.database_url) == ("some/model", "sqlite:////x/y.sqlite")
    assert (settings.blob_url, settings.dtype, settings.batch_tokens) == ("file:///x/blobs", "bfloat16", 512)


def test_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOSSA_BACKBONE", "some/model")
    assert read_settings(backbone="other", default_backbone="demo").backbone == "other"
    monkeypatch.delenv("GLOSSA_BACKBONE")
    assert read_settings(default_backbone=Path("demo")).backbone == "demo"
    assert read_settings(backbone="x", database_url="sqlite:////z").database_url == "sqlite:////z"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GLOSSA_DTYPE", "int4"),
        ("GLOSSA_BATCH_TOKENS", "many"),
        ("GLOSSA_BATCH_TOKENS", "0"),
        ("GLOSSA_DEADLINE_S", "-1"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=name):
        read_settings(default_backbone="demo")


def test_a_missing_backbone_is_named() -> None:
    with pytest.raises(InvalidSettings, match="GLOSSA_BACKBONE"):
        read_settings()


@pytest.mark.parametrize("name", ["tpu", "meta", "cuda:97", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InvalidSettings, match="GLOSSA_DEVICE"):
        choose_device(name)

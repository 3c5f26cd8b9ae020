"""The wheel, not the checkout, is what integration tests run; it holds the demo and the `glossa` command."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("package", ["madx", "registry", "trainer", "service", "glossa"])
def test_packages_come_from_the_wheel(
    package: str, wheel_bin: Path, glossa_environment: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    program = f"import importlib.util; print(importlib.util.find_spec({package!r}).origin)"
    found = subprocess.run(
        [wheel_bin / "python", "-c", program],
        cwd=tmp_path,
        env=glossa_environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert Path(found).is_relative_to(wheel_bin.parent)
    assert not Path(found).is_relative_to(checkout)


def test_checkout_is_out_of_reach(
    wheel_bin: Path, glossa_environment: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    paths = subprocess.run(
        [wheel_bin / "python", "-c", "import sys; print('\\n'.join(sys.path))"],
        cwd=tmp_path,
        env=glossa_environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert str(checkout) not in paths


def test_the_demo_travels_in_the_wheel(wheel_bin: Path, checkout: Path) -> None:
    (site,) = wheel_bin.parent.glob("lib/python*/site-packages")
    in_tree = {path.relative_to(checkout / "demo") for path in (checkout / "demo").rglob("*") if path.is_file()}
    in_wheel = {path.relative_to(site / "glossa/demo") for path in (site / "glossa/demo").rglob("*") if path.is_file()}
    assert in_tree
    assert in_tree == in_wheel


def test_help_names_the_commands(run_glossa: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = run_glossa("--help")
    assert result.returncode == 0, result.stderr
    for command in ("serve", "train", "pretrain", "evaluate", "adapters", "backbones", "data", "predict"):
        assert command in result.stdout


def test_an_unknown_command_is_one_line_that_says_what_to_do(
    run_glossa: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = run_glossa("no-such-command")
    assert result.returncode != 0
    assert "no-such-command" in result.stderr
    assert "Traceback" not in result.stderr

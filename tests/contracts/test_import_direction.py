"""Imports point one way: madx <- registry <- {trainer, service} <- glossa.

torch and transformers are imported only where they may be.
"""

import ast
from collections.abc import Iterator, Mapping

import pytest

MAY_IMPORT = {
    "madx": {"madx"},
    "registry": {"madx", "registry"},
    "trainer": {"madx", "registry", "trainer"},
    "service": {"madx", "registry", "service"},
    "glossa": {"madx", "registry", "trainer", "service", "glossa"},
}
WITHOUT_TORCH = ("registry/", "glossa/client")
TRANSFORMERS_FILE = "madx/loading.py"


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every absolute import, at whatever depth it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.lineno, node.module.partition(".")[0]


def against_the_direction(sources: Mapping[str, ast.Module]) -> list[str]:
    ours = set(MAY_IMPORT) | {"benchmarks", "tests"}
    return [
        f"{path}:{line} imports {name}"
        for path, tree in sources.items()
        for line, name in imported(tree)
        if name in ours - MAY_IMPORT[path.partition("/")[0]]
    ]


def importers(sources: Mapping[str, ast.Module], library: str) -> set[str]:
    return {path for path, tree in sources.items() for _, name in imported(tree) if name == library}


def test_imports_point_one_way(package_sources: dict[str, ast.Module]) -> None:
    assert {path.partition("/")[0] for path in package_sources} == set(MAY_IMPORT)
    assert against_the_direction(package_sources) == []


def test_transformers_is_imported_in_one_file(package_sources: dict[str, ast.Module]) -> None:
    assert importers(package_sources, "transformers") == {TRANSFORMERS_FILE}


def test_registry_and_client_never_import_torch(package_sources: dict[str, ast.Module]) -> None:
    using_torch = importers(package_sources, "torch")
    assert using_torch, "the network itself imports torch"
    assert [path for path in using_torch if path.startswith(WITHOUT_TORCH)] == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("madx/a.py", "import registry.catalog"),
        ("registry/a.py", "def f():\n    from trainer.loop import train_steps"),
        ("service/a.py", "from trainer import loop"),
        ("trainer/a.py", "import json, service"),
        ("trainer/a.py", "if True:\n    import glossa.client"),
        ("service/a.py", "from benchmarks import figures"),
    ],
)
def test_a_wrong_import_is_seen(path: str, text: str) -> None:
    assert len(against_the_direction({path: ast.parse(text)})) == 1

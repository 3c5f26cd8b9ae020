"""No pickles, read off the sources: weights are safetensors, the rest is JSON. One file reads and writes AdapterHub's
`.bin` files, by torch's restricted unpickler, and one other module may call it."""

import ast
from collections.abc import Iterator

import pytest

MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
ATTRIBUTES = {
    "torch.hub",
    "torch.jit.load",
    "torch.load",
    "torch.package",
    "torch.save",
    "torch.serialization",
    "torch.utils.model_zoo",
}
METHODS = {"read_pickle", "to_pickle"}
BIN_FILE = "glossa/adapterhub/bin_weights.py"
BIN_CALLER = "glossa/adapterhub/folders.py"


def _local_names(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: {"t": "torch"} after `import torch as t`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or name] = name
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value, names)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def _found(node: ast.AST, names: dict[str, str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if _forbidden(alias.name)]
    if isinstance(node, ast.ImportFrom):
        return [name for alias in node.names if _forbidden(name := f"{node.module}.{alias.name}")]
    if isinstance(node, ast.Attribute):
        dotted = _dotted(node, names)
        return [dotted or node.attr] if dotted in ATTRIBUTES or node.attr in METHODS else []
    if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
        return [] if isinstance(node.value, ast.Constant) and node.value.value is False else ["allow_pickle"]
    return []


def _forbidden(name: str) -> bool:
    return name.partition(".")[0] in MODULES or name in ATTRIBUTES


def pickles(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of everything that can read or write a pickle."""
    names = _local_names(tree)
    for node in ast.walk(tree):
        for name in _found(node, names):
            yield getattr(node, "lineno", 0), name


def test_no_source_pickles(all_sources: dict[str, ast.Module]) -> None:
    assert len(all_sources) > 20
    found = {path: sorted(name for _, name in pickles(tree)) for path, tree in all_sources.items()}
    assert {path: names for path, names in found.items() if names} == {BIN_FILE: ["torch.load", "torch.save"]}


def restricted(tree: ast.Module) -> list[bool]:
    """For each call of torch.load: whether it says weights_only=True, in so many words."""
    names = _local_names(tree)
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and _dotted(node.func, names) == "torch.load"
    ]
    return [
        any(
            keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            for keyword in call.keywords
        )
        for call in calls
    ]


def test_the_one_unpickler_is_the_restricted_one(all_sources: dict[str, ast.Module]) -> None:
    assert restricted(all_sources[BIN_FILE]) == [True]


def test_the_one_unpickler_is_called_from_one_module(package_sources: dict[str, ast.Module]) -> None:
    module = BIN_FILE.rpartition("/")[2].removesuffix(".py")
    callers = {
        path
        for path, tree in package_sources.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and module in f"{node.module}.{[alias.name for alias in node.names]}")
        or (isinstance(node, ast.Import) and any(module in alias.name for alias in node.names))
    }
    assert callers == {BIN_CALLER}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import torch\ntorch.load('x')", [False]),
        ("import torch\ntorch.load('x', weights_only=flag)", [False]),
        ("import torch as t\nt.load('x', weights_only=False)\nt.load('y', weights_only=True)", [False, True]),
    ],
)
def test_an_unrestricted_load_is_seen(text: str, expected: list[bool]) -> None:
    assert restricted(ast.parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "def f():\n    from joblib import dump",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x', weights_only=True)",
        "from torch import load as read",
        "from torch import hub",
        "import torch.jit\nloader = torch.jit.load",
        "import numpy\nnumpy.load('x', allow_pickle=True)",
        "import numpy\nnumpy.load('x', allow_pickle=flag)",
        "frame.to_pickle('x')",
    ],
)
def test_a_pickle_is_seen(text: str) -> None:
    assert list(pickles(ast.parse(text)))


def test_other_loads_pass() -> None:
    text = "import json, numpy\njson.load(file)\nnumpy.load('x', allow_pickle=False)\nbackbone.load('x')"
    assert list(pickles(ast.parse(text))) == []

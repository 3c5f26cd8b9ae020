"""docs/access.md says of every operation which role it needs, and of the modes and times what holds."""

import re
from pathlib import Path
from typing import get_args

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from registry.access import ROLES
from service.access import REMEMBERED_S, role_of
from service.app import create_app
from service.settings import Settings

ROW = re.compile(r"^\| `([a-z]+)` \| (.*) \|$", re.MULTILINE)


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs" / "access.md").read_text("utf-8")


def test_roles(page: str, tmp_path: Path) -> None:
    there: dict[str, set[str]] = {role: set() for role in ROLES}
    for route in iter_route_contexts(create_app(Settings(home=tmp_path, backbone="none")).routes):
        role = role_of(route.dependant) if isinstance(route.original_route, APIRoute) else None
        if role is not None:
            there[role].add(route.operation_id or "")
    table = page.partition("\n## When keys")[0]
    assert {role: set(re.findall(r"`(\w+)`", operations)) for role, operations in ROW.findall(table)} == there


def test_modes(page: str) -> None:
    rows = ROW.findall(page.partition("\n## When keys")[2].partition("\n## ")[0])
    assert [mode for mode, _ in rows] == list(get_args(Settings.model_fields["keys"].annotation))


def test_figures(page: str) -> None:
    assert f"remember for {REMEMBERED_S:g} seconds" in page
    assert f"default\nof {Settings.model_fields['requests_per_minute'].default} lets" in page

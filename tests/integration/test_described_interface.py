"""schemathesis reads docs/openapi.json and tries what it describes on a running server, with a key and without.

Whatever it sends: no answer of 5xx, none with a status or a type that is not described, none of another shape. The
seed is fixed; `st run docs/openapi.json --url ADDRESS` with more examples goes further.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from registry import access
from tests.support.live import LiveServer, serving
from tests.support.served import Home, make_home

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
PATIENCE_S = 280
pytestmark = [pytest.mark.slow]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path)


def attacked(server: LiveServer, document: Path, folder: Path, *options: str | Path) -> str:
    """What schemathesis reports when it found nothing."""
    command: Sequence[str | Path] = (
        *(Path(sys.executable).with_name("st"), "run", document, "--url", server.address),
        *("--checks", ",".join(CHECKS), "--seed", "1", "--generation-deterministic"),
        *("--no-color", "--no-shrink", "--max-failures", "5", *options),
    )
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "", "NO_PROXY": "*"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-12_000:]}\n{done.stderr[-2_000:]}"
    return done.stdout


def test_with_a_key(home: Home, checkout: Path, tmp_path: Path) -> None:
    """The key of an administrator, that may do everything but revoke keys: it could hit itself."""
    with home.registry() as registry:
        _, key = access.create_key(registry, name="schemathesis", role="admin")
    with serving(home, keys="required", requests_per_minute=0) as server:
        report = attacked(
            server,
            checkout / "docs" / "openapi.json",
            tmp_path,
            *("--header", f"Authorization: Bearer {key}", "--exclude-operation-id", "revoke_key"),
            *("--phases", "coverage,fuzzing,stateful", "--max-examples", "4"),
        )
    assert "Tested: 40" in report, report


def test_without_a_key(home: Home, checkout: Path, tmp_path: Path) -> None:
    with serving(home, keys="required", requests_per_minute=0) as server:
        report = attacked(
            server, checkout / "docs" / "openapi.json", tmp_path, *("--phases", "fuzzing", "--max-examples", "3")
        )
    assert "Tested: 41" in report, report

"""What `glossa serve` writes: where it serves, and then one JSON object a line, without any request's text."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry import access
from tests.support.served import make_home

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TEXT = "zainabu alienda mombasa"
NER = "/v1/predict/ner?language=sw"


def test_the_log_of_a_server(start_glossa: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    home = make_home(tmp_path / "made")
    with home.registry() as registry:
        key, secret = access.create_key(registry, name="a writer", role="write")
    environment = {
        "GLOSSA_HOME": str(home.folder),
        "GLOSSA_BACKBONE": str(home.backbone),
        "GLOSSA_DEVICE": "cpu",
        "GLOSSA_KEYS": "required",
        "GLOSSA_LOG_LEVEL": "debug",
        "GLOSSA_ACCESS_LOG": "true",
    }
    server = start_glossa("serve", "--port", "0", env=environment)
    said: list[str] = []
    address = _address(server, said)
    with httpx.Client(base_url=address, headers={"authorization": f"Bearer {secret}"}, timeout=60) as client:
        assert client.post(NER, json={"inputs": TEXT}, headers={"x-request-id": "mine"}).status_code == 200
        assert client.post(NER, json={"inputs": [TEXT, 3]}).status_code == 422
        assert client.get(f"/{TEXT}").status_code == 404
    with httpx.Client(base_url=address) as client:
        assert client.post(NER, json={"inputs": TEXT}).status_code == 401
    server.send_signal(signal.SIGTERM)
    assert server.stdout is not None
    said += server.stdout.readlines()
    assert server.wait(60) in (0, -signal.SIGTERM)
    assert [word for word in (*TEXT.split(), secret) if word in "".join(said).lower()] == []
    logged = [json.loads(line) for line in said if not line.startswith("serving ")]
    assert {"debug", "info", "warning", "error"} >= {line["level"] for line in logged}
    assert any(line["logger"].startswith("service.") for line in logged), "the calibration is told at info"
    _check(logged, key.id)


def _address(server: subprocess.Popen[str], said: list[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        said.append(line)
        if match := re.search(r"^serving .* at (http://\S+)", line):
            return match[1]
    pytest.fail("the server ended: " + "".join(said))


def _check(logged: list[dict[str, Any]], key: str) -> None:
    lines = [line for line in logged if line["logger"] == "glossa.requests"]
    assert [(line["status"], line["code"], line["key"]) for line in lines] == [
        (200, "", key),
        (422, "invalid", key),
        (404, "unknown_route", ""),
        (401, "no_key", ""),
    ]
    assert lines[0]["request_id"] == "mine"
    assert len({line["request_id"] for line in lines}) == 4

"""Health, metrics, and documentation that needs no network."""

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from madx.errors import BackboneUnavailable
from registry import catalog
from service.settings import Settings
from tests.support.served import Home


def test_a_running_server_is_live_and_ready(home: Home, client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    ready = client.get("/health/ready").json()
    checks = {"engine": "running", "database": "answers", "store": "answers"}
    assert ready == {"status": "ready", "backbone": "tiny", "fingerprint": home.loaded.fingerprint, "checks": checks}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_health_turns_red_when_the_engine_has_ended(home: Home) -> None:
    with home.client() as client:
        server = client.app.state.server  # type: ignore[attr-defined]
        assert client.portal is not None
        client.portal.call(server.engine.stop)
        for address in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"):
            refused = client.get(address)
            assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        ready = client.get("/v2/health/ready").json()
        assert ready["checks"] == {"engine": "draining", "database": "answers", "store": "answers"}
        response = client.post("/v1/predict/ner?language=sw", json={"inputs": "x"})
        assert (response.status_code, response.json()["code"]) == (503, "draining")


def test_the_server_registers_its_backbone(home: Home, tmp_path: Path) -> None:
    settings = {"home": tmp_path / "new"}
    with home.client(**settings) as client:
        (known,) = catalog.list_backbones(client.app.state.server.registry)  # type: ignore[attr-defined]
    assert (known.fingerprint, known.name, known.masked_lm) == (home.loaded.fingerprint, "tiny", True)
    with home.client(**settings) as client:
        assert client.get("/health/ready").status_code == 200


def test_a_server_without_a_backbone_does_not_start(home: Home, tmp_path: Path) -> None:
    with pytest.raises(BackboneUnavailable), home.client(backbone=str(tmp_path / "none")):
        pytest.fail("the server started")


def test_metrics_count_what_happened_in_this_app_alone(home: Home, client: TestClient) -> None:
    with home.client() as own:
        own.post("/v1/predict/ner?language=sw", json={"inputs": ["Juma", "leo"]})
        own.post("/v1/predict/made-up", json={})
        text = own.get("/metrics").text

    def value(series: str) -> float:
        match = re.search(rf"^{re.escape(series)} (\S+)$", text, flags=re.MULTILINE)
        assert match is not None, series
        return float(match[1])

    route = 'route="/v1/predict/{task}"'
    assert value(f'glossa_requests_total{{code="",{route},status="200",task="ner"}}') == 1
    assert value(f'glossa_requests_total{{code="unknown_task",{route},status="404",task=""}}') == 1
    assert value("glossa_batch_rows_sum") == 2
    assert value('glossa_resident_adapters{tier="device"}') == 2
    assert value('glossa_adapter_loads_total{result="ok",source="store"}') == 2
    assert value("glossa_queue_tokens") == 0
    assert "made-up" not in text


def test_every_answer_has_an_id_of_its_own(client: TestClient) -> None:
    ids = {client.get(address).headers["x-request-id"] for address in ("/health/live", "/health/live", "/nothing")}
    assert len(ids) == 3


def test_the_documentation_needs_no_other_host(client: TestClient) -> None:
    page = client.get("/docs").text
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "cdn" not in page
    for address in re.findall(r"""(?:src|href)=["'](/[^"']+)["']""", page):
        assert client.get(address).status_code == 200, address
    script = re.findall(r'src="([^"]+\.js)"', page)
    assert len(script) == 1
    assert len(client.get(script[0]).content) > 100_000


def test_the_api_describes_the_bodies_of_both_tasks(client: TestClient) -> None:
    api: dict[str, Any] = client.get("/openapi.json").json()
    body = api["paths"]["/v1/predict/{task}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert [shape["title"] for shape in body["anyOf"]] == ["NerRequest", "FillMaskRequest"]


def test_creating_an_app_opens_nothing(tmp_path: Path) -> None:
    from service.app import create_app

    create_app(Settings(home=tmp_path / "home", backbone="nowhere/at-all"))
    assert list(tmp_path.iterdir()) == []

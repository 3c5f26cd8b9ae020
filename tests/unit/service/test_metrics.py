"""The page of metrics, as those who scrape it read it."""

import re

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.support.live import serving
from tests.support.promtool import complaints
from tests.support.served import PATIENCE_S, Home

NER = "/v1/predict/ner?language=sw"


@pytest.fixture(scope="module")
def pages(home: Home) -> dict[str, httpx.Response]:
    """Of a running server, after answers, refusals and a failed scrape, in the form that was asked for."""
    with serving(home) as live, httpx.Client(base_url=live.address, timeout=PATIENCE_S) as client:
        for body in ({"inputs": ["Juma", "leo"]}, {"inputs": 3}, {}):
            client.post(NER, json=body)
        client.post("/v1/predict/fill-mask", json={"inputs": "a <mask> b"})
        client.post("/v1/predict/ner", json={"inputs": "Juma", "parameters": {"adapter": "nobody"}})
        client.get("/nothing")
        accepts = {
            "": {},
            "openmetrics": {"accept": "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;q=0.5"},
            "text": {"accept": "text/plain;version=nonsense"},
        }
        return {name: client.get("/metrics", headers=headers) for name, headers in accepts.items()}


def test_promtool_has_nothing_to_complain_of(pages: dict[str, httpx.Response]) -> None:
    assert complaints(pages[""].text) == ""


def test_promtool_does_complain() -> None:
    """Or else the test above could not fail."""
    page = "# TYPE glossa_things counter\nglossa_things 1\n"
    assert "help" in complaints(page)
    assert "_total" in complaints(page)
    assert complaints("no metrics") != ""


def test_the_form_is_the_one_asked_for(pages: dict[str, httpx.Response]) -> None:
    assert {name: page.headers["content-type"].partition(";")[0] for name, page in pages.items()} == {
        "": "text/plain",
        "openmetrics": "application/openmetrics-text",
        "text": "text/plain",
    }


def test_both_forms_have_the_same_metrics(pages: dict[str, httpx.Response]) -> None:
    in_text = {metric.name for metric in read_text(pages[""].text) if not metric.name.endswith("_created")}
    in_openmetrics = {metric.name for metric in read_openmetrics(pages["openmetrics"].text)}  # type: ignore[no-untyped-call]
    # Of an info the older form makes a gauge, with the suffix in its name.
    assert in_text == {name if name != "glossa_build" else "glossa_build_info" for name in in_openmetrics}


def test_what_runs_is_told(pages: dict[str, httpx.Response]) -> None:
    (build,) = [metric for metric in read_text(pages[""].text) if metric.name == "glossa_build_info"]
    (sample,) = build.samples
    assert set(sample.labels) == {"version", "dtype", "device"}
    assert sample.labels["device"] == "cpu"
    assert "" not in sample.labels.values()


def test_the_process_is_told_of(pages: dict[str, httpx.Response]) -> None:
    by_name = {metric.name: metric.samples[0].value for metric in read_text(pages[""].text) if metric.samples}
    assert by_name["process_resident_memory_bytes"] > 1 << 20
    assert by_name["process_open_fds"] > 0


def test_no_label_has_what_a_client_or_a_registry_named(pages: dict[str, httpx.Response]) -> None:
    values = {
        value for metric in read_text(pages[""].text) for sample in metric.samples for value in sample.labels.values()
    }
    named = re.compile(r"@|nothing|nobody|^(en|sw|swa|tiny)$")
    assert [value for value in values if named.search(value)] == []

"""docs/serving.md has every address, parameter, header, error and setting there is, and none besides."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Info
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

from service.app import create_app
from service.metrics import Metrics
from service.problems import PROBLEMS
from service.schemas import FillMaskParameters, NerParameters, StackParameters
from service.settings import Settings, variable
from tests.support.served import Home, make_home

Rows = list[tuple[str, ...]]


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs" / "serving.md").read_text("utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("documented"))


def table(page: str, heading: str) -> Rows:
    """The body of the first table behind `heading`, its code marks off."""
    _, found, rest = page.partition(f"\n{heading}\n")
    assert found, heading
    return list(_body(rest))


def _body(text: str) -> Iterator[tuple[str, ...]]:
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("|---"):
            break
    for line in lines:
        if not line.startswith("|"):
            return
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        yield (first.strip("`"), *rest)


def test_addresses(page: str, tmp_path: Path) -> None:
    paths = create_app(Settings(home=tmp_path, backbone="none")).openapi()["paths"]
    there = {
        (method.upper(), f"`{path}`", operation["summary"])
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    assert set(table(page, "## Addresses")) == there


def own_fields(shape: type[BaseModel], base: type[BaseModel]) -> set[str]:
    return set(shape.model_fields) - set(base.model_fields)


def test_parameters(page: str) -> None:
    def documented(heading: str) -> set[str]:
        return {row[0] for row in table(page, heading)}

    assert documented("## Predicting") == set(StackParameters.model_fields)
    assert documented("### `ner`") == own_fields(NerParameters, StackParameters)
    assert documented("### `fill-mask`") == own_fields(FillMaskParameters, StackParameters)


def test_headers(page: str, home: Home) -> None:
    with home.client() as client:
        answer = client.post("/v1/predict/ner?language=sw", json={"inputs": "Juma"})
    sent = {name for name in answer.headers if name.startswith("x-")}
    assert {row[0] for row in table(page, "### Headers of an answer")} == sent


def test_errors(page: str) -> None:
    there = sorted({(str(problem.status), f"`{problem.code}`", problem.title) for problem in PROBLEMS})
    assert sorted(table(page, "## Errors")) == there


def test_each_error_has_the_code_and_one_meaning() -> None:
    assert [problem.error for problem in PROBLEMS if problem.error.code != problem.code] == []
    assert len({problem.error for problem in PROBLEMS}) == len(PROBLEMS)
    by_code = {(problem.code, problem.status, problem.title) for problem in PROBLEMS}
    assert len(by_code) == len({code for code, _, _ in by_code})


def test_settings(page: str) -> None:
    documented = {row[0]: row[1:] for row in table(page, "## Settings")}
    fields = Settings.model_fields
    assert list(documented) == [variable(name) for name in fields]
    for name, field in fields.items():
        default, meaning = documented[variable(name)]
        assert meaning == field.description
        if name != "home":
            has_none = field.is_required() or field.default is None
            assert default == ("" if has_none else f"`{field.default}`")


def test_metrics(page: str) -> None:
    metrics = Metrics()
    metrics.describe_build(dtype="float32", device="cpu")
    there = []
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (described,) = metric.describe()
            suffix = {"counter": "_total", "info": "_info"}.get(described.type, "")
            kind = "gauge" if described.type == "info" else described.type
            there.append((described.name + suffix, kind, _labels_of(metric), described.documentation))
    assert table(page, "## Metrics") == there


def _labels_of(metric: MetricWrapperBase) -> str:
    """Those of an `Info` are of its one series."""
    names = metric._labelnames
    if isinstance(metric, Info):
        (described,) = metric.collect()
        names = tuple(described.samples[0].labels)
    return ", ".join(f"`{name}`" for name in names)

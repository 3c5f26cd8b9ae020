"""A quarter of a minute of what `make churn` does for an hour."""

from pathlib import Path

import pytest

from tests.soak.churn import GROWTH_BYTES, churn

SECONDS = 15


@pytest.mark.faults
@pytest.mark.slow
def test_adapters_come_and_go_and_memory_stays(tmp_path: Path) -> None:
    churned = churn(tmp_path, seconds=SECONDS, seed=1)
    assert churned.faults == []
    assert churned.growth_bytes < GROWTH_BYTES

"""32 writers at once, on SQLite with a folder and on PostgreSQL with an object store."""

import pytest

from tests.support.race_contract import RegistryRaces

pytestmark = [pytest.mark.faults, pytest.mark.slow]


class TestRaces(RegistryRaces):
    pass

"""What the trials over HTTP count, without a server: pools of windows, who is cold, and what must end a run."""

import numpy as np
import pytest

from benchmarks.cold import COLD_LANGUAGES, COLD_TASKS, WARM_LANGUAGES, WARM_TASKS, cold_stacks, hold_warm
from benchmarks.load.client import Sent
from benchmarks.load.flows import FIELDS
from benchmarks.trials import p99_ms, pools_of


def sent(seconds: list[float], status: int = 200) -> Sent:
    table = np.zeros((len(seconds), len(FIELDS)))
    table[:, FIELDS.index("seconds")] = seconds
    table[:, FIELDS.index("status")] = status
    return Sent(table=table)


def test_pools_have_enough_samples_and_no_window_too_many() -> None:
    counts = [120, 150, 300, 90, 100, 220]
    pools = pools_of(counts, 400)
    assert pools == [range(3), range(1, 3), range(2, 5), range(3, 6)]
    assert pools_of([399], 400) == []
    assert pools_of([400, 1], 400) == [range(1)]


def test_a_p99_is_that_of_all_requests_of_its_windows() -> None:
    windows = [sent([9.0] * 100), sent([0.1] * 199), sent([0.1] * 199 + [5.0] * 2)]
    assert p99_ms(windows, range(1, 3)) == pytest.approx(100.0)
    assert p99_ms(windows, range(2)) == pytest.approx(9000.0)


def test_every_cold_request_has_one_cold_adapter_and_each_is_asked_for_once() -> None:
    stacks = cold_stacks()
    languages = [language for language, _ in stacks if language >= WARM_LANGUAGES]
    tasks = [task for _, task in stacks if task >= WARM_TASKS]
    assert sorted(languages) == list(range(WARM_LANGUAGES, WARM_LANGUAGES + COLD_LANGUAGES))
    assert sorted(tasks) == list(range(WARM_TASKS, WARM_TASKS + COLD_TASKS))
    assert all((language >= WARM_LANGUAGES) != (task >= WARM_TASKS) for language, task in stacks)


def test_a_warm_request_that_waited_for_the_store_is_named() -> None:
    hold_warm(sent([0.1] * 5), "while the store hung")
    late = Sent(table=np.concatenate([sent([0.1] * 5).table, sent([30.0] * 2, 504).table]))
    with pytest.raises(SystemExit, match=r"while the store hung, 2 of 7 warm requests were answered with 504"):
        hold_warm(late, "while the store hung")

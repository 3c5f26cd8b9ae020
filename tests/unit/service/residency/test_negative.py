"""Loads that failed are refused at once, for longer after each failure, and tried again afterwards."""

from madx.manifest import Digest
from service.residency.negative import FIRST_S, LONGEST_S, FailedLoads

DIGEST = Digest("a" * 64)


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_failure_is_refused_until_its_time_is_over() -> None:
    clock = Clock()
    failed = FailedLoads(clock=clock)
    assert failed.refusal(DIGEST) is None
    failed.remember(DIGEST, "sw@1", "it broke", is_permanent=False)
    refusal = failed.refusal(DIGEST)
    assert refusal is not None
    assert (str(refusal), refusal.retry_after_s) == ("sw@1 cannot be loaded: it broke", 5)
    clock.now_s += FIRST_S - 0.5
    assert failed.refusal(DIGEST) is not None
    assert len(failed) == 1
    clock.now_s += 0.5
    assert failed.refusal(DIGEST) is None
    assert len(failed) == 0


def test_each_failure_in_a_row_doubles_the_wait_up_to_the_longest() -> None:
    clock = Clock()
    failed = FailedLoads(clock=clock)
    waits = []
    for _ in range(6):
        waits.append(failed.remember(DIGEST, "sw@1", "it broke", is_permanent=False).retry_after_s)
        clock.now_s += LONGEST_S
    assert waits == [5, 10, 20, 40, 60, 60]


def test_what_will_not_heal_by_itself_waits_longest_at_once() -> None:
    assert FailedLoads().remember(DIGEST, "sw@1", "damaged", is_permanent=True).retry_after_s == LONGEST_S


def test_a_success_forgets_all_failures() -> None:
    clock = Clock()
    failed = FailedLoads(clock=clock)
    for _ in range(3):
        failed.remember(DIGEST, "sw@1", "it broke", is_permanent=False)
    failed.forget(DIGEST)
    assert failed.refusal(DIGEST) is None
    assert failed.remember(DIGEST, "sw@1", "it broke", is_permanent=False).retry_after_s == FIRST_S


def test_what_is_remembered_is_bounded() -> None:
    failed = FailedLoads()
    for number in range(5_000):
        failed.remember(Digest(f"{number:064x}"), f"sw@{number}", "it broke", is_permanent=False)
    assert len(failed) == 4_096
    assert failed.refusal(Digest(f"{0:064x}")) is None


def test_publishing_again_is_another_chance() -> None:
    failed = FailedLoads()
    failed.remember(DIGEST, "sw@1", "damaged", is_permanent=True)
    failed.forget_named("sw@2")
    assert failed.refusal(DIGEST) is not None
    failed.forget_named("sw@1")
    assert failed.refusal(DIGEST) is None

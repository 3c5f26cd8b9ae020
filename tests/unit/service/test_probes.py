"""One question at a time to what may hang, and answers that are remembered for a moment."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from service.probes import Probe
from tests.support.recorded import recorded
from tests.support.served import PATIENCE_S


@dataclass(slots=True, kw_only=True)
class Asked:
    """What is asked: it answers while `gate` is open, with `error` where there is one."""

    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    times: int = 0
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self) -> None:
        self.times += 1
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error


@pytest.fixture
def asked() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    asked.gate.set()


def test_an_answer_holds_for_a_while(asked: Asked) -> None:
    async def ask() -> None:
        asked.gate.set()
        probe = Probe("thing", asked, fresh_s=PATIENCE_S)
        assert [await probe.answers() for _ in range(5)] == [True] * 5
        assert asked.times == 1
        stale = Probe("thing", asked, fresh_s=0.0)
        assert [await stale.answers() for _ in range(5)] == [True] * 5
        assert asked.times == 6

    asyncio.run(ask())


def test_what_hangs_is_asked_once_whoever_waits(asked: Asked) -> None:
    async def ask() -> None:
        probe = Probe("thing", asked, fresh_s=0.0, patience_s=0.05)
        assert await asyncio.gather(*(probe.answers() for _ in range(20))) == [False] * 20
        assert [await probe.answers() for _ in range(20)] == [False] * 20
        assert asked.times == 1
        asked.gate.set()
        given_up_s = time.monotonic() + PATIENCE_S
        answered = [await probe.answers()]
        while not answered[-1] and time.monotonic() < given_up_s:
            answered.append(await probe.answers())
        assert answered[-1]

    asyncio.run(ask())


def test_an_error_is_no_answer_and_its_message_is_not_logged(asked: Asked) -> None:
    async def ask() -> None:
        asked.gate.set()
        asked.error = OSError("at postgresql://user:password@host")
        probe = Probe("thing", asked, fresh_s=0.0)
        assert not await probe.answers()
        assert not await probe.answers()
        asked.error = None
        assert await probe.answers()

    with recorded(logging.DEBUG) as recorder:
        asyncio.run(ask())
    told = [line["message"] for line in recorder.of("service.probes") if line["level"] == "warning"]
    assert told == ["the thing does not answer", "the thing answers again"]
    assert not any("password" in line for line in recorder.lines)


def test_the_loop_may_end_while_something_hangs(asked: Asked, recwarn: pytest.WarningsRecorder) -> None:
    async def ask() -> bool:
        return await Probe("thing", asked, fresh_s=0.0, patience_s=0.0).answers()

    assert not asyncio.run(ask())
    assert asked.entered.acquire(timeout=PATIENCE_S)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "glossa-probe-thing"]
    asked.gate.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert len(recwarn) == 0

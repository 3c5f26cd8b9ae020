"""What GLOSSA_PINNED names stays on the device, as its references move."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from registry.errors import DatabaseUnavailable, UnknownAlias
from registry.references import AdapterRef
from registry.values import Version
from service.residency.pins import Pins
from service.resolve import Question
from tests.support import tiny
from tests.support.served import PATIENCE_S, Home, Rig, running_engine

ALIAS = AdapterRef(name="ner", alias="production")


class Standing:
    """What references stand for in the registry, or what it raises."""

    def __init__(self, answer: Version | Exception) -> None:
        self.answer = answer

    def __call__(self, question: Question) -> Version:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def run(home: Home, test: Callable[[Rig], Coroutine[Any, Any, None]], **limits: Any) -> None:
    async def main() -> None:
        async with running_engine(home, **limits) as rig:
            await test(rig)

    asyncio.run(main())


async def there(rig: Rig, version: Version) -> int:
    """Its bytes, when it is on the device."""
    lease = await asyncio.wait_for(asyncio.wrap_future(rig.engine.residency.want(version)), PATIENCE_S)
    return rig.engine.residency.device.place(lease).size_bytes


def sizes_of(home: Home, *versions: Version) -> list[int]:
    sizes: list[int] = []

    async def measure(rig: Rig) -> None:
        sizes.extend([await there(rig, version) for version in versions])

    run(home, measure)
    return sizes


def pinned(rig: Rig) -> list[str]:
    return [place.reference for place in rig.engine.residency.device.places() if place.pinned]


async def tended(pins: Pins, rig: Rig, version: Version) -> None:
    """Twice: a load begins, and what has come is pinned."""
    pins.tend(may_have_moved=True)
    await there(rig, version)
    pins.tend(may_have_moved=True)


def test_a_pin_follows_its_reference_where_both_versions_are_too_much(own_home: Home) -> None:
    """Each is 30 % of the memory, and half of it may be pinned."""
    first = own_home.version("ner")
    second = own_home.publish("ner", tiny.task_checkpoint(own_home.loaded, seed=9))
    (size_bytes,) = sizes_of(own_home, first)

    async def check(rig: Rig) -> None:
        standing = Standing(first)
        pins = Pins([ALIAS], rig.engine.residency, standing)
        await tended(pins, rig, first)
        assert pinned(rig) == ["ner@1"]
        standing.answer = second
        await tended(pins, rig, second)
        assert pinned(rig) == ["ner@2"]

    run(own_home, check, adapter_bytes=int(size_bytes / 0.3))


def test_a_version_that_two_references_name_stays_until_the_last_of_them_has_moved(own_home: Home) -> None:
    first = own_home.version("ner")
    second = own_home.publish("ner", tiny.task_checkpoint(own_home.loaded, seed=9))
    number = AdapterRef(name="ner", number=1)

    async def check(rig: Rig) -> None:
        stands = {ALIAS: first, number: first}
        pins = Pins([ALIAS, number], rig.engine.residency, lambda question: stands[question])  # type: ignore[index]
        await tended(pins, rig, first)
        stands[ALIAS] = second
        await tended(pins, rig, second)
        assert pinned(rig) == ["ner@1", "ner@2"]
        stands[number] = second
        await tended(pins, rig, second)
        assert pinned(rig) == ["ner@2"]

    run(own_home, check)


def test_what_a_reference_no_longer_stands_for_is_unpinned(home: Home) -> None:
    version = home.version("ner")

    async def check(rig: Rig) -> None:
        standing = Standing(version)
        pins = Pins([ALIAS], rig.engine.residency, standing)
        await tended(pins, rig, version)
        standing.answer = DatabaseUnavailable("away")
        pins.tend(may_have_moved=True)
        assert pinned(rig) == ["ner@1"], "nobody said that it stands for something else"
        standing.answer = UnknownAlias("gone")
        pins.tend(may_have_moved=True)
        assert pinned(rig) == []
        standing.answer = version
        await tended(pins, rig, version)
        assert pinned(rig) == ["ner@1"]

    run(home, check)


def test_what_has_come_stays_until_it_is_pinned(home: Home) -> None:
    ner, en, sw = (home.version(name) for name in ("ner", "en", "sw"))
    sizes = sizes_of(home, ner, en, sw)

    async def check(rig: Rig) -> None:
        pins = Pins([ALIAS], rig.engine.residency, Standing(ner))
        pins.tend(may_have_moved=True)
        await there(rig, ner)
        for version in (en, sw, en):
            await there(rig, version)
        assert sw.manifest_digest not in rig.engine.residency.device
        pins.tend(may_have_moved=False)
        assert pinned(rig) == ["ner@1"]
        assert rig.loads.references.count("ner@1") == 1

    run(home, check, adapter_bytes=sizes[0] + max(sizes))

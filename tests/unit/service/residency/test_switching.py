"""Which version answers while a reference goes over to another one."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from registry.errors import UnknownVersion
from registry.references import AdapterRef
from registry.values import Event, Version
from service.errors import AdapterLoadFailed
from service.residency.places import Lease
from service.residency.switching import Switching
from service.resolve import Question
from tests.support.served import PATIENCE_S, Home, Rig, running_engine

ALIAS = AdapterRef(name="sw", alias="production")


def run(home: Home, test: Callable[[Rig], Coroutine[Any, Any, None]], **limits: Any) -> None:
    async def main() -> None:
        async with running_engine(home, **limits) as rig:
            await test(rig)

    asyncio.run(main())


def switching_of(rig: Rig, resolve: Callable[[Question], Version] | None = None) -> Switching:
    def unasked(question: Question) -> Version:
        raise AssertionError(question)

    return Switching(rig.engine.residency, resolve or unasked, rig.metrics)


def event(action: str, subject: str) -> Event:
    return Event(id=1, at=datetime.now(UTC), action=action, subject=subject, detail={})


async def there(rig: Rig, version: Version) -> Lease:
    return await asyncio.wait_for(asyncio.wrap_future(rig.engine.residency.want(version)), PATIENCE_S)


def test_the_old_version_answers_until_the_new_one_is_there(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        switching = switching_of(rig)
        rig.loads.held.add("sw@1")
        assert switching.choose(ALIAS, old) is old
        await there(rig, old)
        assert switching.choose(ALIAS, new) is old
        assert len(switching) == 1
        rig.loads.gate.set()
        await there(rig, new)
        assert switching.choose(ALIAS, new) is new
        assert len(switching) == 0
        assert rig.loads.references == ["en@1", "sw@1"], "the load began with the first request"
        assert rig.metrics.value("glossa_reference_switches_total") == 1

    run(home, check)


def test_where_neither_is_there_nobody_waits_for_the_old_one(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        switching = switching_of(rig)
        assert switching.choose(ALIAS, old) is old
        assert switching.choose(ALIAS, new) is new

    run(home, check)


def room_for_one(home: Home) -> int:
    """Bytes in which any of the home's adapters fits, and no two do."""
    sizes: dict[str, int] = {}

    async def measure(rig: Rig) -> None:
        for name in ("en", "sw", "ner"):
            lease = await there(rig, home.version(name))
            sizes[name] = rig.engine.residency.device.place(lease).size_bytes

    run(home, measure)
    assert max(sizes.values()) < sum(sorted(sizes.values())[:2])
    return max(sizes.values())


def test_an_evicted_version_answers_again_while_the_next_one_keeps_waiting(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        switching = switching_of(rig)
        rig.loads.held.add("sw@1")
        switching.choose(ALIAS, old)
        await there(rig, old)
        assert switching.choose(ALIAS, new) is old
        await there(rig, home.version("ner"))
        assert old.manifest_digest not in rig.engine.residency.device
        assert switching.choose(ALIAS, new) is old
        rig.loads.gate.set()
        await there(rig, new)
        assert switching.choose(ALIAS, new) is new

    run(home, check, adapter_bytes=room_for_one(home))


def test_an_evicted_version_answers_again_while_the_next_one_cannot_be_loaded(own_home: Home) -> None:
    """Also in the moments when a load of the next one is tried again."""

    async def check(rig: Rig) -> None:
        old, new = own_home.version("en"), own_home.version("sw")
        switching = switching_of(rig)
        digest = new.weights_digest
        (own_home.folder / "blobs" / digest[:2] / digest[2:]).unlink()
        switching.choose(ALIAS, old)
        await there(rig, old)
        assert switching.choose(ALIAS, new) is old
        with pytest.raises(AdapterLoadFailed):
            await there(rig, new)
        await there(rig, own_home.version("ner"))
        assert old.manifest_digest not in rig.engine.residency.device
        assert switching.choose(ALIAS, new) is old
        rig.engine.residency.loading.failed.forget_named(new.reference)
        assert switching.choose(ALIAS, new) is old
        with pytest.raises(AdapterLoadFailed):
            await there(rig, new)
        assert rig.loads.references.count("sw@1") == 2
        assert len(switching) == 1

    run(own_home, check, adapter_bytes=room_for_one(own_home))


def test_one_that_was_loaded_has_taken_over_though_it_was_evicted_before_anybody_asked(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        switching = switching_of(rig)
        switching.choose(ALIAS, old)
        await there(rig, old)
        assert switching.choose(ALIAS, new) is old
        await there(rig, new)
        await there(rig, old)
        assert new.manifest_digest not in rig.engine.residency.device
        assert len(switching) == 0
        assert switching.choose(ALIAS, new) is new

    run(home, check, adapter_bytes=room_for_one(home))


def test_a_number_is_never_redirected_and_questions_are_apart(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        switching = switching_of(rig)
        rig.loads.held.add("sw@1")
        numbered, default = AdapterRef(name="sw", number=1), ("language", "sw")
        for question in (numbered, ALIAS, default):
            assert switching.choose(question, old) is old  # type: ignore[arg-type]
        await there(rig, old)
        assert switching.choose(numbered, new) is new
        assert switching.choose(default, new) is old  # type: ignore[arg-type]
        assert switching.choose(ALIAS, old) is old
        assert len(switching) == 1

    run(home, check)


def test_a_deleted_version_answers_nothing_more(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        switching = switching_of(rig)
        rig.loads.held.add("sw@1")
        switching.choose(ALIAS, old)
        await there(rig, old)
        assert switching.choose(ALIAS, new) is old
        switching.heard([event("version.deleted", "en@2")])
        assert switching.choose(ALIAS, new) is old
        switching.heard([event("version.deleted", "en@1")])
        assert switching.choose(ALIAS, new) is new

    run(home, check)


def test_a_version_that_was_deleted_while_the_registry_answered_does_not_come_back(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        switching = switching_of(rig, lambda _: old)
        rig.loads.held.add("sw@1")
        await there(rig, old)
        switching.heard([event("version.deleted", "en@1")])
        assert switching.choose(ALIAS, old) is old, "nothing else is known yet"
        assert switching.choose(ALIAS, new) is new
        assert switching.choose(ALIAS, old) is new
        switching.heard([event("alias.moved", "sw@production")])
        switching.tend()
        assert switching.choose(ALIAS, new) is new
        assert len(switching) == 0
        switching.heard([event("version.restored", "en@1")])
        assert switching.choose(ALIAS, old) is old

    run(home, check)


def test_a_version_that_is_deleted_on_its_way_does_not_take_over(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        switching = switching_of(rig)
        rig.loads.held.add("sw@1")
        switching.choose(ALIAS, old)
        await there(rig, old)
        assert switching.choose(ALIAS, new) is old
        switching.heard([event("version.deleted", "sw@1")])
        rig.loads.gate.set()
        await there(rig, new)
        assert len(switching) == 0
        assert rig.metrics.value("glossa_reference_switches_total") == 0

    run(home, check)


def test_moving_back_forgets_what_was_coming(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        switching = switching_of(rig)
        rig.loads.held.add("sw@1")
        switching.choose(ALIAS, old)
        await there(rig, old)
        assert switching.choose(ALIAS, new) is old
        assert switching.choose(ALIAS, old) is old
        assert len(switching) == 0

    run(home, check)


def test_what_a_served_reference_has_moved_to_is_loaded_before_anybody_asks(home: Home) -> None:
    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        standing = {ALIAS: old}
        switching = switching_of(rig, lambda question: standing[question])  # type: ignore[index]
        switching.choose(ALIAS, old)
        await there(rig, old)
        standing[ALIAS] = new
        switching.heard([event("alias.moved", "ner@production")])
        switching.tend()
        assert len(switching) == 0
        switching.heard([event("alias.moved", "en@production")])
        switching.tend()
        assert len(switching) == 1
        await there(rig, new)
        assert switching.choose(ALIAS, new) is new

    run(home, check)


def test_what_a_default_has_gone_to_is_loaded_before_anybody_asks(home: Home) -> None:
    """The event names the adapter that is the default now, not the one that was."""

    async def check(rig: Rig) -> None:
        old, new = home.version("en"), home.version("sw")
        question: Question = ("language", "sw")
        switching = switching_of(rig, lambda _: new)
        switching.choose(question, old)
        await there(rig, old)
        switching.heard([event("default.set", "sw")])
        switching.tend()
        assert rig.loads.references == ["en@1", "sw@1"]
        await there(rig, new)
        assert switching.choose(question, new) is new

    run(home, check)


def test_a_reference_that_stands_for_nothing_now_is_left_to_those_who_ask(home: Home) -> None:
    def resolve(question: Question) -> Version:
        raise UnknownVersion(str(question))

    async def check(rig: Rig) -> None:
        switching = switching_of(rig, resolve)
        switching.choose(ALIAS, home.version("sw"))
        switching.heard([event("alias.removed", "sw@production")])
        switching.tend()
        assert len(switching) == 0

    run(home, check)


def test_what_is_remembered_is_bounded(home: Home) -> None:
    async def check(rig: Rig) -> None:
        switching = switching_of(rig)
        version = home.version("sw")
        for number in range(5_000):
            switching.choose(AdapterRef(name=f"sw-{number}"), replace(version, name=f"sw-{number}"))
        assert len(switching._served) == 4_096

    run(home, check)

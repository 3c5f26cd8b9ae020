"""Which version answers while a reference goes over to another one."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from registry.errors import UnknownVersion
from registry.references import AdapterRef
from registry.values import Event, Version
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


async def there(rig: Rig, version: Version) -> None:
    await asyncio.wait_for(asyncio.wrap_future(rig.engine.residency.want(version)), PATIENCE_S)


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

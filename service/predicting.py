"""One request, or one line of a stream, on its way: ready for the engine, through it, and its reply.

What holds for every line is a `Call`; how the engine is waited for is the caller's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from .access import Caller
from .errors import DeadlineExceeded, InvalidRequest
from .notes import Ran
from .preparing import prepare, reply_of
from .resolve import Stack
from .room import Claim
from .state import Server, server_of
from .tasks import Prepared, Read, reader_of
from .work import Done

DEADLINE_HEADER = "x-glossa-deadline-ms"

Run = Callable[[Prepared, float], Awaitable[Done]]
"""What is ready and the moment of `time.monotonic` at which it is too late -> its rows' answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a request says beside its body. `key` is the caller's key id, empty without keys."""

    server: Server
    task: str
    read: Read
    language: str | None
    key: str
    within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """`reply` is JSON; `stacks` has one for each text."""

    reply: bytes
    stacks: tuple[Stack, ...]
    ran: Ran


def call_of(task: str, request: Request, caller: Caller) -> Call:
    """Raises `UnknownTask` and `InvalidRequest`, and what the engine refuses whatever the body has."""
    server = server_of(request)
    call = Call(
        server=server,
        task=task,
        read=reader_of(task),
        language=_language(request),
        key="" if caller.key is None else caller.key.id,
        within_s=_within_s(request, server.settings.deadline_s),
    )
    server.engine.has_room(call.key)
    return call


def _language(request: Request) -> str | None:
    unknown = [name for name in request.query_params if name != "language"]
    if unknown:
        raise InvalidRequest(f"{unknown[0]} is not known in the address; only language is", field=unknown[0])
    return request.query_params.get("language")


def _within_s(request: Request, longest_s: float) -> float:
    """The client's own deadline, where it has one."""
    text = request.headers.get(DEADLINE_HEADER)
    if text is None:
        return longest_s
    is_number = text.isascii() and text.isdecimal() and len(text) <= 9  # digits of other scripts are decimal, too
    if not is_number or not 0 < int(text) <= longest_s * 1e3:
        raise InvalidRequest(
            f"{DEADLINE_HEADER} is a whole number of milliseconds, 1 to {int(longest_s * 1e3)}", field=DEADLINE_HEADER
        )
    return int(text) / 1e3


async def answer(
    call: Call, read_content: Callable[[], Awaitable[bytes]], run: Run, *, waits: bool = False
) -> Answered:
    """Raises `DeadlineExceeded` where it takes too long, whatever does, and what any of its steps raises.

    Without `waits` that is `QueueFull` where too much is being prepared.
    """
    started_s = time.monotonic()
    try:
        async with asyncio.timeout(call.within_s):
            content = await read_content()
            claim = Claim(size_bytes=len(content), key=call.key, waits=waits)
            prepared = await prepare(call.read, content, call.language, call.server, claim)
            prepared_s = time.monotonic()
            done = await run(prepared, started_s + call.within_s)
            reply = await reply_of(prepared, done.answers, call.server)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"not answered within {call.within_s:g} s; send less at once, or try again later"
        ) from error
    ran = _ran(prepared.stacks, done, prepared_s - started_s)
    return Answered(reply=reply, stacks=prepared.stacks, ran=ran)


def _ran(stacks: Sequence[Stack], done: Done, tokenization_s: float) -> Ran:
    versions = (version for stack in stacks for version in (stack.task, stack.language))
    return Ran(
        adapters=tuple(dict.fromkeys(version.reference for version in versions if version is not None)),
        tokens=done.tokens,
        tokenization_s=tokenization_s,
        queue_s=done.queue_s,
        inference_s=done.inference_s,
    )


def versions_of(stacks: Sequence[Stack]) -> dict[str, str]:
    """Every version that ran, in the order of the texts, each once: by what it is, none where none ran."""
    named: dict[str, list[Any]] = {
        "adapter": [stack.task for stack in stacks],
        "language_adapter": [stack.language for stack in stacks],
    }
    found: dict[str, str] = {}
    for name, versions in named.items():
        references = dict.fromkeys(version.reference for version in versions if version is not None)
        if references:
            found[name] = ", ".join(references)
    return found

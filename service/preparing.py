"""A body -> a request made ready for the engine, on the event loop where that takes less time than a thread's answer.

What is short, and names versions that are remembered, costs no thread; the rest costs one. A request waits for the
registry only where what it names is not remembered.
"""

from collections.abc import Sequence

import orjson

from .readout import RowAnswer
from .resolutions import NotRemembered
from .state import Server
from .tasks import Asked, Prepared, Read

SMALL_BODY_BYTES = 1_024
SMALL_TEXTS = 4
SMALL_REPLY_TOKENS = 256
"""Up to these, reading, tokenising or decoding takes about a millisecond at most."""


async def prepare(read: Read, content: bytes, language: str | None, server: Server) -> Prepared:
    """Raises what reading, resolving and encoding a request raise."""
    if len(content) > SMALL_BODY_BYTES:
        ready = await server.pools.tokenize(_read_and_encode, read, content, language, server)
    else:
        asked = read(content, language, server)
        is_small = len(asked.codes) <= SMALL_TEXTS
        ready = _encode(asked, server) if is_small else await server.pools.tokenize(_encode, asked, server)
    if isinstance(ready, Prepared):
        return ready
    stacks = await server.pools.ask(ready.stacks, server.resolutions)
    return await server.pools.tokenize(ready.encode, stacks)


def _read_and_encode(read: Read, content: bytes, language: str | None, server: Server) -> Prepared | Asked:
    return _encode(read(content, language, server), server)


def _encode(asked: Asked, server: Server) -> Prepared | Asked:
    """`asked` itself where the registry must be asked first."""
    try:
        stacks = asked.stacks(server.resolutions.remembered)
    except NotRemembered:
        return asked
    return asked.encode(stacks)


async def reply_of(prepared: Prepared, answers: Sequence[RowAnswer], server: Server) -> bytes:
    """The reply as JSON."""
    if prepared.reply_tokens <= SMALL_REPLY_TOKENS:
        return _reply(prepared, answers)
    return await server.pools.tokenize(_reply, prepared, answers)


def _reply(prepared: Prepared, answers: Sequence[RowAnswer]) -> bytes:
    return orjson.dumps(prepared.reply(answers))

"""A body -> a request made ready for the engine, on the event loop where that takes less time than a thread's answer.

What is short, and names versions that are remembered, costs no thread; the rest costs one. A request waits for the
registry only where what it names is not remembered. What takes a thread needs room (`room`) before it.
"""

from collections.abc import Sequence

import orjson

from .errors import BodyTooLarge
from .readout import RowAnswer
from .resolutions import NotRemembered
from .room import Claim
from .state import Server
from .tasks import Asked, Prepared, Read

SMALL_BODY_BYTES = 1_024
SMALL_TEXTS = 4
SMALL_REPLY_TOKENS = 256
"""Up to these, reading, tokenising or decoding takes about a millisecond at most."""


async def prepare(read: Read, content: bytes, language: str | None, server: Server, claim: Claim) -> Prepared:
    """Raises what reading, resolving and encoding a request raise, `BodyTooLarge`, and `QueueFull` without room."""
    if len(content) > SMALL_BODY_BYTES:
        ready = await server.pools.prepare(claim, _read_and_encode, read, content, language, server)
    else:
        asked = read(content, language, server)
        is_small = len(asked.texts) <= SMALL_TEXTS
        ready = _encode(asked, server) if is_small else await server.pools.prepare(claim, _encode, asked, server)
    if isinstance(ready, Prepared):
        return ready
    stacks = await server.pools.ask(claim, ready.stacks, server.resolutions)
    return await server.pools.prepare(claim, ready.encode, stacks)


def _read_and_encode(read: Read, content: bytes, language: str | None, server: Server) -> Prepared | Asked:
    asked = read(content, language, server)
    _check_words(asked.texts, most=server.settings.queue_tokens)
    return _encode(asked, server)


def _check_words(texts: Sequence[str], *, most: int) -> None:
    """A word has a token or more, and counting words takes a hundredth of the time."""
    words = sum(len(text.split()) for text in texts)
    if words > most:
        raise BodyTooLarge(f"the request has {words} words, more than the {most} tokens of the whole queue")


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
    return await server.pools.decode(_reply, prepared, answers)


def _reply(prepared: Prepared, answers: Sequence[RowAnswer]) -> bytes:
    return orjson.dumps(prepared.reply(answers))

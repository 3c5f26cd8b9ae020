"""What is noted of one request while it runs: `barrier` makes the note, guards and routes add to it.

When the request has ended, `barrier` makes its figures and its line of the log from it. A request's text and a key's
secret have no place here.
"""

import re
import secrets
from collections import Counter
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import Scope

_PLACE = "glossa.note"
_REQUEST_ID = b"x-request-id"
_SAFE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What the engine did for a request. `adapters` are the versions that ran, as references."""

    adapters: tuple[str, ...]
    tokens: int
    tokenization_s: float
    queue_s: float
    inference_s: float


@dataclass(slots=True, kw_only=True, eq=False)
class Note:
    """`key` is the key's id, `code` that of the problem it ended with, `lines` how many of a stream with which."""

    request_id: str
    key: str = ""
    code: str = ""
    ran: Ran | None = None
    lines: Counter[str] = field(default_factory=Counter)


def attach(note: Note, scope: Scope) -> None:
    scope[_PLACE] = note


def note_of(request: Request) -> Note:
    note = request.scope[_PLACE]
    assert isinstance(note, Note)
    return note


def request_id_of(scope: Scope) -> str:
    """The client's, where it can stand in a header and a log as it is; else one of our own."""
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and _SAFE.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(8)

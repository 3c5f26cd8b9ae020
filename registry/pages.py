"""Cursors: where the next page of a list begins. A list is walked by the position of its last item, never by counting,
so that rows which are added or removed meanwhile make no other row come twice or not at all.
"""

import base64
import binascii
import hashlib
import json

from .errors import InvalidCursor

MOST_PER_PAGE = 200
_LONGEST = 400

Position = str | int


def cursor_at(position: Position, *filters: object) -> str:
    """For the page after `position`, of the list that `filters` make."""
    content = json.dumps([_digest(filters), position]).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def position_of(cursor: str, kind: type[str] | type[int], *filters: object) -> Position:
    """Raises `InvalidCursor` unless `cursor_at` made it for the same filters."""
    try:
        if len(cursor) > _LONGEST or not cursor.isascii():
            raise ValueError
        content = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        digest, position = content
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise InvalidCursor("this is no cursor; leave it out to begin at the first page") from error
    if type(position) is not kind or digest != _digest(filters):
        raise InvalidCursor("this cursor is of another list; leave it out to begin at the first page")
    if isinstance(position, int) and not 0 <= position < 1 << 62:
        raise InvalidCursor("this is no cursor; leave it out to begin at the first page")
    return position


def _digest(filters: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(filters).encode("utf-8", "backslashreplace")).hexdigest()[:16]

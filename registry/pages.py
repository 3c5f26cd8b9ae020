"""Pages of lists, and cursors: where the next page begins. A list is walked by the position of its last item, never by
counting, so that rows which are added or removed meanwhile make no other row come twice or not at all.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from .errors import InvalidCursor
from .values import Page

MOST_PER_PAGE = 200
_LONGEST = 400

Position = str | int
Item = TypeVar("Item")


def page_size(limit: int) -> int:
    """`limit`, as far as it is allowed. Ask for one row more: it tells whether another page follows."""
    return max(1, min(limit, MOST_PER_PAGE))


def page_of(found: Sequence[Item], size: int, position: Callable[[Item], Position], *filters: object) -> Page[Item]:
    """The first `size` of `found`. `position` is that of an item in the list that `filters` make."""
    items = tuple(found[:size])
    return Page(items=items, next_cursor=cursor_at(position(items[-1]), *filters) if len(found) > size else None)


def walked(page_after: Callable[[str | None], Page[Item]]) -> Iterator[Item]:
    """Every item of a list, page after page; `page_after` gives the one that a cursor begins."""
    cursor: str | None = None
    while True:
        page = page_after(cursor)
        yield from page.items
        if (cursor := page.next_cursor) is None:
            return


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

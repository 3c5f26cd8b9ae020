"""Conditional and partial requests (RFC 9110, sections 13 and 14): headers -> what to send. Pure; strong tags alone."""

import re
from dataclasses import dataclass

from .errors import InvalidRequest, PreconditionRequired, UnsatisfiableRange

_TAGS = re.compile(r'(?:\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*(?:,|$))+')
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_RANGE = re.compile(r"bytes=\s*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))\s*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`length` bytes from `start` on; `is_whole` where no range was asked for."""

    start: int
    length: int
    is_whole: bool


def quoted(tag: str | int) -> str:
    return f'"{tag}"'


def is_unchanged(if_none_match: str | None, tag: str) -> bool:
    """Whether a reader has this content already, so that 304 will do. Compared weakly, as RFC 9110 has it for GET."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or tag in {found for _, found in _TAG.findall(if_none_match)}


def part_of(range_: str | None, if_range: str | None, *, tag: str, size_bytes: int) -> Part:
    """What is to be sent. Anything but one range of bytes is answered with the whole, which is always allowed.

    Raises `UnsatisfiableRange`.
    """
    whole = Part(start=0, length=size_bytes, is_whole=True)
    found = None if range_ is None else _RANGE.fullmatch(range_)
    if found is None or (if_range is not None and if_range.strip() != quoted(tag)):
        return whole
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size_bytes - int(suffix)), size_bytes
        is_there = int(suffix) > 0 and size_bytes > 0
    else:
        start, end = int(first), size_bytes if not last else min(int(last) + 1, size_bytes)
        if last and int(last) < int(first):
            return whole
        is_there = start < size_bytes
    if not is_there:
        raise UnsatisfiableRange(f"the content has {size_bytes} bytes, the range lies outside", size_bytes=size_bytes)
    return Part(start=start, length=end - start, is_whole=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """What must hold of a thing before it is changed: it exists and has one of `tags`, or any where these are None; or,
    for `is_new`, it does not exist.
    """

    tags: frozenset[str] | None = None
    is_new: bool = False

    def holds(self, revision: int) -> bool:
        """`revision` is the present one, whose tag is its number; 0 where there is none."""
        if self.is_new:
            return revision == 0
        return revision > 0 and (self.tags is None or str(revision) in self.tags)


def precondition_of(if_match: str | None, if_none_match: str | None) -> Precondition:
    """Raises `PreconditionRequired` without either, and `InvalidRequest` for what is neither tags nor `*`."""
    if if_match is not None and if_none_match is not None:
        raise InvalidRequest("send If-Match or If-None-Match, not both", field="If-Match")
    if if_match is not None:
        if if_match.strip() == "*":
            return Precondition()
        if _TAGS.fullmatch(if_match) is None:
            raise InvalidRequest('If-Match is a tag in quotation marks, like "3", or *', field="If-Match")
        # If-Match compares strongly: a weak tag matches nothing.
        return Precondition(tags=frozenset(tag for weak, tag in _TAG.findall(if_match) if not weak))
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise InvalidRequest("If-None-Match is * here: nothing of this name may be there", field="If-None-Match")
        return Precondition(is_new=True)
    raise PreconditionRequired(
        'say what you expect: If-Match with the tag that you read, like "3", or If-None-Match: * to create'
    )

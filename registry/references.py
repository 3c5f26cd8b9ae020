"""How users name an adapter: `name@3`, `name@production` or `name`. Parsed here, resolved by `catalog`."""

import re
from dataclasses import dataclass

from .errors import InvalidName

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")

PRODUCTION = "production"


def check_name(name: str) -> str:
    """`name`, if it may name an adapter or a task. Raises `InvalidName`."""
    if _NAME.fullmatch(name) is None:
        raise InvalidName(
            f"{name!r} is no valid name: use 1 to 64 lower-case letters, digits, '.', '_' or '-', "
            "starting with a letter or digit"
        )
    return name


def check_alias(alias: str) -> str:
    """`alias`, if it may name an alias. Raises `InvalidName`."""
    if _ALIAS.fullmatch(alias) is None:
        raise InvalidName(
            f"{alias!r} is no valid alias: use 1 to 64 lower-case letters, digits, '.', '_' or '-', "
            "starting with a letter"
        )
    return alias


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRef:
    """A reference. With neither `number` nor `alias`: the `production` alias, else the newest live version."""

    name: str
    number: int | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.alias is not None:
            check_alias(self.alias)
        if self.number is not None and (self.alias is not None or not 1 <= self.number <= 999_999_999):
            raise InvalidName("a reference names one version number (1 or more) or one alias, not both")

    def __str__(self) -> str:
        return self.name if self.selector is None else f"{self.name}@{self.selector}"

    @property
    def selector(self) -> str | None:
        """What stands behind the `@`."""
        return self.alias if self.number is None else str(self.number)


def parse_reference(text: str) -> AdapterRef:
    """Read `name@3`, `name@production` or `name`. Raises `InvalidName` saying which part is wrong."""
    name, separator, selector = text.partition("@")
    if not separator:
        return AdapterRef(name=name)
    if _NUMBER.fullmatch(selector):
        return AdapterRef(name=name, number=int(selector))
    if _ALIAS.fullmatch(selector):
        return AdapterRef(name=name, alias=selector)
    check_name(name)
    raise InvalidName(
        f"{text!r} is no valid reference: after '@' comes a version number (name@3) or an alias (name@production)"
    )

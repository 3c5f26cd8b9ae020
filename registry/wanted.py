"""Versions that are wanted, as a table to join: both databases find them by index then, and the statement is the same
however many there are. SQLite would read all versions where pairs are listed with IN.
"""

import json
from collections.abc import Sequence

from sqlalchemy import ARRAY, FromClause, Integer, String, cast, func, select
from sqlalchemy.orm import Session

from .database import is_postgres


def wanted_versions(session: Session, versions: Sequence[tuple[str, int]]) -> FromClause:
    """Each version is an adapter's name and a number; the columns are `adapter` and `number`."""
    if is_postgres(session):
        names = cast([name for name, _ in versions], ARRAY(String))
        numbers = cast([number for _, number in versions], ARRAY(Integer))
        return func.unnest(names, numbers).table_valued("adapter", "number", name="wanted").render_derived()
    each = func.json_each(json.dumps(list(versions))).table_valued("value")
    adapter = func.json_extract(each.c.value, "$[0]", type_=String)
    number = func.json_extract(each.c.value, "$[1]", type_=Integer)
    return select(adapter.label("adapter"), number.label("number")).subquery("wanted")

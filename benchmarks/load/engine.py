"""The engine's process: the rows that HTTP requests would bring, through `Engine.submit` with a queue that is full.

One JSON request a line on standard input, one JSON answer a line on standard output. The first line has the server's
settings and the texts with the names of their adapters; every later one says how many of them to run.
"""

import asyncio
import json
import sys
from itertools import islice
from typing import Any

from madx.tasks import ner
from registry import catalog
from registry.references import AdapterRef
from registry.values import Version
from service.readout import AllLogits
from service.state import Server
from service.work import AskedRow

from ..engines import Deep, engine_of
from .generator import write


def rows_of(asked: list[dict[str, str]], server: Server) -> list[AskedRow]:
    """As the server's own NER makes them of `text`, `adapter` and `language_adapter`."""
    versions: dict[str, Version] = {}
    rows: list[AskedRow] = []
    for request in asked:
        for name in (request["adapter"], request["language_adapter"]):
            if name not in versions:
                versions[name] = catalog.resolve(server.registry, AdapterRef(name=name))
        encoded = ner.encode(request["text"], server.loaded.tokenizer, max_tokens=server.max_tokens)
        rows.extend(
            AskedRow(
                input_ids=window.input_ids,
                positions=window.positions,
                language=versions[request["language_adapter"]],
                task=versions[request["adapter"]],
                leave_out=(),
                readout=AllLogits(),
            )
            for window in encoded.windows
        )
    return rows


async def serve(first: dict[str, Any]) -> None:
    async with engine_of(first["settings"]) as server:
        rows = rows_of(first["rows"], server)
        deep = Deep(server.engine, queued_tokens=first["queued_tokens"])
        write({"rows": len(rows)})
        begin = 0
        for line in sys.stdin:  # nothing else is to run while this waits
            count = json.loads(line)["count"]
            chosen = list(islice(rows, begin % len(rows), begin % len(rows) + count))
            seconds, done = await deep.run(chosen)
            begin += count
            write({"seconds": seconds, "tokens": sum(each.tokens for each in done)})


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.stdin.readline())))

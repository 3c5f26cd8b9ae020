"""The generator's process: one JSON request a line on standard input, one JSON answer a line on standard output.

The first line names the server and the pools of requests; every later one the flows to run. An answer has the lines of
each flow, and the processor seconds that the generator itself spent.
"""

import asyncio
import gc
import json
import sys
import time
from typing import Any

from .flows import Door, Flow, Pool, run


def prepared(request: dict[str, Any], host: str) -> bytes:
    """`path`, `body` as text, and perhaps a `key` -> the bytes of an HTTP request."""
    body: bytes = request["body"].encode()
    key = f"authorization: Bearer {request['key']}\r\n" if "key" in request else ""
    head = (
        f"POST {request['path']} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{key}"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def write(content: object) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def main() -> None:
    first = json.loads(sys.stdin.readline())
    host, port = first["host"], first["port"]
    pools = {
        name: Pool(requests=[prepared(request, f"{host}:{port}") for request in requests])
        for name, requests in first["pools"].items()
    }
    gc.collect()
    gc.freeze()
    write({})
    with asyncio.Runner() as runner:
        door = Door(host=host, port=port)
        for line in sys.stdin:
            asked = json.loads(line)
            for name, number in asked["begin"].items():
                pools[name].go_to(number)
            flows = [Flow(**flow) for flow in asked["flows"]]
            spent_s, began_s = time.process_time(), time.perf_counter()
            found = runner.run(run(flows, pools, door))
            write(
                {
                    "flows": found,
                    "seconds": time.perf_counter() - began_s,
                    "processor_seconds": time.process_time() - spent_s,
                }
            )


if __name__ == "__main__":
    main()

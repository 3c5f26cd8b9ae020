"""A backbone's fingerprint: equal when the arithmetic, the tokenizer and every stored weight are equal.

sha256 over canonical JSON of `BackboneConfig`, the canonical tokenizer definition, and each tensor's stored name,
dtype, shape and little-endian bytes in name order. docs/checkpoint-format.md lists the fields.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

import torch

from .config import BackboneConfig
from .manifest import Digest

FORMAT = "glossa-fingerprint/1"


def fingerprint(config: BackboneConfig, tokenizer_definition: str, tensors: Mapping[str, torch.Tensor]) -> Digest:
    """`tensors` under stored names and in the dtype they were stored in (see `Backbone.stored_tensors`)."""
    sha = hashlib.sha256()

    def feed(content: bytes | memoryview) -> None:
        # A length before each part keeps two different sequences of parts from running together.
        sha.update(len(content).to_bytes(8, "little"))
        sha.update(content)

    feed(FORMAT.encode())
    feed(json.dumps(asdict(config), sort_keys=True).encode())
    feed(tokenizer_definition.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        feed(f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}".encode())
        feed(memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data))
    return Digest(sha.hexdigest())

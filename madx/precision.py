"""In which numbers a served backbone and its adapters run, and which of them this processor has.

A training run and every oracle are float32. A server chooses by `GLOSSA_DTYPE`: halves where the hardware multiplies
them, or int8 weights on a CPU. docs/serving.md has the drift and the speed of each.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from .errors import InvalidConfig

PrecisionName = Literal["float32", "bfloat16", "float16", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """`activations` flow between sub-layers and through heads; `adapters` is what bottlenecks multiply in.

    With `int8_weights` the backbone's linear layers hold int8 weights and quantise their input token by token, so that
    a row does not depend on its neighbours.
    """

    name: PrecisionName
    activations: torch.dtype
    adapters: torch.dtype
    int8_weights: bool = False


FLOAT32 = Precision(name="float32", activations=torch.float32, adapters=torch.float32)
BFLOAT16 = Precision(name="bfloat16", activations=torch.bfloat16, adapters=torch.bfloat16)
FLOAT16 = Precision(name="float16", activations=torch.float16, adapters=torch.float16)


def choose_precision(name: PrecisionName | Literal["auto"], device: torch.device) -> Precision:
    """`auto` is bfloat16 where the device multiplies it, else float32. Raises `InvalidConfig` for int8 without VNNI."""
    if name == "auto":
        return BFLOAT16 if has_bfloat16(device) else FLOAT32
    if name != "int8":
        return {"float32": FLOAT32, "bfloat16": BFLOAT16, "float16": FLOAT16}[name]
    if not has_int8(device):
        raise InvalidConfig("int8 needs a CPU with integer dot products (AVX512-VNNI); use auto or float32")
    halves = has_bfloat16(device)
    # The stream between int8 layers stays float32: the CPU quantises that faster than bfloat16, and loses nothing.
    return Precision(
        name="int8",
        activations=torch.float32,
        adapters=torch.bfloat16 if halves else torch.float32,
        int8_weights=True,
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself. A processor that only emulates it is slower than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    found = torch.cpu.get_capabilities()
    return _has_onednn() and any(found.get(flag, False) for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def has_int8(device: torch.device) -> bool:
    """Whether oneDNN's int8 product is exact and fast here: older vector units saturate in between."""
    found = torch.cpu.get_capabilities()
    return device.type == "cpu" and _has_onednn() and bool(found.get("avx512_vnni", False))


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())

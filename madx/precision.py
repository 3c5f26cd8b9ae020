"""In which numbers a served backbone and its adapters run, and which of them this processor has.

A training run and every oracle are float32. A server chooses by `GLOSSA_DTYPE`: halves where the hardware multiplies
them, or int8 weights on a CPU. docs/benchmarks/serving.md has drift and speed.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from .errors import InvalidConfig

PrecisionName = Literal["float32", "bfloat16", "float16", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """`activations` flow between sub-layers and through heads; `weights` and `adapters` are what the backbone's linear
    layers and the bottlenecks multiply in.

    On a CPU the activations stay float32 between products in halves, so that sums over the layers are not rounded.
    With int8 weights a layer quantises its input token by token, so that a row does not depend on its neighbours.
    """

    name: PrecisionName
    activations: torch.dtype
    weights: torch.dtype
    adapters: torch.dtype


def _throughout(name: PrecisionName, dtype: torch.dtype) -> Precision:
    return Precision(name=name, activations=dtype, weights=dtype, adapters=dtype)


FLOAT32 = _throughout("float32", torch.float32)
BFLOAT16 = _throughout("bfloat16", torch.bfloat16)
FLOAT16 = _throughout("float16", torch.float16)


def choose_precision(name: PrecisionName | Literal["auto"], device: torch.device) -> Precision:
    """`auto` is bfloat16 where the device multiplies it, else float32. Raises `InvalidConfig` for int8 without VNNI."""
    if name == "auto":
        name = "bfloat16" if has_bfloat16(device) else "float32"
    if name == "int8" and not has_int8(device):
        raise InvalidConfig("int8 needs a CPU with integer dot products (AVX512-VNNI); use auto or float32")
    halves = torch.bfloat16 if name == "bfloat16" or has_bfloat16(device) else torch.float32
    if device.type != "cpu" or not has_prepacked_layers(halves) or name in ("float32", "float16"):
        return {"float32": FLOAT32, "bfloat16": BFLOAT16, "float16": FLOAT16}[name]
    weights = torch.int8 if name == "int8" else halves
    return Precision(name=name, activations=torch.float32, weights=weights, adapters=halves)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself. A processor that only emulates it is slower than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    found = torch.cpu.get_capabilities()
    return has_prepacked_layers(torch.bfloat16) and any(
        found.get(flag, False) for flag in ("avx512_bf16", "amx_bf16", "bf16")
    )


def has_int8(device: torch.device) -> bool:
    """Whether oneDNN's int8 product is exact and fast here: older vector units saturate in between."""
    found = torch.cpu.get_capabilities()
    return device.type == "cpu" and has_prepacked_layers() and bool(found.get("avx512_vnni", False))


def has_prepacked_layers(dtype: torch.dtype = torch.float32) -> bool:
    """Whether layers that multiply in `dtype` can be prepacked: PyTorch has oneDNN, and that has kernels of them here.

    Of bfloat16 it has none for processors without AVX-512 or the like.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def prepacks_adapters(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies a bottleneck's few rows faster than BLAS, which is there for float32 alone.

    In float32 with AVX-512 it does; without, it takes twice as long (docs/decisions/packed-for-the-cpu.md).
    """
    return dtype != torch.float32 or has_avx512()


def has_avx512() -> bool:
    return bool(torch.cpu.get_capabilities().get("avx512_f", False))

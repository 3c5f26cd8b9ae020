"""Tensor names and shapes of an adapter, from its configuration alone. Torch-free, so the gate can check a file.

Names carry no adapter name: `layers.{i}.{attention|output}.{down|up}.{weight|bias}`,
`invertible.{F|G}.{down|up}.{weight|bias}`, `head.…`. Weights are laid out (out, in), as torch's Linear has them.
"""

from collections.abc import Iterator

from .config import AdapterConfig, BackboneConfig, HeadConfig, InvertibleConfig, bottleneck_size
from .errors import InvalidConfig

Shape = tuple[int, ...]


def _linear(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _bottleneck(name: str, inputs: int, size: int, outputs: int) -> Iterator[tuple[str, Shape]]:
    if size < 1:
        raise InvalidConfig(f"{name}: the reduction leaves no unit of {inputs}; choose a smaller reduction")
    yield from _linear(f"{name}.down", size, inputs)
    yield from _linear(f"{name}.up", outputs, size)


def _invertible(config: InvertibleConfig, hidden: int) -> Iterator[tuple[str, Shape]]:
    first = hidden // 2
    second = hidden - first
    yield from _bottleneck("invertible.F", second, bottleneck_size(second, config.reduction), first)
    yield from _bottleneck("invertible.G", first, bottleneck_size(first, config.reduction), second)


def _head(config: HeadConfig, backbone: BackboneConfig) -> Iterator[tuple[str, Shape]]:
    hidden = backbone.hidden_size
    if config.type == "tagging":
        for layer in range(config.layers):
            last = layer == config.layers - 1
            yield from _linear(f"head.layers.{layer}", len(config.labels) if last else hidden, hidden)
    else:
        yield from _linear("head.dense", hidden, hidden)
        yield "head.norm.weight", (hidden,)
        yield "head.norm.bias", (hidden,)
        yield "head.bias", (backbone.vocab_size,)


def adapter_shapes(config: AdapterConfig, head: HeadConfig | None, backbone: BackboneConfig) -> dict[str, Shape]:
    """Every tensor of an adapter on `backbone`, in stored order.

    Raises `InvalidConfig` if `leave_out` names a layer the backbone lacks, or a reduction leaves no unit.
    """
    beyond = [layer for layer in config.leave_out if layer >= backbone.num_layers]
    if beyond:
        raise InvalidConfig(f"leave_out names layer {beyond[0]}, but the backbone has {backbone.num_layers} layers")
    hidden = backbone.hidden_size
    size = bottleneck_size(hidden, config.reduction)
    shapes: dict[str, Shape] = {}
    for layer in range(backbone.num_layers):
        if layer not in config.leave_out:
            for site in config.sites:
                shapes.update(_bottleneck(f"layers.{layer}.{site}", hidden, size, hidden))
    if config.invertible is not None:
        shapes.update(_invertible(config.invertible, hidden))
    if head is not None:
        shapes.update(_head(head, backbone))
    return shapes

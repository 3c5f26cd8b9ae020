"""Linear layers: the trainable one, and the two that a server prepacks from it once, for every batch to come.

All three take (T, D_in) -> (T, D_out) and can apply a non-linearity on the way out. Prepacking is for CPUs; elsewhere,
and without oneDNN, a layer stays as it is.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .activations import activation, activation_in_place
from .config import Activation
from .precision import has_avx512, has_prepacked_layers

_ONEDNN_POST_OPS: dict[Activation | None, tuple[str, str]] = {
    None: ("none", ""),
    "relu": ("relu", ""),
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "silu": ("swish", ""),
    "tanh": ("tanh", ""),
}
_CHEAP_POST_OPS = {then: _ONEDNN_POST_OPS[then] for then in (None, "relu")}
"""Without AVX-512: there oneDNN's GELU takes three times as long as PyTorch's on the whole result."""
_PREPACKED_TYPES = (torch.float32, torch.bfloat16)
_LEVELS = 127
_ZERO_POINT = 128
_SMALLEST = 1e-30  # of a scale: its reciprocal is still finite, so that a row of zeros stays zero


class Linear(nn.Linear):
    """x W^T + b, then `then`."""

    def reset_parameters(self) -> None:
        """Nothing on the meta device, whose weights are still to come: drawing them costs milliseconds an adapter."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, input: torch.Tensor, then: Activation | None = None) -> torch.Tensor:  # noqa: A002 - torch's name
        y = F.linear(input, self.weight, self.bias)
        return y if then is None else activation(then)(y)


class PrepackedLinear(nn.Module):
    """A frozen layer whose weight lies in the blocks that oneDNN reads. Shared by threads; has no gradient."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype))
        self.bias = linear.bias.detach().to(dtype, copy=True)
        self._fused = _ONEDNN_POST_OPS if has_avx512() else _CHEAP_POST_OPS

    def forward(self, x: torch.Tensor, then: Activation | None = None) -> torch.Tensor:
        """Of any type in, of the weight's type out."""
        attribute, algorithm = self._fused.get(then, ("none", ""))
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.weight.dtype), self.weight, self.bias, attribute, [], algorithm
        )
        return y if then is None or then in self._fused else activation_in_place(then)(y)

    def added_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """residual + x W^T + b, where the residual is of the weight's type."""
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x.to(self.weight.dtype), residual, self.weight, self.bias, "add"
        )
        return y


class Int8Linear(nn.Module):
    """A frozen layer of int8 weights with a scale per output, whose input gets a scale per token.

    x ~ s_t (q - 128) with s_t = max |x_t| / 127, and W ~ S_o Q: both symmetric, rounded to the nearest. The products
    are summed exactly in int32, so a token's result depends on that token alone. (Dynamic quantisation as in
    Zafrir et al. 2019, "Q8BERT", section 2, with the scale taken per token.)
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp_min(_SMALLEST) / _LEVELS  # (D_out,)
        rounded = (weight / scales[:, None]).round_().to(torch.int8)
        self.weight: torch.Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.bias = linear.bias.detach().float()
        self._scales = scales
        self._zero_points = torch.zeros(len(scales), dtype=torch.int32)

    def forward(self, x: torch.Tensor, then: Activation | None = None) -> torch.Tensor:
        """Float32 in and out."""
        quantised, scale = quantise_tokens(x)
        y: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            quantised,
            1.0,
            _ZERO_POINT,
            self.weight,
            self._scales,
            self._zero_points,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        y = torch.addcmul(self.bias, y, scale)
        return y if then is None else activation(then)(y)


def quantise_tokens(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, D) float32 -> uint8 (T, D) around 128, and the tokens' scales (T, 1)."""
    largest = torch.maximum(x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True).neg_())
    scale = largest.clamp_min_(_SMALLEST).div_(_LEVELS)
    # By way of int8: PyTorch converts float to uint8 one value at a time. Flipping the sign bit adds the 128.
    signed = (x * scale.reciprocal()).round_().to(torch.int8)
    return signed.bitwise_xor_(-_ZERO_POINT).view(torch.uint8), scale


def prepack(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace a frozen module's linear layers by prepacked ones that multiply in `dtype`, in place.

    Layers that are not on a CPU, or are to multiply in what no prepacked layer has, stay as they are.
    """
    for name, child in module.named_children():
        if not isinstance(child, Linear):
            prepack(child, dtype)
        elif child.weight.device.type == "cpu" and has_prepacked_layers(dtype):
            if dtype == torch.int8:
                setattr(module, name, Int8Linear(child))
            elif dtype in _PREPACKED_TYPES:
                setattr(module, name, PrepackedLinear(child, dtype))


def round_tokens(tokens: int) -> int:
    """The number of tokens to compute where `tokens` are wanted: one of few.

    oneDNN makes its kernel anew for each number that it has not seen lately, which costs 0.5 ms and 0.3 MiB.
    """
    step = 8 if tokens <= 512 else 32 if tokens <= 1024 else 128
    return -(-tokens // step) * step

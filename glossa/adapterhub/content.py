"""What an AdapterHub folder holds, read: configurations, and tensors under today's names whatever wrote them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from madx.adapterhub.config import HubAdapter, read_adapter_config
from madx.adapterhub.heads import HubHead, read_head_config
from madx.adapterhub.names import HubNaming
from madx.adapterhub.spelling import choose_adapter, choose_head, has_inverse, layers_of

from .folders import HubFiles, read_tensors

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class HubContent:
    """`head_tensors` is empty where there is no head. `notes` say what was skipped."""

    adapter: HubAdapter
    head: HubHead | None
    naming: HubNaming
    adapter_tensors: "dict[str, torch.Tensor]"
    head_tensors: "dict[str, torch.Tensor]"
    notes: tuple[str, ...]

    @property
    def has_inverse(self) -> bool:
        return has_inverse(self.adapter_tensors)

    @property
    def layers(self) -> frozenset[int]:
        """Those that hold a bottleneck."""
        return layers_of(self.adapter_tensors)

    @property
    def hidden_size(self) -> int:
        """The width that the tensors have; the configuration's, where no layer holds any."""
        biases = [tensor for name, tensor in self.adapter_tensors.items() if name.endswith(".adapter_up.bias")]
        return biases[0].numel() if biases else self.adapter.hidden_size or 0

    @property
    def vocab_size(self) -> int | None:
        """Pieces that a masked-LM head chooses between."""
        if self.head is None or self.head.type != "masked_lm":
            return None
        bias = self.head_tensors.get(self.naming.tensor("head.bias"))
        return None if bias is None else bias.numel()


def read_content(files: HubFiles) -> HubContent:
    """Raises what `read_adapter_config`, `read_head_config`, `read_tensors` and `choose_adapter` do."""
    adapter = read_adapter_config(files.adapter_config)
    head = None if files.head_config is None else read_head_config(files.head_config)
    name = adapter.name if head is None or head.name is None else head.name
    naming = HubNaming(family=adapter.family, adapter=adapter.name, head=name)
    chosen = choose_adapter(read_tensors(files.adapter_weights), naming)
    others = [f"adapter {other!r}" for other in chosen.others]
    head_tensors: dict[str, torch.Tensor] = {}
    if head is not None and files.head_weights is not None:
        chosen_head = choose_head(read_tensors(files.head_weights), head, naming)
        head_tensors = chosen_head.tensors
        others += [f"head {other!r}" for other in chosen_head.others]
    return HubContent(
        adapter=adapter,
        head=head,
        naming=naming,
        adapter_tensors=chosen.tensors,
        head_tensors=head_tensors,
        notes=(*files.notes, *(f"the files also hold {other}, which was skipped" for other in others)),
    )

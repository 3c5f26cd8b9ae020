"""The oracle: AdapterHub's `adapters` on tiny random models, and ours on the same weights.

`adapters` pins an older `transformers`, so this runs in an environment of its own. Only its plain Stack is asked, one
row at a time, because its nested compositions give wrong numbers for rows of different languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from adapters import AutoAdapterModel
from adapters.composition import Stack
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from madx.adapter import Adapter
from madx.adapterhub.names import HubNaming, from_hub
from madx.bank import Bank
from madx.config import AdapterConfig, HeadConfig
from madx.forward import Row, hidden_states, infer
from madx.linear import prepack
from madx.loading import load_backbone
from madx.plan import BARE, RowStack, Slot

Family = Literal["bert", "roberta", "xlm-roberta"]
Stacked = tuple[str, ...]

TOLERANCE = 1e-5
VOCABULARY = 120
MAX_TOKENS = 512
_BERT_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA_PIECES = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def special_pieces(family: Family) -> tuple[str, ...]:
    return _BERT_PIECES if family == "bert" else _ROBERTA_PIECES


def write_tokenizer(folder: Path, family: Family) -> None:
    pieces = special_pieces(family)
    words = [*pieces, *(f"word{index}" for index in range(VOCABULARY - len(pieces)))]
    unknown = "[UNK]" if family == "bert" else "<unk>"
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(list(pieces))
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(folder / "tokenizer.json"))


def hub_config(family: Family, activation: str) -> Any:
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_act": activation,
    }
    if family == "bert":
        return transformers.BertConfig(
            **shape, num_hidden_layers=4, max_position_embeddings=MAX_TOKENS, type_vocab_size=2, pad_token_id=0
        )
    return transformers.AutoConfig.for_model(
        family,
        **shape,
        num_hidden_layers=3,
        max_position_embeddings=MAX_TOKENS + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


@torch.no_grad()
def randomise(named: Sequence[tuple[str, torch.Tensor]], *, scale: float, seed: int) -> None:
    """Large enough that a misplaced tensor or LayerNorm shows; the libraries' own N(0, 0.02) hides much."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in named:
        noise = torch.randn(tensor.shape, generator=generator)
        is_norm = name.endswith(("LayerNorm.weight", "layer_norm.weight"))
        tensor.copy_(1.0 + 0.3 * noise if is_norm else scale * noise)


def write_backbone(folder: Path, family: Family, *, masked_lm: bool = True, activation: str = "gelu") -> Path:
    """A checkpoint as `save_pretrained` writes it, with or without the masked-LM head."""
    auto: Any = transformers.AutoModelForMaskedLM if masked_lm else transformers.AutoModel
    model = auto.from_config(hub_config(family, activation))
    randomise(list(model.named_parameters()), scale=0.25, seed=7)
    model.save_pretrained(folder)
    write_tokenizer(folder, family)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One adapter in both libraries: its name there, its slot here."""

    name: str
    slot: Slot
    head: HeadConfig | None


class Oracle:
    """`adapters` and ours, packed as a server packs it, on one backbone folder."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.family: Family = family
        self.folder = folder
        self.model: Any = AutoAdapterModel.from_pretrained(folder).eval()
        self._restore_decoder_bias()
        self.loaded = load_backbone(folder)
        prepack(self.loaded.backbone, torch.float32)
        self.bank = Bank(self.loaded.config)
        self._seed = 100

    @torch.no_grad()
    def _restore_decoder_bias(self) -> None:
        """Its conversion to a flexible head looks for a `decoder.bias` that checkpoints no longer store: zeros stay."""
        name = "cls.predictions.bias" if self.family == "bert" else "lm_head.bias"
        self.model.heads["default"][3].bias.copy_(load_file(self.folder / "model.safetensors")[name])

    def add(self, config: AdapterConfig, theirs: Any, *, head: HeadConfig | None = None) -> Pair:
        """An adapter (and head) of random weights, made in `adapters` from `theirs` and mapped by name into ours."""
        self._seed += 1
        name = f"adapter{self._seed}"
        self.model.add_adapter(name, config=theirs)
        if head is not None:
            self._add_head(name, head)
        # The masked-LM decoder is the word embedding itself, which belongs to the backbone.
        decoder = f"heads.{name}.3.weight"
        own = [
            (key, tensor) for key, tensor in self.model.named_parameters() if name in key.split(".") and key != decoder
        ]
        randomise(own, scale=0.3, seed=self._seed)
        self.model.eval()
        return self._mapped(name, config, head)

    def _add_head(self, name: str, head: HeadConfig) -> None:
        if head.type == "tagging":
            self.model.add_tagging_head(
                name, num_labels=len(head.labels), layers=head.layers, activation_function=head.activation
            )
        else:
            self.model.add_masked_lm_head(name)

    def _mapped(self, name: str, config: AdapterConfig, head: HeadConfig | None) -> Pair:
        tensors = {key: tensor for key, tensor in self.model.state_dict().items() if name in key.split(".")}
        naming = HubNaming(family=self.family, adapter=name, head=name)
        ours = from_hub(tensors, config=config, head=head, backbone=self.loaded.config, naming=naming)
        adapter = Adapter(config, head, self.loaded.config)
        adapter.load_state_dict(ours, strict=True)
        return Pair(name=name, slot=self.bank.add(self.bank.stage(adapter)), head=head)

    def without_layers(self, pair: Pair, leave_out: tuple[int, ...]) -> str:
        """Their name for `pair` loaded again with layers left out, which is how its users get MAD-X 2.0."""
        name = f"{pair.name}without{''.join(map(str, leave_out))}"
        if name not in self.model.adapters_config.adapters:
            saved = str(self.folder.parent / f"saved-{pair.name}")
            self.model.save_adapter(saved, pair.name, with_head=False, use_safetensors=True)
            self.model.load_adapter(
                saved, load_as=name, leave_out=list(leave_out), with_head=False, use_safetensors=True
            )
            self.model.eval()
        return name

    @torch.no_grad()
    def their_hidden(self, ids: Sequence[int], stack: Stacked) -> torch.Tensor:
        """One row's last hidden states (T, D)."""
        self._activate(stack)
        row = torch.tensor([list(ids)])
        hidden: torch.Tensor = self.model.base_model(row, attention_mask=torch.ones_like(row))[0][0]
        return hidden

    @torch.no_grad()
    def their_logits(self, ids: Sequence[int], stack: Stacked, head: str) -> torch.Tensor:
        """One row's logits (T, classes) by the head of that name."""
        self._activate(stack)
        self.model.active_head = head
        row = torch.tensor([list(ids)])
        logits: torch.Tensor = self.model(row, attention_mask=torch.ones_like(row)).logits[0]
        return logits

    def _activate(self, stack: Stacked) -> None:
        self.model.set_active_adapters(Stack(*stack) if stack else None)

    def rows(self, lengths: Sequence[int], *, seed: int) -> list[tuple[int, ...]]:
        """Rows of random ordinary pieces."""
        generator = torch.Generator().manual_seed(seed)
        return [tuple(torch.randint(5, VOCABULARY, (length,), generator=generator).tolist()) for length in lengths]

    @torch.inference_mode()
    def our_hidden(self, rows: Sequence[Sequence[int]], stacks: Sequence[RowStack]) -> list[torch.Tensor]:
        """Each row's last hidden states (T, D), all rows in one batch."""
        packed, plan = hidden_states(self.loaded.backbone, self.bank, rows, stacks)
        starts = [plan.starts[place] for place in plan.position_of()]
        return [packed[start : start + len(row)] for start, row in zip(starts, rows, strict=True)]

    def our_logits(self, rows: Sequence[Sequence[int]], stacks: Sequence[RowStack]) -> list[torch.Tensor]:
        """Each row's logits at all its positions, all rows in one batch."""
        asked = [
            Row(input_ids=tuple(row), positions=tuple(range(len(row))), stack=stack)
            for row, stack in zip(rows, stacks, strict=True)
        ]
        return infer(self.loaded.backbone, self.bank, asked)

    def compare_hidden(self, stack: Stacked, ours: RowStack = BARE, *, seed: int = 0) -> None:
        """A few rows through one stack, in one batch here and row by row there."""
        rows = self.rows([1, 7, 19, 64], seed=seed)
        for row, mine in zip(rows, self.our_hidden(rows, [ours] * len(rows)), strict=True):
            assert_close(mine, self.their_hidden(row, stack))


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """|x - y| <= 1e-5 max(1, max |y|), everywhere."""
    assert ours.shape == theirs.shape
    assert bool(torch.isfinite(theirs).all())
    worst = float((ours - theirs).abs().max())
    bound = TOLERANCE * max(1.0, float(theirs.abs().max()))
    assert worst <= bound, f"differs by {worst:.2e}, allowed {bound:.2e}"


def assert_differs(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """By far more than the tolerance: guards comparisons that would also pass if an adapter did nothing."""
    assert float((ours - theirs).abs().max()) > 1e3 * TOLERANCE * max(1.0, float(theirs.abs().max()))

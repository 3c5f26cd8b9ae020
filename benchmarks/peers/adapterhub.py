"""The peer of the training benchmark: AdapterHub's own language-adapter recipe, one round on request.

Runs in the interop environment, started by `benchmarks.training`: one JSON request a line on standard input, one JSON
answer a line on standard output. The recipe is that of the library's `run_mlm.py`: a masked-LM model with adapters
added, `seq_bn_inv` at the published reduction of 2, everything else of the encoder frozen, AdamW with clipping,
a collator that masks 15 % anew in every batch, logits at every position. Its Trainer is left out, which favours it.
"""

import json
import os
import sys
import time
from typing import Any, TextIO

import adapters
import torch
from adapters import SeqBnInvConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
)

NAME = "language"
SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def build_model(shape: dict[str, Any], dropout: float) -> Any:
    """A model of random weights with one trainable language adapter; the library has no types to name."""
    config = XLMRobertaConfig(
        **shape,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    auto: Any = AutoModelForMaskedLM
    model = auto.from_config(config)
    adapters.init(model)
    model.add_adapter(NAME, config=SeqBnInvConfig(reduction_factor=2))
    model.train_adapter(NAME)
    model.train()
    return model


def build_collator(vocab_size: int) -> DataCollatorForLanguageModeling:
    pieces = [*SPECIAL.values(), *(f"piece{index}" for index in range(len(SPECIAL), vocab_size))]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    fast: Any = PreTrainedTokenizerFast
    wrapped = fast(tokenizer_object=tokenizer, **SPECIAL)
    return DataCollatorForLanguageModeling(tokenizer=wrapped, mlm_probability=0.15)


class Worker:
    """The model, its optimiser and its stream of random text."""

    def __init__(self, request: dict[str, Any]) -> None:
        torch.manual_seed(request["seed"])
        torch.set_num_threads(request["threads"])
        self.rows, self.length = request["rows"], request["length"]
        self.vocab_size = request["shape"]["vocab_size"]
        self.model = build_model(request["shape"], request["dropout"])
        self.collator = build_collator(self.vocab_size)
        trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trainable, lr=1e-4, fused=True)
        self.trainable = trainable

    def batch(self) -> Any:
        ids = torch.randint(len(SPECIAL), self.vocab_size, (self.rows, self.length))
        ids[:, 0], ids[:, -1] = 0, 2
        return self.collator([{"input_ids": row} for row in ids])

    def step(self) -> float:
        loss = self.model(**self.batch()).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trainable, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def round(self, steps: int) -> dict[str, float]:
        """Train `steps` steps; answers tokens/s and the last loss."""
        start = time.perf_counter()
        losses = [self.step() for _ in range(steps)]
        seconds = time.perf_counter() - start
        return {"tokens_per_s": steps * self.rows * self.length / seconds, "loss": losses[-1]}


def describe(worker: Worker) -> dict[str, object]:
    """What the parent checks: both sides must train an adapter of the same size."""
    adapter = [p for name, p in worker.model.named_parameters() if NAME in name.split(".") and p.requires_grad]
    return {"adapter_parameters": sum(parameter.numel() for parameter in adapter), "version": adapters.__version__}


def answer(stream: TextIO, content: object) -> None:
    stream.write(json.dumps(content) + "\n")
    stream.flush()


def main() -> None:
    # Libraries print to standard output at times, which would break the protocol: they get standard error.
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(json.loads(sys.stdin.readline()))
    answer(stream, describe(worker))
    for line in sys.stdin:
        answer(stream, worker.round(json.loads(line)["steps"]))


if __name__ == "__main__":
    main()

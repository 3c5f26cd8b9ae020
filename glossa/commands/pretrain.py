"""`glossa pretrain`: text of several languages -> a small backbone from scratch."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from madx.errors import GlossaError
from madx.manifest import canonical_language

from ..home import Home, settings_of
from ..output import echo_json
from . import options

if TYPE_CHECKING:
    import torch

    from madx.manifest import DataRef
    from trainer.loop import Step
    from trainer.pretrain.run import Pretrained, PretrainSpec


class OutputTaken(GlossaError):
    """A folder that holds something else than what this command writes."""

    code = "output_taken"


@click.command()
@click.option(
    "--language",
    "languages",
    multiple=True,
    required=True,
    callback=options.pairs,
    metavar="CODE=NAME|FILE",
    help="A language and its text; repeat.",
)
@click.option(
    "--translations",
    "aligned",
    multiple=True,
    metavar="NAME",
    help="A name under which texts of these languages are aligned, line by line, in the catalogue; repeat.",
)
@click.option("--translation-share", type=click.FloatRange(0, 1), help="Of the rows, if there are translations.")
@click.option("--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder to write.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of the schedule.")
@click.option("--seed", type=click.IntRange(min=0))
@click.option("--hidden-size", type=click.IntRange(min=1))
@click.option("--num-layers", type=click.IntRange(min=1))
@click.option("--num-heads", type=click.IntRange(min=1))
@click.option("--intermediate-size", type=click.IntRange(min=1))
@click.option("--vocab-size", type=click.IntRange(min=300))
@click.option("--chunk-tokens", type=click.IntRange(min=8))
@click.option("--batch-rows", type=click.IntRange(min=1))
@click.option("--peak-learning-rate", type=click.FloatRange(min=0, min_open=True))
@click.option("--bf16/--float32", default=None, help="Multiply in bfloat16. By default where the device has it.")
@click.option("--compiled/--eager", default=None, help="With torch.compile, which needs a C compiler, or without.")
@click.option("--shard-mib", type=click.IntRange(min=1), help="The largest file of weights; by default all are one.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="End then, all runs of this command together, wherever the schedule stands.",
)
@options.as_json
def pretrain(
    languages: dict[str, str],
    aligned: tuple[str, ...],
    output: Path,
    shard_mib: int | None,
    max_minutes: float | None,
    json_output: bool,
    **given: int | float | bool | None,
) -> None:
    """Train a tokenizer and a small encoder from scratch.

    The defaults suit a backbone as small as the demo's. The same command goes on after Ctrl-C or a crash.
    """
    from madx.precision import has_bfloat16
    from service.model import choose_device
    from trainer.pretrain.run import PretrainSpec

    _check_output(output)
    device = choose_device(settings_of().device)
    chosen = {"bf16": has_bfloat16(device)} | {name: value for name, value in given.items() if value is not None}
    spec = PretrainSpec(**chosen)  # type: ignore[arg-type]
    shard_bytes = None if shard_mib is None else shard_mib << 20
    done = _run(spec, languages, aligned, output, device, shard_bytes=shard_bytes, max_minutes=max_minutes)
    if json_output:
        echo_json(
            {
                "folder": str(done.folder),
                "steps": done.steps,
                "minutes": done.minutes,
                "perplexity": dict(done.perplexity),
            }
        )
    else:
        perplexity = ", ".join(f"{code} {value:.1f}" for code, value in done.perplexity.items())
        click.echo(f"{done.folder}: {done.steps} steps, {done.minutes:.1f} minutes; held-out perplexity {perplexity}")


def _check_output(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "pretraining.json").is_file():
        raise OutputTaken(f"{folder} holds something else than a backbone of `glossa pretrain`; name a new folder")


def _run(
    spec: "PretrainSpec",
    languages: dict[str, str],
    aligned: tuple[str, ...],
    output: Path,
    device: "torch.device",
    *,
    shard_bytes: int | None,
    max_minutes: float | None,
) -> "Pretrained":
    from registry.datasets.readers.aligned import aligned_lines
    from registry.datasets.readers.reading import sentences_of
    from trainer.interrupts import stop_on_interrupt
    from trainer.jobs.workplace import locked
    from trainer.pretrain.corpus import read_language
    from trainer.pretrain.run import pretrain as train_backbone

    from ..progress import TrainingProgress

    home = Home.of(settings_of())
    places = home.data_places()
    files = {}
    for code, source in languages.items():
        language = canonical_language(code)
        files[language] = places.locate(source, "train", task="text", language=language)
    columns = [places.translations(name, files) for name in aligned]
    refs = {code: file.data_ref() for code, file in files.items()}
    refs |= {file.name: file.data_ref() for column in columns for file in column.values()}
    folder = home.runs / f"pretrain-{_digest(spec, refs)}"
    texts = {code: read_language(sentences_of(file)) for code, file in files.items()}
    with TrainingProgress("pretrain") as progress, stop_on_interrupt() as stops, locked(folder):

        def on_step(step: "Step") -> None:
            progress.on_step(step)
            if stops():
                progress.say(f"stopped after step {step.number} of {step.total}; the same command goes on from there")
                raise KeyboardInterrupt

        return train_backbone(
            spec,
            texts,
            refs,
            folder,
            output,
            translations=[aligned_lines(column) for column in columns],
            device=device,
            shard_bytes=shard_bytes,
            on_step=on_step,
            on_phase=progress.say,
            max_minutes=max_minutes,
        )


def _digest(spec: "PretrainSpec", refs: "dict[str, DataRef]") -> str:
    decides = {"spec": asdict(spec), "data": {code: ref.digest for code, ref in refs.items()}}
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]

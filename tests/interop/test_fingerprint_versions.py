"""One folder has one fingerprint, and gives the same numbers, under both supported majors of `transformers`.

`make interop` names the interpreter of the development environment in GLOSSA_OTHER_PYTHON.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import transformers

from madx.loading import load_backbone
from tests.interop.oracle import Family, write_backbone

OTHER_PYTHON = "GLOSSA_OTHER_PYTHON"
REPORT = """
import json, sys, transformers
from madx.loading import load_backbone
loaded = load_backbone(sys.argv[1])
json.dump({"transformers": transformers.__version__, "fingerprint": loaded.fingerprint}, sys.stdout)
"""
SAVE_AGAIN = """
import sys, transformers
model = transformers.AutoModelForMaskedLM.from_pretrained(sys.argv[1])
model.save_pretrained(sys.argv[2])
"""


def other_python(script: str, *arguments: Path) -> str:
    python = os.environ.get(OTHER_PYTHON)
    assert python, f"set {OTHER_PYTHON} to the development environment's interpreter; `make interop` does"
    command = [python, "-W", "error::UserWarning:madx", "-c", script, *map(str, arguments)]
    finished = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_two_environments_hold_different_majors(tmp_path: Path) -> None:
    report = json.loads(other_python(REPORT, write_backbone(tmp_path, "bert")))
    majors = {version.split(".")[0] for version in (report["transformers"], transformers.__version__)}
    assert majors == {"4", "5"}


@pytest.mark.parametrize("masked_lm", [True, False])
@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta"])
def test_fingerprint_of_one_folder(name: Family, masked_lm: bool, tmp_path: Path) -> None:
    folder = write_backbone(tmp_path, name, masked_lm=masked_lm)
    report = json.loads(other_python(REPORT, folder))
    assert report["fingerprint"] == load_backbone(folder).fingerprint


@pytest.mark.parametrize("name", ["bert", "xlm-roberta"])
def test_fingerprint_survives_saving_by_the_other_major(name: Family, tmp_path: Path) -> None:
    folder, again = tmp_path / "first", tmp_path / "again"
    write_backbone(folder, name)
    other_python(SAVE_AGAIN, folder, again)
    (again / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    assert load_backbone(again).fingerprint == load_backbone(folder).fingerprint


def test_fingerprint_changes_with_one_weight_and_with_the_tokenizer(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path, "bert")
    before = load_backbone(folder).fingerprint
    tokenizer = folder / "tokenizer.json"
    text = tokenizer.read_text()
    tokenizer.write_text(text.replace('"word7"', '"wordseven"'))
    assert load_backbone(folder).fingerprint != before
    tokenizer.write_text(text)
    assert load_backbone(folder).fingerprint == before
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    model.bert.encoder.layer[3].output.dense.bias.data[0] += 1e-3
    model.save_pretrained(folder)
    assert load_backbone(folder).fingerprint != before

"""The main job on the installed wheel: data -> trained adapters -> folders -> server -> answers over HTTP."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient

from glossa import Client, ClientError
from tests.support.own_catalogue import write_catalogue
from tests.support.tiny import make_backbone
from trainer.checkpoints import load

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(400)]

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
Env = dict[str, str]

PATIENCE_S = 60

RECIPE = """
source = "made for tests"
[language]
steps = {steps}
batch = 4
length = 24
evaluate_every = {steps}
[language.optimiser]
learning_rate = 2e-3
[task]
epochs = 8
batch = 8
reduction = 1.0
[task.optimiser]
learning_rate = 2e-2
"""


@pytest.fixture
def env(tmp_path: Path) -> Env:
    """A tiny backbone and made-up data for the processes of one test."""
    made = tmp_path / "made"
    made.mkdir()
    catalogue = write_catalogue(made, sentences=120)
    backbone = make_backbone(made / "backbone")
    return {"GLOSSA_BACKBONE": str(backbone), "GLOSSA_CATALOGUE": str(catalogue), "GLOSSA_DEVICE": "cpu"}


def _recipe(folder: Path, *, steps: int) -> Path:
    path = folder / f"recipe-{steps}.toml"
    path.write_text(RECIPE.format(steps=steps), encoding="utf-8")
    return path


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _address(server: subprocess.Popen[str]) -> str:
    """The address that `glossa serve` prints once it answers."""
    assert server.stdout is not None
    said = []
    for line in server.stdout:
        said.append(line)
        if match := re.search(r"serving .* at (http://\S+)", line):
            return match[1]
    pytest.fail("the server ended: " + "".join(said))


def test_from_data_to_answers(run_glossa: Run, start_glossa: Start, env: Env, tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, steps=8)
    for code in ("sw", "en"):
        data = tmp_path / "made" / f"made-text-{code}.txt"
        trained = run_glossa(
            "train", "language", "--language", code, "--data", data, "--recipe", recipe, "--json", env=env
        )
        assert _json(trained)["reference"] == f"{code}@1"
    task = ("train", "task", "--data", "made-ner-en", "--language", "en", "--name", "ner", "--recipe", recipe)
    assert run_glossa(*task, env=env).returncode == 0
    assert run_glossa(*task, "--seed", "2", env=env).stdout.startswith("ner@2 published")

    folder = tmp_path / "pulled"
    assert run_glossa("adapters", "pull", "sw", "--output", folder, env=env).returncode == 0
    assert "was there already" in run_glossa("adapters", "push", folder, "--name", "sw", env=env).stdout
    assert run_glossa("adapters", "alias", "ner@1", "production", env=env).returncode == 0

    server = start_glossa("serve", "--port", "0", env=env)
    address = _address(server)
    text = "Juma sat on the mji wa Kenya"
    hub = InferenceClient(model=f"{address}/v1/predict/ner?language=sw")
    entities = hub.token_classification(text)
    assert entities
    for entity in entities:
        assert text[entity.start : entity.end] == entity.word
    with Client(address) as client:
        assert {item["code"] for item in client.languages()} == {"en", "sw"}
        assert client.answer("ner", text, language="swa").adapter == "ner@1"
        assert run_glossa("adapters", "alias", "ner@2", "production", env=env).returncode == 0
        # The alias points to it at once; requests go over as soon as it is loaded.
        given_up_s = time.monotonic() + PATIENCE_S
        while client.answer("ner", text, language="swa").adapter != "ner@2":
            assert time.monotonic() < given_up_s
            time.sleep(0.05)
        mixed = client.answer("ner", [text, text], language=["en", "sw"])
        assert len(mixed.content) == 2
        with pytest.raises(ClientError, match="nearest") as refused:
            client.predict("ner", text, language="yo")
        assert refused.value.status == 404
    asked = run_glossa("predict", "--server", address, "--language", "sw", "--json", text, env=env)
    assert [entity["word"] for entity in _json(asked)[0]] == [entity["word"] for entity in mixed.content[1]]

    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_ctrl_c_leaves_a_checkpoint_that_the_same_command_goes_on_from(
    run_glossa: Run, start_glossa: Start, env: Env, tmp_path: Path
) -> None:
    steps = 600
    recipe = _recipe(tmp_path, steps=steps)
    command = ("train", "language", "--language", "sw", "--data", "made-text-sw", "--recipe", str(recipe))
    training = start_glossa(*command, env=env)
    assert training.stdout is not None
    for line in training.stdout:
        if "tokens/s" in line:
            break
    training.send_signal(signal.SIGINT)
    said = training.stdout.read()
    assert training.wait(60) == 130
    (folder,) = (tmp_path / "home" / "runs").iterdir()
    assert f"the checkpoint is in {folder}" in said
    assert "Traceback" not in said
    state = load(folder)
    assert state is not None
    assert 1 <= state.step < steps
    assert _json(run_glossa("adapters", "list", "--json", env=env)) == []

    done = run_glossa(*command, "--json", env=env)
    assert _json(done)["metrics"]["steps"] == steps
    resumed = re.search(r"step (\d+) of", done.stderr)
    assert resumed is not None
    assert int(resumed[1]) == state.step + 1


def test_a_second_server_on_the_port_is_told_so(run_glossa: Run, start_glossa: Start, env: Env) -> None:
    port = _address(start_glossa("serve", "--port", "0", env=env)).rpartition(":")[2]
    second = run_glossa("serve", "--port", port, env=env)
    assert second.returncode == 1
    assert second.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")


def test_the_shipped_demo_answers_in_four_languages(run_glossa: Run) -> None:
    done = run_glossa("demo", "--once", timeout_s=300)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1].removeprefix("DEMO "))
    assert len(answers) >= 4
    assert all(isinstance(found, list) for found in answers.values())
    assert any(entity["entity_group"] == "PER" for found in answers.values() for entity in found)


def test_a_closed_pipe_is_no_error(wheel_bin: Path, glossa_environment: Env, env: Env) -> None:
    command = f"'{wheel_bin / 'glossa'}' data list --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], env=glossa_environment | env, capture_output=True, text=True, check=False
    )
    assert done.stdout == "["
    assert done.stderr == ""

"""The gate's children: their verdicts, their limits, and what becomes of a file that one cannot finish."""

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.numpy import save

from madx.errors import InvalidWeights
from madx.shapes import Shape
from registry import gate_child, gatekeeper, refusals
from registry.errors import GateUnavailable
from registry.gatekeeper import Gatekeeper
from registry.refusals import GateFailed, HeaderTooLarge, NotFinite, Truncated, WrongShape
from registry.weights_header import header_end
from tests.support.made_adapters import Tensors, by_hand, made_tensors, written

FIRST = "layers.0.output.down.weight"


def shapes_of(tensors: Tensors) -> Mapping[str, Shape]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def program(path: Path, text: str) -> str:
    """A shell script in the place of the interpreter: a child that does what no child of ours does."""
    written(path, f"#!/bin/sh\n{text}\n".encode()).chmod(stat.S_IRWXU)
    return str(path)


def test_lets_pass_a_right_file(tmp_path: Path) -> None:
    tensors = made_tensors()
    Gatekeeper().check_weights(written(tmp_path / "weights", save(tensors)), shapes_of(tensors))


def test_a_header_is_judged_before_the_rest_has_arrived(tmp_path: Path) -> None:
    tensors = made_tensors()
    content = save(tensors)
    begun = written(tmp_path / "weights", content[: header_end(content)])
    Gatekeeper().check_header(begun, shapes_of(tensors), file_bytes=len(content))
    with pytest.raises(Truncated):
        Gatekeeper().check_header(begun, shapes_of(tensors), file_bytes=len(content) - 1)
    with pytest.raises(Truncated):
        Gatekeeper().check_weights(begun, shapes_of(tensors))
    with pytest.raises(WrongShape):
        Gatekeeper().check_header(begun, {**shapes_of(tensors), FIRST: (1, 2)}, file_bytes=len(content))


def test_a_refusal_is_the_same_as_without_a_child(tmp_path: Path) -> None:
    tensors = made_tensors()
    tensors[FIRST][1, 2] = float("inf")
    path = written(tmp_path / "weights", save(tensors))
    with pytest.raises(NotFinite) as caught:
        Gatekeeper().check_weights(path, shapes_of(tensors))
    assert str(caught.value) == f"{FIRST}: NaN or infinity at element 10 of shape [4, 8]"
    Gatekeeper().check_header(path, shapes_of(tensors), file_bytes=path.stat().st_size)


def test_every_refusal_comes_back_as_its_class() -> None:
    kinds = [kind for kind in vars(refusals).values() if isinstance(kind, type) and issubclass(kind, InvalidWeights)]
    assert HeaderTooLarge in kinds
    for kind in kinds:
        error = gatekeeper._refusal({"code": kind.code, "message": "why"})
        assert (type(error), str(error)) == (kind, "why")


def test_a_child_imports_little() -> None:
    text = "import registry.gate_child, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert not {"numpy", "pydantic", "langcodes", "sqlalchemy", "torch", "pathlib"} & set(done.stdout.split())


def limited(body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What becomes of `body` once a child has limited itself."""
    modules = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return subprocess.run(
        [sys.executable, "-c", f"import resource\nfrom registry import gate_child\ngate_child.limit(1)\n{body}"],
        env={"PYTHONPATH": modules},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (f"bytearray({gate_child.MEMORY_BYTES})", "MemoryError"),
        ("open('written', 'wb', buffering=0).write(b'1')", "File too large"),
        ("[open('/dev/null') for _ in range(20)]", "Too many open files"),
        ("raise SystemExit(str(resource.getrlimit(resource.RLIMIT_CORE)))", "(0, 0)"),
    ],
)
def test_a_child_is_limited(tmp_path: Path, body: str, says: str) -> None:
    done = limited(body, tmp_path)
    assert done.returncode == 1
    assert says in done.stderr


def test_a_child_that_computes_for_ever_is_ended(tmp_path: Path) -> None:
    assert limited("while True: pass", tmp_path).returncode < 0


def test_a_child_that_dies_refuses_the_file(tmp_path: Path) -> None:
    """A folder cannot be read: the child ends with a traceback, of which a client sees nothing."""
    with pytest.raises(GateFailed) as caught:
        Gatekeeper().check_weights(tmp_path, {})
    assert caught.value.code == "gate_failed"
    assert "Error" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_child_that_waits_for_ever_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "_WAITING_S", 1)
    monkeypatch.setattr(gatekeeper, "_WALL_PER_CPU", 0)
    os.mkfifo(tmp_path / "weights")
    keeper = Gatekeeper()
    with pytest.raises(GateFailed):
        keeper.check_weights(tmp_path / "weights", {})
    tensors = made_tensors()
    monkeypatch.undo()
    keeper.check_weights(written(tmp_path / "right", save(tensors)), shapes_of(tensors))


@pytest.mark.parametrize("answer", ["[]", "{}", '{"code": null}', '{"code": "new", "message": ""}', "{" * 9])
def test_an_answer_that_is_no_verdict_refuses_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path / "child", f"cat > /dev/null; echo '{answer}'"))
    with pytest.raises(GateFailed):
        Gatekeeper().check_weights(written(tmp_path / "weights", b""), {})


@pytest.mark.parametrize("text", [None, "exit 1", "kill -9 $$"])
def test_a_child_that_does_not_begin_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    child = str(tmp_path / "nowhere") if text is None else program(tmp_path / "child", f"cat > /dev/null; {text}")
    monkeypatch.setattr(sys, "executable", child)
    with pytest.raises(GateUnavailable):
        Gatekeeper().check_weights(written(tmp_path / "weights", b""), {})


def test_a_child_knows_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "GLOSSA_API_KEY", "ANOTHER"):
        monkeypatch.setenv(name, "hunter2")
    seen = tmp_path / "seen"
    monkeypatch.setattr(
        sys, "executable", program(tmp_path / "child", f"env > '{seen}'; cat > '{seen}.input'; echo; exit 1")
    )
    with pytest.raises(GateFailed):
        Gatekeeper().check_header(written(tmp_path / "weights", by_hand({})), {}, file_bytes=10)
    text = seen.read_text()
    assert "LC_ALL" in text
    assert "hunter2" not in text
    request = json.loads((tmp_path / "seen.input").read_text())
    assert request["path"] == str(tmp_path / "weights")


@pytest.mark.parametrize("processes", [1, 2])
def test_no_more_children_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    """Each child notes when it comes and goes; six files arrive at once."""
    log = tmp_path / "log"
    child = program(
        tmp_path / "child", f"echo + >> '{log}'; cat > /dev/null; sleep 0.1; echo - >> '{log}'; echo; exit 1"
    )
    monkeypatch.setattr(sys, "executable", child)
    keeper = Gatekeeper(processes=processes)
    path = written(tmp_path / "weights", b"")

    def send() -> None:
        with pytest.raises(GateFailed):
            keeper.check_weights(path, {})

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    at_once, most = 0, 0
    for sign in log.read_text().split():
        at_once += 1 if sign == "+" else -1
        most = max(most, at_once)
    assert at_once == 0
    assert 1 <= most <= processes

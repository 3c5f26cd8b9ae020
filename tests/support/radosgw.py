"""Ceph's radosgw over a cluster of one monitor and one disk that is a file: the acceptance server.

Everything listens on loopback and lies in one folder; nothing of a Ceph that the machine may run is read or touched.
"""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.servers.object_stores import (
    START_S,
    ObjectServer,
    aws_environment,
    free_ports,
    make_bucket,
    running,
    wait_until_answering,
)

ACCESS_KEY = "GLOSSAWRITER"
SECRET_KEY = "radosgw-of-a-test"
PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

# One copy of everything, and little memory.
SETTINGS = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{first},v1:127.0.0.1:{second}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
crash dir = {folder}
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = 4294967296
bluestore cache size = 67108864
bluestore cache autotune = false
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 0
rgw thread pool size = 32
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw gc obj min wait = 5
"""


@contextmanager
def radosgw(*, bucket: str = "glossa") -> Iterator[ObjectServer]:
    """Needs the packages radosgw, ceph-mon and ceph-osd. Keeps everything in a folder that goes with the block."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    assert not lacking, f"no {', '.join(lacking)}: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd"
    # Short, because the path of a socket is: 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="glossa-rgw-", dir="/tmp"))
    try:
        with ExitStack() as cluster:
            yield _start(cluster, folder, bucket)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(cluster: ExitStack, folder: Path, bucket: str) -> ObjectServer:
    port, first, second = free_ports(3)
    fsid = str(uuid.uuid4())
    settings = folder / "ceph.conf"
    settings.write_text(SETTINGS.format(fsid=fsid, folder=folder, port=port, first=first, second=second))

    def daemon(program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [program, "-c", str(settings), "-f", *arguments]
        return cluster.enter_context(running(command, folder / f"{program}.out", environment=_environment(folder)))

    def ask(program: str, *arguments: str) -> str:
        return _run(folder, program, "-c", str(settings), *arguments)

    _make_monitor(folder, fsid, f"[v2:127.0.0.1:{first},v1:127.0.0.1:{second}]", ask)
    daemon("ceph-mon", "-i", "a")
    disk = str(uuid.uuid4())
    ask("ceph", "--connect-timeout", str(START_S), "osd", "new", disk)
    ask("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", disk)
    daemon("ceph-osd", "-i", "0")
    _wait_for_disk(ask)
    keys = f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}"
    ask("radosgw-admin", "user", "create", "--uid=glossa", "--display-name=Glossa", *keys)
    gateway = daemon("radosgw", "--id", "admin")
    endpoint = f"http://127.0.0.1:{port}"
    wait_until_answering(endpoint, gateway, folder / "radosgw.out")
    environment = aws_environment(endpoint, ACCESS_KEY, SECRET_KEY, folder)
    make_bucket(environment, bucket)
    return ObjectServer(bucket=bucket, endpoint=endpoint, environment=environment)


def _make_monitor(folder: Path, fsid: str, addresses: str, ask: Callable[..., str]) -> None:
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    keyring, map_file = str(folder / "keyring"), str(folder / "monmap")
    for name in ("mon.", "client.admin", "osd.0"):
        capabilities = [text for part in ("mon", "osd", "mgr") for text in ("--cap", part, "allow *")]
        create = ["--create-keyring"] if name == "mon." else []
        _run(folder, "ceph-authtool", keyring, *create, "--gen-key", "-n", name, *capabilities)
    _run(folder, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, map_file)
    ask("ceph-mon", "--mkfs", "-i", "a", "--monmap", map_file, "--keyring", keyring)


def _wait_for_disk(ask: Callable[..., str]) -> None:
    deadline = time.monotonic() + START_S
    while "1 up" not in ask("ceph", "osd", "stat"):
        assert time.monotonic() < deadline, "the disk of the Ceph cluster does not come up"
        time.sleep(0.2)


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * START_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": _path(), "HOME": str(folder), "TMPDIR": str(folder)}


def _path() -> str:
    """The daemons may lie where only root looks."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"

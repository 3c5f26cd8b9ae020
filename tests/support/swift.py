"""OpenStack Swift with its S3 interface, on one device: the store whose conditional PUT lets several writers win.

Its programs come from an environment of their own, made by `make swift-env`. The four servers run without a cache.
"""

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.servers.object_stores import (
    REGION,
    ObjectServer,
    aws_environment,
    free_ports,
    make_bucket,
    running,
    wait_until_answering,
)

ACCESS_KEY = "glossa:writer"
SECRET_KEY = "swift-of-a-test"
RINGS = ("account", "container", "object")

SETTINGS = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
user = {user}
workers = 0
"""
STORAGE = """
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
fallocate_reserve = 0
"""
PROXY = f"""
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true

[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:s3api]
use = egg:swift#s3api
location = {REGION}
[filter:tempauth]
use = egg:swift#tempauth
user_glossa_writer = {SECRET_KEY} .admin
"""
CONSTANTS = """
[swift-hash]
swift_hash_path_prefix = glossa
swift_hash_path_suffix = glossa
"""


@contextmanager
def swift(programs: Path, folder: Path, *, bucket: str = "glossa") -> Iterator[ObjectServer]:
    """`programs` has `swift-proxy-server` and the others. Everything is kept in `folder`, which takes attributes."""
    ports = dict(zip((*RINGS, "proxy"), free_ports(len(RINGS) + 1), strict=True))
    _write_settings(folder, ports)
    for name in RINGS:
        _make_ring(programs, folder, name, ports[name])
    endpoint = f"http://127.0.0.1:{ports['proxy']}"
    with ExitStack() as servers:
        for name, port in ports.items():
            log = folder / f"{name}.log"
            command = [str(programs / f"swift-{name}-server"), str(folder / f"{name}.conf"), "--verbose"]
            process = servers.enter_context(running(command, log, environment=_environment(folder)))
            wait_until_answering(f"http://127.0.0.1:{port}/healthcheck", process, log)
        environment = aws_environment(endpoint, ACCESS_KEY, SECRET_KEY, folder)
        make_bucket(environment, bucket)
        yield ObjectServer(bucket=bucket, endpoint=endpoint, environment=environment)


def _write_settings(folder: Path, ports: dict[str, int]) -> None:
    (folder / "devices" / "disk").mkdir(parents=True)
    (folder / "swift.conf").write_text(CONSTANTS)
    for name, port in ports.items():
        body = PROXY if name == "proxy" else STORAGE.format(name=name)
        settings = SETTINGS.format(port=port, folder=folder, user=getpass.getuser())
        (folder / f"{name}.conf").write_text(settings + body)


def _make_ring(programs: Path, folder: Path, name: str, port: int) -> None:
    """One partition power of 4, one replica, on the one device."""
    builder = [str(programs / "swift-ring-builder"), str(folder / f"{name}.builder")]
    for arguments in (
        ["create", "4", "1", "0"],
        ["add", f"r1z1-127.0.0.1:{port}/disk", "1"],
        ["rebalance"],
    ):
        done = subprocess.run(
            [*builder, *arguments], env=_environment(folder), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"swift-ring-builder {arguments[0]}: {done.stdout}{done.stderr}"


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}

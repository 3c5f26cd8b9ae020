"""The Hugging Face hub's read interface over a folder of repositories, on loopback, as far as snapshots need it.

`root/owner/name/BRANCH/...` are a repository's branches; a branch's commit is the sha1 of its name.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def commit_of(branch: str) -> str:
    return hashlib.sha1(branch.encode()).hexdigest()


class HubServer(ThreadingHTTPServer):
    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root


class Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            revision = parts[5] if parts[4:5] in (["revision"], ["tree"]) else "main"
            self._listing(self.server.root / parts[2] / parts[3], revision)
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file(self.server.root / parts[0] / parts[1], parts[3], "/".join(parts[4:]), with_body=with_body)
        else:
            self._refuse("EntryNotFound")

    def _branch(self, repository: Path, revision: str) -> Path | None:
        branches = [path for path in repository.iterdir() if revision in (path.name, commit_of(path.name))]
        return branches[0] if branches else None

    def _listing(self, repository: Path, revision: str) -> None:
        if not repository.is_dir():
            self._refuse("RepoNotFound")
            return
        branch = self._branch(repository, revision)
        if branch is None:
            self._refuse("RevisionNotFound")
            return
        files = [path.relative_to(branch).as_posix() for path in branch.rglob("*") if path.is_file()]
        name = f"{repository.parent.name}/{repository.name}"
        siblings = [{"rfilename": file} for file in sorted(files)]
        info = {"id": name, "modelId": name, "sha": commit_of(branch.name), "siblings": siblings}
        tree = [
            {"type": "file", "path": file, "size": (branch / file).stat().st_size, "oid": commit_of(file)}
            for file in sorted(files)
        ]
        content: object = tree if "/tree/" in self.path else info
        self._send(json.dumps(content).encode(), {"Content-Type": "application/json"}, with_body=True)

    def _file(self, repository: Path, revision: str, file: str, *, with_body: bool) -> None:
        branch = self._branch(repository, revision)
        if branch is None or not (branch / file).is_file():
            self._refuse("EntryNotFound")
            return
        content = (branch / file).read_bytes()
        tag = hashlib.sha256(content).hexdigest()
        self._send(content, {"X-Repo-Commit": commit_of(branch.name), "ETag": f'"{tag}"'}, with_body=with_body)

    def _send(self, content: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(200)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def hub_server(root: Path) -> Iterator[str]:
    """Its address."""
    server = HubServer(root)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

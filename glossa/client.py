"""The Python client of a running server. A caller's process stays small: no torch, no database.

with Client("http://127.0.0.1:8000") as client:
    client.predict("ner", "Juma anaishi Nairobi.", language="sw")
    client.catalogue.set_alias("sw-mlm", "production", 3)
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from madx.manifest import from_bytes

from .access_client import AccessClient
from .catalogue_client import CatalogueClient
from .connection import TIMEOUT_S, ClientError, Connection, Json, json_of, path_of
from .downloads_client import DownloadsClient
from .folders import fill_folder, read_folder
from .patience import OnWait, Patience
from .predictions_client import Answer, Input, predict_many
from .uploads_client import UploadsClient

__all__ = ["Answer", "Client", "ClientError", "Json"]


class Client:
    """A server at `base_url`. `transport` is httpx's, for a proxy of one's own or an app in the same process.

    `catalogue` asks and changes the server's registry; `uploads` and `downloads` carry weights; `access` has keys and
    the audit. All raise `ClientError`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.connection = Connection(base_url, api_key, transport, timeout_s=timeout_s)
        self.access = AccessClient(self.connection)
        self.catalogue = CatalogueClient(self.connection)
        self.uploads = UploadsClient(self.connection)
        self.downloads = DownloadsClient(self.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()

    def predict(self, task: str, inputs: str | list[str], **parameters: Json) -> Json:
        """The task's answer: a list for a text, a list of lists for a list of texts."""
        return self.answer(task, inputs, **parameters).content

    def answer(self, task: str, inputs: str | list[str], **parameters: Json) -> Answer:
        """As `predict`, with what the answer's headers say."""
        body: dict[str, Json] = {"inputs": inputs}
        if parameters:
            body["parameters"] = parameters
        response = self.connection.send("POST", path_of("predict", task), json=body)
        took = response.headers.get("x-total-time")
        return Answer(
            content=json_of(response),
            adapter=response.headers.get("x-glossa-adapter"),
            language_adapter=response.headers.get("x-glossa-language-adapter"),
            total_ms=None if took is None else float(took),
        )

    def predict_many(
        self, task: str, inputs: Iterable[Input], *, on_wait: OnWait | None = None, **parameters: Json
    ) -> Iterator[Answer | ClientError]:
        """An answer to each of any number of texts, in their order, as they are done; `inputs` is read as it goes.

        `parameters` are those of all texts. A text that cannot be answered gives its `ClientError`, and the others
        theirs. Lost connections and a server that is restarted meanwhile are waited for: `on_wait` is told.
        """
        return predict_many(self.connection, task, inputs, parameters, Patience(on_wait=on_wait))

    def adapters(self) -> list[dict[str, Json]]:
        """Every adapter that the server knows, each with its newest live version. `catalogue` has more ways to ask."""
        return list(self.catalogue.adapters())

    def languages(self) -> list[dict[str, Json]]:
        return list(self.connection.pages("/v1/languages"))

    def tasks(self) -> list[dict[str, Json]]:
        return list(self.connection.pages("/v1/tasks"))

    def publish(self, name: str, folder: Path) -> dict[str, Json]:
        """Publish an adapter folder as the next version of `name`: {name, version, digest, reference, created}.

        Lost connections and a server that is restarted meanwhile are waited for. The same content twice is one version.
        """
        content = read_folder(folder)
        return self.uploads.publish(name, content.manifest, content.weights)

    def download(self, reference: str, folder: Path) -> dict[str, Json]:
        """Write the version that `reference` names into a folder, and say which it was. Goes on where it was."""
        version = self.catalogue.resolve(reference)
        name, number = str(version["name"]), int(version["version"])
        manifest = self.catalogue.manifest(name, number, digest=version["digest"])
        weights = from_bytes(manifest).weights
        fill_folder(folder, manifest, weights, lambda start: self.downloads.weights(name, number, start=start))
        return version

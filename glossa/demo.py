"""The demo that ships with Glossa: a small backbone and adapters for it. Torch-free but for `publish_demo`.

In the wheel it lies in `glossa/demo`, in a checkout in `demo` beside this package.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from madx.manifest import Digest, from_bytes
from registry import catalog
from registry.publish import publish
from registry.registry import Registry
from registry.values import Version

from .folders import AdapterFolder, read_folder

MARKER = "demo.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A text to ask the demo about."""

    language: str
    text: str


SAMPLES = (
    Sample(language="en", text="Amina Okafor moved from Lagos to London to work for the United Nations."),
    Sample(language="sw", text="Rais Samia Suluhu Hassan alizuru Nairobi na kukutana na William Ruto."),
    Sample(language="ha", text="Shugaba Bola Tinubu ya isa birnin Kano daga Abuja."),
    Sample(language="yo", text="Wọlé Ṣóyínká ni a bí ní ìlú Abẹ́òkúta ní orílẹ̀-èdè Nàìjíríà."),
    Sample(language="pt", text="Fernanda Montenegro nasceu no Rio de Janeiro e trabalhou na TV Globo."),
    Sample(language="zh", text="姚明出生于上海，后来加入了休斯敦火箭队。"),
    Sample(language="zu", text="UNelson Mandela wazalelwa eMvezo eNingizimu Afrika."),
    Sample(language="lg", text="Pulezidenti Yoweri Museveni yagenze e Kampala okusisinkana William Ruto."),
)


def demo_folder() -> Path:
    package = Path(__file__).resolve().parent
    inside = package / "demo"
    return inside if inside.is_dir() else package.parent / "demo"


def demo_backbone() -> Path:
    return demo_folder() / "backbone"


def is_demo_backbone(source: str) -> bool:
    return Path(source).expanduser().resolve() == demo_backbone().resolve()


def demo_adapters() -> dict[str, AdapterFolder]:
    """The shipped adapters by name."""
    folders = sorted(path for path in (demo_folder() / "adapters").glob("*") if path.is_dir())
    return {folder.name: read_folder(folder) for folder in folders}


def is_due(registry: Registry, home: Path) -> bool:
    """Whether `glossa serve` is to publish the demo: once, and into a home that holds nothing else."""
    if (home / MARKER).is_file():
        return False
    shipped = {Digest(from_bytes(folder.manifest).weights.digest) for folder in demo_adapters().values()}
    return not catalog.holds_more_than(registry, shipped)


def publish_demo(registry: Registry, home: Path) -> Sequence[Version]:
    """Publish the shipped backbone and adapters; what is there already stays as it is."""
    from madx.loading import load_backbone

    loaded = load_backbone(demo_backbone())
    catalog.add_backbone(
        registry,
        fingerprint=loaded.fingerprint,
        name=loaded.name,
        config=loaded.config,
        masked_lm=loaded.backbone.masked_lm is not None,
    )
    versions = [
        publish(registry, folder.manifest, folder.weights, name=name).version
        for name, folder in demo_adapters().items()
    ]
    content = json.dumps({"published": [version.reference for version in versions]}, indent=2) + "\n"
    (home / MARKER).write_text(content, encoding="utf-8")
    return versions

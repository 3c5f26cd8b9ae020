"""The backbone that trains and evaluates: float32, on the settings' device. Imports torch."""

import torch

from madx.loading import LoadedBackbone, load_backbone
from service.model import choose_device
from service.settings import Settings

from .demo import is_demo_backbone


def load_for_training(settings: Settings) -> LoadedBackbone:
    """Raises `BackboneUnavailable`, `InvalidSettings`."""
    return load_backbone(settings.backbone, device=choose_device(settings.device), dtype=torch.float32)


def default_recipe(settings: Settings) -> str:
    """The demo's own on the demo's backbone, the paper's elsewhere."""
    return "demo" if is_demo_backbone(settings.backbone) else "mad-x"

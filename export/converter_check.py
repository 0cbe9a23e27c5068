"""Runs in the converter's environment once it is made: does everything that the workers need load?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from typing import Any

NEEDED = ("ai_edge_litert", "ai_edge_quantizer.quantizer", "litert_torch", "torchvision", "safetensors")
PACKAGES = ("torch", "numpy", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "litert-converter")


def work(job: Mapping[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    """Versions of what matters; ImportError where something does not load."""
    for name in NEEDED:
        import_module(name)
        tell(1)
    return {name: metadata.version(name) for name in PACKAGES}

"""A bundle where a model file is expected: unpacked once into the cache, the fitting variant chosen."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from imago.edge_runtime.bundle.archive import read_manifest, unpack, verify
from imago.edge_runtime.bundle.manifest import Manifest, Variant
from imago.edge_runtime.errors import BundleError
from imago.edge_runtime.places import cache_root

# Which package opens a variant; the first one that is installed counts.
PACKAGES = {"onnxruntime": ("onnxruntime",), "litert": ("ai_edge_litert", "tflite_runtime")}


@dataclass(frozen=True, slots=True)
class Opened:
    """An unpacked, checked bundle. folder: where its members are."""

    manifest: Manifest
    folder: Path

    def models(self) -> list[Path]:
        """The files of all variants that this machine has an engine for, best first. Raises BundleError."""
        found = [self.folder / v.file for v in self.manifest.variants if _engine_here(v)]
        if not found:
            raise BundleError(
                "no engine for this bundle is installed here (it holds models for {engines}); "
                "pip install 'imago-edge[litert]' brings both",
                engines=", ".join(sorted({v.engine for v in self.manifest.variants})),
            )
        return found


def open_bundle(path: Path) -> Opened:
    """The bundle at ``path``, or a folder that one was unpacked into, with every byte checked.

    Raises BundleError where it is damaged.
    """
    if path.is_dir():
        return Opened(verify(path), path)
    manifest = read_manifest(path)
    folder = cache_root() / "bundles" / manifest.id
    if folder.is_dir():
        return Opened(verify(folder), folder)
    return Opened(unpack(path, folder), folder)


def _engine_here(variant: Variant) -> bool:
    return any(importlib.util.find_spec(name) is not None for name in PACKAGES[variant.engine])

"""Small data sets of real picture files, made on the spot."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def pixels(seed: int, width: int = 40, height: int = 32) -> npt.NDArray[np.uint8]:
    """A picture that no other seed gives: smooth colour fields with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height)))


def save(path: Path, seed: int, width: int = 40, height: int = 32) -> Path:
    """Write a picture in the format that its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, width, height)).save(path)
    return path


def striped_folders(root: Path, count: int = 40) -> Path:
    """Two easy classes, told apart by the direction of stripes; one has a name outside ASCII."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:40, 0:48]
    for name, axis in (("across", y), ("竖直", x)):
        (root / name).mkdir(parents=True)
        for k in range(count):
            wave = (
                127
                + 90 * np.sin(axis * rng.uniform(0.5, 0.9) + rng.uniform(0, 6))
                + rng.normal(0, 15, x.shape)
            )
            picture = np.clip(np.stack([wave] * 3, -1), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root / name / f"{k}.png")
    return root


def class_folders(
    root: Path, counts: Mapping[str, int], *, first_seed: int = 0, suffix: str = ".png"
) -> Path:
    """``root/CLASS/000.png`` …: ``counts`` pictures per class, all different."""
    seed = first_seed
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            save(root / name / f"{index:03}{suffix}", seed)
            seed += 1
    return root


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """The idx form of a uint8 array."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_set(
    root: Path, sizes: Mapping[str, int], *, classes: Sequence[int] = (0, 1, 2), packed: bool = True
) -> Path:
    """An MNIST-like folder; ``sizes``: prefix (train, t10k) → number of pictures."""
    root.mkdir(parents=True, exist_ok=True)
    for prefix, n in sizes.items():
        rng = np.random.default_rng(n)
        files = {
            f"{prefix}-images-idx3-ubyte": rng.integers(0, 256, (n, 7, 5), dtype=np.uint8),
            f"{prefix}-labels-idx1-ubyte": np.array([classes[i % len(classes)] for i in range(n)], np.uint8),
        }
        for name, array in files.items():
            data = idx_bytes(array)
            (root / (name + ".gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return root

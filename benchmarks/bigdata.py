"""A million pictures of ten thousand classes: what index, split and sampler cost in time and memory.

    python benchmarks/bigdata.py [--pictures 1000000] [--classes 10000] [--layout shards|folders]

Writes a synthetic set (tiny PNG pictures in tar shards of 10,000, or one file each), then measures in
fresh processes: listing, splitting and fingerprint the first time (every byte is read) and again (known),
and the first batches of a training that streams. Nothing is trained. Needs about 2 kB of disk per picture in
shards and 5 kB as files.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

from common import ROOT, save

PER_SHARD = 10_000
PROBE = """
import json, resource, sys, time
began = time.perf_counter()
import numpy as np, torch
from pathlib import Path
from imago.edge_runtime.spec import InputSpec
from imago.train.batches import Batches, Normalise
from imago.train.data.cache import open_cache
from imago.train.data.layouts import load_dataset
def mb(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
facts = {"imports_s": time.perf_counter() - began, "imports_mb": mb()}
began = time.perf_counter()
data = load_dataset(Path(sys.argv[1]))
facts |= {"index_s": time.perf_counter() - began, "index_mb": mb(), "classes": len(data.classes)}
facts["counts"] = {name: len(split) for name, split in data.splits.items()}
split = open_cache(data, "train", InputSpec(32, 32), quota=1)
how = {"batch_size": 256, "device": torch.device("cpu")}
batches = Batches(split.images, split.labels, Normalise((0.5,), (0.25,)), **how)
began = time.perf_counter()
stream = batches.epoch(0)
next(stream)
facts["first_batch_s"] = time.perf_counter() - began
began = time.perf_counter()
for _ in range(20):
    next(stream)
facts["streamed_per_s"] = 20 * 256 / (time.perf_counter() - began)
stream.close()
facts["mb"] = mb()
print(json.dumps(facts))
"""


def png(number: int) -> bytes:
    """A 4×4 grey PNG that no other number gives."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = struct.pack(">QQ", number * 2654435761 % 2**64, number)
    rows = b"".join(b"\x00" + pixels[4 * k : 4 * k + 4] for k in range(4))
    head = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows, 1))
        + chunk(b"IEND", b"")
    )


def write(root: Path, pictures: int, classes: int, layout: str) -> None:
    """The synthetic set; every class has as many pictures as the others."""
    root.mkdir()
    if layout == "folders":
        for number in range(classes):
            (root / f"class{number:05}").mkdir()
        for number in range(pictures):
            (root / f"class{number % classes:05}" / f"{number:07}.png").write_bytes(png(number))
        return
    for shard in range(-(-pictures // PER_SHARD)):
        with tarfile.open(root / f"train-{shard:06}.tar", "w") as archive:
            for number in range(shard * PER_SHARD, min(pictures, (shard + 1) * PER_SHARD)):
                data = png(number)
                info = tarfile.TarInfo(f"class{number % classes:05}/{number:07}.png")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            archive.members.clear()  # type: ignore[attr-defined]


def probed(root: Path, cache: Path) -> dict[str, Any]:
    """What a fresh process measures."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_CACHE": str(cache), "IMAGO_LANG": "en"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(root)], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--layout", choices=("shards", "folders"), default="shards")
    parser.add_argument("--folder", type=Path, help="where to write (default: temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        root, began = Path(name) / "set", time.perf_counter()
        write(root, args.pictures, args.classes, args.layout)
        print(f"wrote {args.pictures} pictures in {time.perf_counter() - began:.0f} s", flush=True)
        rows = {what: probed(root, Path(name) / "cache") for what in ("first time", "again")}
    for what, row in rows.items():
        print(
            f"{what}: index in {row['index_s']:.1f} s, {row['index_mb'] - row['imports_mb']:.0f} MB more "
            f"than the imports' {row['imports_mb']:.0f}; first batch after {row['first_batch_s']:.2f} s, "
            f"then {row['streamed_per_s']:.0f} pictures/s; peak {row['mb']:.0f} MB"
        )
    save("bigdata", {"pictures": args.pictures, "classes": args.classes, "layout": args.layout, "rows": rows})


if __name__ == "__main__":
    main()

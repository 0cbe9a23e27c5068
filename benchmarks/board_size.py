"""What imago takes on a board, and how long an empty board needs to its first prediction, without network.

    python benchmarks/board_size.py [--only size|time] [--systems trixie bookworm] [--work FOLDER]

1. Size: ``imago kit`` for Raspberry Pi OS (aarch64) by engine, with and without OpenCV. "kit": what is
   carried over; "installed": what its wheels unpack to, in MB of 10⁶ bytes, counted in files and in blocks of
   4 KiB (what an ext4 card gives away), without byte code, which Python adds at the first import.
2. Time: an empty system, no network; environment, installation from the kit, ``imago predict`` on one
   picture. Natively on this machine, and on an emulated aarch64 board (qemu-user: **an emulator's seconds,
   several times a board's**; they say that it works, not how long it takes).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from common import ROOT, imago, save

sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / ".dev")]

VARIANTS = (
    ("onnxruntime", "none"),
    ("onnxruntime", "usb"),
    ("litert", "none"),
    ("litert", "usb"),
    ("both", "none"),
    ("both", "usb"),
)
BLOCK = 4096
# Runs in the kit's folder; needs nothing but the system's own Python.
FIRST = """
set -e
rm -rf {venv}
{python} -I -m venv --without-pip {venv}
{venv}/bin/python -I "$(echo kit/wheels/pip-*.whl)/pip" install --quiet --no-index --no-deps --no-cache-dir \\
  --disable-pip-version-check --require-hashes --find-links kit/wheels --requirement kit/requirements.txt
date +%s.%N > installed
{venv}/bin/imago predict {model} picture.png --json - > answer.json
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("size", "time"))
    parser.add_argument("--systems", nargs="+", default=["trixie", "bookworm"])
    parser.add_argument("--work", type=Path, help="keep kits here (default: a temporary folder)")
    args = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        if args.only != "time":
            result["size"] = [sizes(work, s, e, c) for s in args.systems for e, c in VARIANTS]
            print(size_table(result["size"]))
        if args.only != "size":
            result["time"] = [native(work), *(emulated(work, system) for system in args.systems)]
            print(time_table(result["time"]))
    save("board_size", result)
    return 0


def kit_for(work: Path, system: str, engine: str, camera: str) -> Path:
    """A kit, made once."""
    out = work / f"kit-{system}-{engine}-{camera}"
    flags = ["--os", system, "--engine", engine, "--camera", camera]
    imago("kit", "-o", str(out), *flags)
    return out


def sizes(work: Path, system: str, engine: str, camera: str) -> dict[str, Any]:
    """One row: what the kit's wheels hold."""
    kit = kit_for(work, system, engine, camera)
    wheels = sorted((kit / "wheels").glob("*.whl"))
    files = [size for wheel in wheels if not wheel.name.startswith("pip-") for size in unpacked_sizes(wheel)]
    return {
        "system": system,
        "engine": engine,
        "opencv": camera == "usb",
        "kit_mb": sum(path.stat().st_size for path in wheels) / 1e6,
        "installed_mb": sum(files) / 1e6,
        "blocks_mb": sum(-(-size // BLOCK) * BLOCK for size in files) / 1e6,
        "files": len(files),
        "wheels": [path.name for path in wheels],
    }


def unpacked_sizes(wheel: Path) -> list[int]:
    """What pip writes for a wheel, file by file; pip itself stays out of the environment."""
    with zipfile.ZipFile(wheel) as archive:
        return [entry.file_size for entry in archive.infolist() if not entry.is_dir()]


def prepare(share: Path, kit: Path) -> None:
    """What the board is given: kit, model, picture."""
    import numpy as np
    from PIL import Image

    from onnx_models import lenet

    link_tree(kit, share / "kit")
    lenet(share / "m.onnx")
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(picture).save(share / "picture.png")


def link_tree(source: Path, target: Path) -> None:
    """The same files, without their bytes a second time."""
    for path in source.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)


def native(work: Path) -> dict[str, Any]:
    """This machine as the board, in a namespace without network."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        share = Path(folder)
        prepare(share, kit_for(work, "this", "onnxruntime", "none"))
        script = FIRST.format(venv="venv", python=sys.executable, model="m.onnx")
        began = time.time()
        subprocess.run(
            ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script],
            cwd=share,
            check=True,
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
        )
        return row("this machine, native", share, began)


def emulated(work: Path, system: str) -> dict[str, Any]:
    """An aarch64 system with nothing but Python, under qemu-user."""
    from emulation import userland

    with tempfile.TemporaryDirectory(dir=work) as folder:
        share = Path(folder)
        prepare(share, kit_for(work, system, "onnxruntime", "none"))
        script = FIRST.format(venv="/share/venv", python="/usr/bin/python3", model="m.onnx")
        began = time.time()
        done = userland.userland(system).run(
            ["sh", "-c", script],
            share=share,
            board="pi4",
            env={"PYTHONPATH": ""},
            network=False,
            timeout=3600,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return row(f"{system} aarch64, emulated", share, began)


def row(name: str, share: Path, began: float) -> dict[str, Any]:
    """One measurement; the environment's size with the byte code that pip and the first run wrote."""
    ended, installed = time.time(), float((share / "installed").read_text())
    files = [p.stat().st_size for p in (share / "venv").rglob("*") if p.is_file() and not p.is_symlink()]
    return {
        "where": name,
        "install_s": installed - began,
        "first_prediction_s": ended - installed,
        "total_s": ended - began,
        "environment_mb": sum(files) / 1e6,
    }


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as they need to be."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )


def size_table(rows: list[dict[str, Any]]) -> str:
    """The sizes for people."""
    head = ("system", "engine", "OpenCV", "kit MB", "installed MB", "on ext4 MB", "files")
    return table(
        head,
        [
            (
                r["system"],
                r["engine"],
                "yes" if r["opencv"] else "no",
                f"{r['kit_mb']:.1f}",
                f"{r['installed_mb']:.1f}",
                f"{r['blocks_mb']:.1f}",
                str(r["files"]),
            )
            for r in rows
        ],
    )


def time_table(rows: list[dict[str, Any]]) -> str:
    """The times for people."""
    head = ("where", "install s", "first prediction s", "total s", "environment MB")
    keys = ("install_s", "first_prediction_s", "total_s", "environment_mb")
    return table(head, [(r["where"], *(f"{r[key]:.1f}" for key in keys)) for r in rows])


if __name__ == "__main__":
    sys.exit(main())

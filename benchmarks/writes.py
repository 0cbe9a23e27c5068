"""What records write to an SD card: bytes that reach the block layer, per event and per hour.

    python benchmarks/writes.py [--events 1000]

``write_bytes`` of /proc/self/io (so the folder must be on a real file system: give one with --folder), of a
``Store`` with MQTT's outbox that keeps events with and without a picture of 320×240 pixels of smooth noise.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from common import save


def written() -> int:
    """Bytes that this process has had written so far."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def per_event(folder: Path, count: int, *, crops: bool) -> dict[str, float]:
    """Bytes written for each of ``count`` events, and bytes of the picture among them."""
    from imago.edge_runtime.events import Event, event_id
    from imago.edge_runtime.records.options import RecordOptions
    from imago.edge_runtime.records.store import Store
    from imago.edge_runtime.types import Frame, Score

    store = Store(folder, RecordOptions(reserve_mb=0, crops_mb_per_hour=1e6), outbox=True)
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(coarse, 8, 0), 8, 1)
    top = tuple(Score(f"class {k}", k, 0.5 - k / 10) for k in range(3))
    os.sync()
    before = written()
    for number in range(count):
        start = 1.7e9 + 10 * number
        crop = Frame(np.roll(image, number, 1), "rgb") if crops else None
        store.add(Event(event_id(start), "camera", "model", start, start + 2, 2.0, 40, top, crop=crop))
    store.close()
    os.sync()
    return {"bytes_per_event": (written() - before) / count, "crop_bytes": store.crops.bytes / count}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    rows = {}
    for crops in (False, True):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            row = rows["with picture" if crops else "without"] = per_event(
                Path(folder), args.events, crops=crops
            )
        print(
            f"{'with picture' if crops else 'without':<14}{row['bytes_per_event'] / 1e3:8.1f} kB written per "
            f"event, of which {row['crop_bytes'] / 1e3:.1f} kB picture; 60 events an hour: "
            f"{60 * row['bytes_per_event'] / 1e6:.2f} MB"
        )
    save("writes", {"events": args.events, "rows": rows})


if __name__ == "__main__":
    main()

"""`imago data check`: everything that is wrong with a data set, at once, and what it means for training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.train.data.digests import image_digests
from imago.train.data.findings import (
    Picture,
    class_findings,
    duplicate_findings,
    file_findings,
    other_findings,
)
from imago.train.data.layouts import assign
from imago.train.data.listing import list_dataset
from imago.train.data.probe import Probe, probe
from imago.train.data.report import RANK, CheckReport
from imago.train.dataset import DataOptions, Split


def check_dataset(
    root: Path,
    options: DataOptions = DataOptions(),  # noqa: B008 - frozen
    progress: bool = True,
) -> CheckReport:
    """Decode every picture as training would, and report all findings, worst first.

    Raises DataError only where there is nothing to check (no folder, no pictures, damaged idx).
    """
    root = Path(root)
    listing = list_dataset(root, options)
    paths = [path for entries in listing.entries.values() for path, _ in entries]
    probes = _probe_all(root, paths, progress)
    splits, notes, _ = assign(root, listing, options, {p.path: p.content for p in probes})
    pictures = _pictures(splits, listing.classes, {p.path: p for p in probes})
    counts: dict[str, dict[str, int]] = {name: dict.fromkeys(splits, 0) for name in listing.classes}
    for picture in pictures:
        counts[picture.label][picture.split] += 1
    findings = (
        *file_findings(probes),
        *class_findings(listing, counts),
        *duplicate_findings(pictures),
        *other_findings(listing),
    )
    return CheckReport(
        root=str(root),
        layout=listing.layout,
        classes=listing.classes,
        counts=counts,
        findings=tuple(sorted(findings, key=lambda finding: RANK[finding.severity])),
        notes=(*listing.notes, *notes),
    )


def _probe_all(root: Path, paths: Sequence[str], progress: bool) -> list[Probe]:
    probes = []
    with Progress(len(paths), tr("looking at pictures")) as bar:
        bar.enabled = bar.enabled and progress
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # decoders release the interpreter lock
            for result in pool.map(lambda path: probe(root, path), paths):
                probes.append(result)
                bar.advance()
    return probes


def _pictures(
    splits: Mapping[str, Split], classes: Sequence[str], probes: Mapping[str, Probe]
) -> list[Picture]:
    pictures = []
    for name, split in splits.items():
        labels = [classes[label] for label in split.labels.tolist()]
        if split.images is not None:
            names = [f"{name} #{index}" for index in range(len(split))]
            hashes = image_digests(split.images)
        else:
            names = list(split.paths)
            hashes = [probes[path].pixels for path in names]
        pictures += [Picture(*row) for row in zip(names, [name] * len(names), labels, hashes, strict=True)]
    return pictures

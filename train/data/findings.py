"""The judgements of `imago data check`: each function looks at one side of a data set.

A message says in one sentence what was found, what it means for training and what to do.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from imago.edge_runtime.messages import tr
from imago.train.data.folders import UNSUPPORTED_SUFFIXES
from imago.train.data.listing import Listing
from imago.train.data.probe import Probe
from imago.train.data.report import Finding, Severity

FEW = 20  # training pictures below which a class is guesswork
IMBALANCE = 3.0
LONG = 3.0  # side ratio beyond which a centre crop shows a fraction of the picture
SMALL = 16  # pixels
GREY_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's place in the data set. pixels: hash of what it shows, b"" where it does not decode."""

    path: str
    split: str
    label: str
    pixels: bytes


def file_findings(probes: Sequence[Probe]) -> Iterator[Finding]:
    """What is wrong with single files."""
    yield from _faults(probes)
    sound = [p for p in probes if not p.fault]
    wrong = [p for p in probes if not p.suffix_fits]
    if wrong:
        examples = ", ".join(sorted({f"{PurePosixPath(p.path).suffix} → {p.format}" for p in wrong})[:3])
        yield Finding(
            "wrong-extension",
            "warning",
            tr(
                "{n} files have an extension that does not match their content ({examples}): imago reads "
                "them by content, other programs may not; rename them",
                n=len(wrong),
                examples=examples,
            ),
            _paths(wrong),
        )
    moving = [p for p in sound if p.format == "GIF" or (p.frames > 1 and p.format != "MPO")]
    if moving:
        yield Finding(
            "animation",
            "warning",
            tr(
                "{n} files are GIFs or animations: only the first picture is used, and among photos it is "
                "often a 'not found' placeholder; look at them and delete what is no photo",
                n=len(moving),
            ),
            _paths(moving),
        )
    yield from _shapes(sound)
    grey = [p for p in sound if p.grey]
    if grey and len(grey) < GREY_SHARE * len(sound):
        yield Finding(
            "grey",
            "info",
            tr(
                "{n} of {total} pictures are grey among colour pictures: if one class has most of them, "
                "the network learns 'grey' instead of the subject; replace them, or train with grey input",
                n=len(grey),
                total=len(sound),
            ),
            _paths(grey),
        )


def _faults(probes: Sequence[Probe]) -> Iterator[Finding]:
    kinds = {
        "empty": tr("{n} files are empty (0 bytes): training stops at them; copy them again or delete them"),
        "truncated": tr(
            "{n} pictures are cut off in the middle: training stops at them; copy them again or delete them"
        ),
        "unreadable": tr(
            "{n} files cannot be read as pictures: training stops at them; replace or delete them"
        ),
    }
    for kind, message in kinds.items():
        bad = [p for p in probes if p.fault == kind]
        if bad:
            yield Finding(kind, "error", message.format(n=len(bad)), _paths(bad))


def _shapes(sound: Sequence[Probe]) -> Iterator[Finding]:
    tiny = [p for p in sound if min(p.width, p.height) < SMALL]
    if tiny:
        yield Finding(
            "tiny-picture",
            "warning",
            tr(
                "{n} pictures have a side below {side} pixels: enlarged they are blurs that teach nothing; "
                "replace or delete them",
                n=len(tiny),
                side=SMALL,
            ),
            _paths(tiny),
        )
    long = [p for p in sound if max(p.width, p.height) > LONG * min(p.width, p.height)]
    if long:
        yield Finding(
            "odd-shape",
            "warning",
            tr(
                "{n} pictures are more than {ratio} times as long as wide: a centre crop shows only a part "
                "of them; crop them by hand, or train with --fit letterbox",
                n=len(long),
                ratio=round(LONG),
            ),
            _paths(long),
        )


def class_findings(listing: Listing, counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    """What is wrong with the classes and their sizes."""
    for problem in listing.problems:
        yield Finding("one-class", "error", str(problem))
    for name in listing.empty:
        yield Finding(
            "empty-class",
            "error",
            tr(
                "class {name} has no pictures to train on: training refuses it; "
                "add pictures or remove its folder",
                name=name,
            ),
        )
    yield from _case_collisions(listing.classes)
    sizes = {name: counts[name].get("train", 0) for name in listing.classes if name not in listing.empty}
    for name, n in sizes.items():
        if n < FEW:
            yield Finding(
                "tiny-class",
                "warning",
                tr(
                    "class {name} has only {n} training pictures: the network can learn them by heart but "
                    "not the class; collect at least {few}, better 100",
                    name=name,
                    n=n,
                    few=FEW,
                ),
            )
    yield from _imbalance(sizes)
    yield from _held_out(listing, counts)


def _case_collisions(classes: Sequence[str]) -> Iterator[Finding]:
    same: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        same[name.casefold()].append(name)
    for names in same.values():
        if len(names) > 1:
            yield Finding(
                "case-collision",
                "warning",
                tr(
                    "the classes {names} differ only in capitals: on Windows and macOS they are one "
                    "folder; merge them or choose different names",
                    names=", ".join(names),
                ),
            )


def _imbalance(sizes: Mapping[str, int]) -> Iterator[Finding]:
    filled = {name: n for name, n in sizes.items() if n}
    if len(filled) < 2:
        return
    least, most = min(filled, key=filled.__getitem__), max(filled, key=filled.__getitem__)
    ratio = filled[most] / filled[least]
    if ratio >= IMBALANCE:
        yield Finding(
            "imbalance",
            "warning",
            tr(
                "{most} has {ratio} times as many pictures as {least}: the network will prefer the large "
                "class; train with class weights, or add pictures of the small one",
                most=most,
                least=least,
                ratio=f"{ratio:.1f}",
            ),
        )


def _held_out(listing: Listing, counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    for split in ("val", "test"):
        lacking = [
            name for name in listing.classes if name not in listing.empty and not counts[name].get(split)
        ]
        if lacking:
            yield Finding(
                "missing-in-split",
                "warning",
                tr(
                    "{split} has no pictures of {names}: how well these classes are recognised stays "
                    "unknown; move some pictures there",
                    split=split,
                    names=", ".join(lacking),
                ),
            )
    n = sum(row.get("test", 0) for row in counts.values())
    if 0 < n < 400:
        yield Finding(
            "small-test",
            "info",
            tr(
                "the test split has {n} pictures: an accuracy near 90 % is then known to about ±{points} "
                "points; do not read more into a difference",
                n=n,
                points=f"{196 * math.sqrt(0.09 / n):.0f}",
            ),
        )


def other_findings(listing: Listing) -> Iterator[Finding]:
    """Files that training will not see."""
    unread = [name for name in listing.others if PurePosixPath(name).suffix.lower() in UNSUPPORTED_SUFFIXES]
    if unread:
        kinds = ", ".join(sorted({PurePosixPath(name).suffix.lower() for name in unread}))
        yield Finding(
            "unsupported",
            "warning",
            tr(
                "{n} pictures are in a format that imago does not read ({kinds}) and are left out; "
                "convert them to JPEG",
                n=len(unread),
                kinds=kinds,
            ),
            tuple(unread),
        )
    if listing.loose:
        yield Finding(
            "loose",
            "warning",
            tr(
                "{n} pictures lie outside the class folders and are left out, since nothing says what they "
                "show; move each into its class's folder",
                n=len(listing.loose),
            ),
            listing.loose,
        )


def duplicate_findings(pictures: Sequence[Picture]) -> Iterator[Finding]:
    """The same pixels more than once: under two classes is worst, then across splits, then within one."""
    same: dict[bytes, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if picture.pixels:
            same[picture.pixels].append(picture)
    groups = [group for group in same.values() if len(group) > 1]
    classes = [g for g in groups if len({p.label for p in g}) > 1]
    splits = [g for g in groups if g not in classes and len({p.split for p in g}) > 1]
    within = [g for g in groups if g not in classes and g not in splits]
    if classes:
        text = tr(
            "{n} pictures stand under two classes at once: whichever the network answers is counted wrong; "
            "decide for one class and delete the other copy",
            n=len(classes),
        )
        yield _duplicates("duplicate-classes", "warning", text, classes)
    if splits:
        text = tr(
            "{n} pictures are in more than one split: the network is examined on what it has learnt by "
            "heart, so the accuracy flatters; delete the copies in the training split",
            n=len(splits),
        )
        yield _duplicates("duplicate-splits", "warning", text, splits)
    if within:
        text = tr(
            "{n} pictures are there more than once within a split: they count double; delete the copies",
            n=len(within),
        )
        yield _duplicates("duplicates", "info", text, within)


def _duplicates(kind: str, severity: Severity, text: str, groups: list[list[Picture]]) -> Finding:
    named = tuple(tuple(picture.path for picture in group) for group in groups)
    return Finding(kind, severity, text, tuple(path for group in named for path in group), named)


def _paths(probes: Sequence[Probe]) -> tuple[str, ...]:
    return tuple(p.path for p in probes)

"""Stratified held-out splits that are the same on every machine.

Which pictures are held out depends on a keyed hash of their *content*: not on file names, folder order
or a random generator's version. Identical pictures have one hash, so they stay on one side, and a data
set that grows keeps most of its split.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def hold_out(
    labels: Sequence[int], digests: Sequence[bytes], fraction: float, *, seed: int, role: str, keep: int = 1
) -> npt.NDArray[np.bool_]:
    """Mask ``(n,)`` of the pictures to hold out: about ``fraction`` of every class.

    labels, digests: class index and content hash of each picture. role: two roles with one seed hold out
    unrelated pictures. keep: so many pictures of a class always stay behind. A class gives at least one
    picture where it can: a class with fewer than ``keep + 1`` pictures, or only one picture many times
    over, gives none.
    """
    groups: dict[bytes, list[int]] = {}
    for index, digest in enumerate(digests):
        groups.setdefault(digest, []).append(index)
    by_class: dict[int, list[bytes]] = {}
    for digest in _shuffled(groups, f"{seed}:{role}"):
        for label in {labels[index] for index in groups[digest]}:
            by_class.setdefault(label, []).append(digest)
    left = Counter(labels)
    quota = {label: max(1, int(fraction * n + 0.5)) for label, n in left.items()}
    held: Counter[int] = Counter()
    mask = np.zeros(len(labels), bool)
    for label in sorted(by_class):
        for exact in (True, False):  # a second look for a class that could only overshoot
            for digest in by_class[label]:
                if held[label] >= (quota[label] if exact else 1):
                    break
                members = Counter(labels[index] for index in groups[digest])
                if mask[groups[digest][0]] or any(left[c] - k < keep for c, k in members.items()):
                    continue
                if exact and any(held[c] + k > quota[c] for c, k in members.items()):
                    continue
                mask[groups[digest]] = True
                held.update(members)
                left.subtract(members)
    return mask


def _shuffled(digests: dict[bytes, list[int]], key: str) -> list[bytes]:
    secret = hashlib.sha256(key.encode()).digest()
    return sorted(digests, key=lambda digest: hashlib.blake2b(digest, key=secret, digest_size=16).digest())

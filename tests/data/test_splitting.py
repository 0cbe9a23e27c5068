"""What a held-out split promises, for any classes, sizes and duplicates."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.train.data.splitting import hold_out

# (class, which picture of that class): a repeated pair is a duplicate
PICTURES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=120)
FRACTIONS = st.floats(0.01, 0.9)


def digests(pictures: list[tuple[int, int]]) -> list[bytes]:
    return [f"{label}/{which}".encode() for label, which in pictures]


@given(PICTURES, FRACTIONS, st.integers(0, 5), st.integers(1, 2))
@settings(max_examples=150, deadline=None)
def test_promises(pictures: list[tuple[int, int]], fraction: float, seed: int, keep: int) -> None:
    labels = [label for label, _ in pictures]
    mask = hold_out(labels, digests(pictures), fraction, seed=seed, role="val", keep=keep)
    sides = defaultdict(set)
    for picture, held in zip(pictures, mask.tolist(), strict=True):
        sides[picture].add(held)
    assert all(len(side) == 1 for side in sides.values()), "identical pictures on both sides"
    for label in set(labels):
        ours = [held for other, held in zip(labels, mask.tolist(), strict=True) if other == label]
        repeats = Counter(which for other, which in pictures if other == label)
        assert len(ours) - sum(ours) >= min(keep, len(ours)), "a class was taken away"
        if len(ours) - min(repeats.values()) >= keep:
            assert sum(ours) >= 1, "a class gives nothing"
        if set(repeats.values()) == {1}:
            want = max(1, int(fraction * len(ours) + 0.5))
            assert sum(ours) == max(0, min(want, len(ours) - keep))


@given(PICTURES, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_order_of_the_files_does_not_matter(pictures: list[tuple[int, int]], random: object) -> None:
    pictures = sorted(set(pictures))
    shuffled = sorted(pictures, key=lambda p: hash((p, str(random))))

    def held(order: list[tuple[int, int]]) -> set[tuple[int, int]]:
        mask = hold_out([label for label, _ in order], digests(order), 0.3, seed=0, role="val")
        return {picture for picture, out in zip(order, mask.tolist(), strict=True) if out}

    assert held(pictures) == held(shuffled)


def test_the_same_on_every_machine() -> None:
    """Frozen: a change here would silently move everybody's pictures between splits."""
    mask = hold_out([0] * 12, [bytes([i]) * 16 for i in range(12)], 0.25, seed=0, role="val")
    assert np.flatnonzero(mask).tolist() == [1, 4, 9]


def test_seed_and_role_choose_other_pictures() -> None:
    labels, content = [0] * 200, [i.to_bytes(16, "big") for i in range(200)]
    masks = [
        hold_out(labels, content, 0.5, seed=seed, role=role)
        for seed, role in ((0, "val"), (1, "val"), (0, "test"))
    ]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert 60 < int((masks[a] != masks[b]).sum()) < 140


def test_a_picture_under_two_classes_stays_on_one_side() -> None:
    content = [b"shared" if i % 10 == 0 else str(i).encode() for i in range(40)]
    labels = [i % 2 if i % 10 else i // 20 for i in range(40)]
    mask = hold_out(labels, content, 0.4, seed=3, role="val")
    assert len({bool(mask[i]) for i in range(0, 40, 10)}) == 1

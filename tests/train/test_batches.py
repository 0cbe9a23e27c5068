"""Batches: the right pixels, reproducible from any step, and the same map on CPU and accelerator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imago.train.augment import POLICIES, Policy, draw, pixel_matrices, warp
from imago.train.batches import Batches, Normalise, seed_of
from imago.train.on_device import change

CPU = torch.device("cpu")


def pictures(n: int = 50, side: int = 24, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, side, side, channels), dtype=np.uint8), rng.integers(0, 5, n)


def batches(policy: str = "none", **changes: object) -> Batches:
    images, labels = pictures()
    settings = {"batch_size": 16, "device": CPU, "policy": POLICIES[policy], "seed": 3, **changes}
    return Batches(images, labels, Normalise((0.5,), (0.25,)), **settings)  # type: ignore[arg-type]


def test_without_augmentation_it_is_the_normalised_picture() -> None:
    images, labels = pictures()
    inputs, targets = zip(*batches().ordered(), strict=True)
    wanted = (images.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(torch.cat(inputs).numpy(), wanted, atol=1e-5)
    assert torch.cat(targets).tolist() == labels.tolist()


def test_every_picture_once_per_epoch_in_even_batches() -> None:
    b = batches()
    sizes = [len(t) for _, t in b.epoch(0)]
    assert len(sizes) == len(b) == 4
    assert max(sizes) - min(sizes) <= 1
    first = sorted(torch.cat([x.flatten(1).sum(1) for x, _ in b.epoch(0)]).tolist())
    plain = sorted(torch.cat([x.flatten(1).sum(1) for x, _ in b.ordered()]).tolist())
    assert first == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("policy", ["none", "light", "standard", "strong"])
def test_an_epoch_can_start_anywhere(policy: str) -> None:
    whole = [x.clone() for x, _ in batches(policy).epoch(2)]
    rest = [x.clone() for x, _ in batches(policy).epoch(2, start=2)]
    assert len(rest) == 2
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], rest, strict=True))


def test_epochs_and_seeds_differ() -> None:
    one, two = (next(iter(batches("light").epoch(e)))[0].clone() for e in (0, 1))
    other = next(iter(batches("light", seed=4).epoch(0)))[0]
    assert not torch.equal(one, two)
    assert not torch.equal(one, other)


def test_threads_do_not_change_the_pictures() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 80, 80, 3), dtype=np.uint8)
    got = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        b = Batches(
            images,
            np.zeros(12, np.int64),
            Normalise((0.5,), (0.5,)),
            batch_size=12,
            device=CPU,
            policy=POLICIES["standard"],
        )
        got.append(next(iter(b.epoch(0)))[0].clone())
    torch.set_num_threads(before)
    assert torch.equal(*got)


def test_cpu_and_accelerator_apply_the_same_map() -> None:
    """OpenCV on uint8 and grid_sample on floats: equal up to OpenCV's fixed-point interpolation."""
    import cv2

    side = 64
    y, x = np.mgrid[0:side, 0:side]
    image = (127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7)).astype(np.uint8)
    changes = draw(POLICIES["standard"], 8, 3, torch.Generator().manual_seed(0))
    assert changes.matrices is not None
    maps = pixel_matrices(changes.matrices, side, side)
    wanted = warp(
        torch.from_numpy(image)[None, None].float().expand(8, 1, -1, -1), changes.matrices, mirror_edges=True
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for k in range(8):
        got = cv2.warpAffine(image, maps[k], (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
        assert np.abs(got.astype(float) - wanted[k, 0].numpy()).mean() < 1.5


@pytest.mark.parametrize("policy", ["none", "light", "strong"])
def test_an_accelerators_pictures_are_the_cpus(policy: str) -> None:
    """Warped, erased and normalised as floats, here on a CPU; OpenCV works on whole grey levels."""
    side, normal = 96, torch.tensor([[1 / 64] * 3, [-2.0] * 3])
    y, x = np.mgrid[0:side, 0:side]
    smooth = (127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7)).astype(np.uint8)
    images = smooth[None, :, :, None].repeat(8, 0).repeat(3, 3)
    b = Batches(
        images,
        np.zeros(8, np.int64),
        Normalise((128 / 255,), (64 / 255,)),
        batch_size=8,
        device=CPU,
        policy=POLICIES[policy],
        seed=3,
    )
    wanted = next(iter(b.epoch(2)))[0]
    changes = draw(POLICIES[policy], 8, 3, torch.Generator().manual_seed(seed_of(3, 2, 1)))
    got = change(torch.from_numpy(images), changes, normal, mirror_edges=POLICIES[policy].flip)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert (got - wanted).abs().mean() < 1.5 / 64  # grey levels, as the network sees them


def test_bends_are_the_same_on_both() -> None:
    """Elastic deformation: OpenCV's remap against grid_sample, on a smooth picture."""
    side = 48
    y, x = np.mgrid[0:side, 0:side]
    image = (127 + 60 * np.sin(x / 6) + 60 * np.cos(y / 5)).astype(np.uint8)[None, :, :, None].repeat(6, 0)
    policy = Policy(rotate=10, bend=0.05)
    b = Batches(
        image, np.zeros(6, np.int64), Normalise((0.0,), (1 / 255,)), batch_size=6, device=CPU, policy=policy
    )
    got = next(iter(b.epoch(0)))[0]
    generator = torch.Generator().manual_seed(seed_of(0, 0, 1))
    changes = draw(policy, 6, 1, generator)
    assert changes.matrices is not None
    assert changes.bends is not None
    source = torch.from_numpy(image).permute(0, 3, 1, 2).float()
    wanted = warp(source, changes.matrices, changes.bends, mirror_edges=False)
    assert (got - wanted).abs().mean() < 1.5
    assert (got - source).abs().mean() > 5


def test_large_pictures_are_converted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Picture by picture in threads, or as one tall picture: the same but for a rounded grey level or two."""
    from imago.train import batches as module

    images = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
    got = []
    for large in (10**9, 1):
        monkeypatch.setattr(module, "LARGE", large)
        b = Batches(
            images,
            np.zeros(6, np.int64),
            Normalise((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
            batch_size=6,
            device=CPU,
            policy=POLICIES["standard"],
        )
        got.append(next(iter(b.epoch(0)))[0])
    assert got[1].is_contiguous(memory_format=torch.channels_last)
    level = 1 / 255 / 0.2  # of the channel with the smallest deviation, contrast and all
    assert (got[0] - got[1]).abs().max() < 1.6 * level
    assert ((got[0] - got[1]).abs() > 1e-5).float().mean() < 0.002


def test_identity_map_is_the_identity() -> None:
    eye = torch.eye(2, 3)[None]
    np.testing.assert_allclose(pixel_matrices(eye, 31, 17)[0], np.eye(2, 3), atol=1e-6)


def test_erasing_leaves_the_source_alone() -> None:
    images, labels = pictures()
    before = images.copy()
    b = Batches(
        images, labels, Normalise((0.0,), (1.0,)), batch_size=50, device=CPU, policy=Policy(erase=1.0)
    )
    inputs, _ = next(iter(b.epoch(0)))
    assert ((inputs * 255 - 128).abs() < 0.01).float().mean() > 0.02
    assert np.array_equal(images, before)


def test_seeds_of_neighbours_are_unrelated() -> None:
    seeds = {seed_of(a, b) for a in range(50) for b in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= s < 2**63 for s in seeds)

"""Mixup, CutMix and growing pictures: shares are right, the seed decides, what cannot grow is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from imago.train.config import TrainConfig
from imago.train.mixing import grown, mix

from picture_support import striped_folders
from support import imago


def one_colour(count: int = 16) -> torch.Tensor:
    """Pictures that are one number each."""
    return torch.arange(count).float()[:, None, None, None].expand(count, 3, 32, 24).contiguous()


def test_mixup_blends_pictures_and_labels_alike() -> None:
    inputs = one_colour()
    mixed = mix(TrainConfig(mixup=0.4), inputs, 5)
    assert mixed.order is not None
    assert 0 < mixed.share < 1
    wanted = mixed.share * inputs + (1 - mixed.share) * inputs[mixed.order]
    torch.testing.assert_close(mixed.inputs, wanted)
    targets = torch.arange(16)
    logits = torch.randn(16, 16)
    got = mixed.loss(lambda labels: F.cross_entropy(logits, labels), targets)
    soft = mixed.share * F.one_hot(targets, 16) + (1 - mixed.share) * F.one_hot(targets[mixed.order], 16)
    torch.testing.assert_close(got, F.cross_entropy(logits, soft))


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_shares_are_those_of_the_pixels(seed: int) -> None:
    inputs = one_colour()
    mixed = mix(TrainConfig(cutmix=1.0), inputs, seed)
    assert mixed.order is not None
    own = (mixed.inputs == inputs).float().mean(dim=(1, 2, 3))
    foreign = mixed.order != torch.arange(16)
    np.testing.assert_allclose(own[foreign].numpy(), mixed.share, atol=1e-6)
    assert torch.equal(inputs, one_colour())  # the batch itself is left alone


def test_the_seed_decides_and_off_is_off() -> None:
    config = TrainConfig(mixup=0.2, cutmix=1.0)
    a, b, c = (mix(config, one_colour(), seed).inputs for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    inputs = one_colour()
    assert mix(TrainConfig(), inputs, 1).inputs is inputs
    assert grown(TrainConfig(), inputs, 0.0) is inputs


def test_pictures_grow_to_their_size() -> None:
    config = TrainConfig(grow=0.5)
    sides = [tuple(grown(config, one_colour(2), p).shape[2:]) for p in (0.0, 0.2, 0.45, 0.5, 1.0)]
    assert sides[0] == (16, 8)
    assert sides[-2:] == [(32, 24), (32, 24)]
    assert sides == sorted(sides)
    means = grown(config, one_colour(4), 0.0).mean(dim=(1, 2, 3))
    torch.testing.assert_close(means, torch.arange(4).float())


def test_a_network_of_one_size_cannot_grow(tmp_path: Path) -> None:
    photos = striped_folders(tmp_path / "photos", 12)
    done = imago("train", str(photos), "--out", str(tmp_path / "run"), "--epochs", "1", "--grow", "0.5")
    assert done.returncode == 2
    assert "--grow 0.5: lenet5 takes pictures of one size only" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()

"""A student and its teacher: the loss by hand, what the teacher sees, and whole runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from imago.cli.main import main
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.resample import to_gray
from imago.edge_runtime.spec import InputSpec
from imago.train.batches import Normalise
from imago.train.checkpoint import load_tensors
from imago.train.config import TrainConfig
from imago.train.device import choose_place
from imago.train.distill import Teacher, conversion, distillation_loss
from imago.train.interrupt import Interrupted
from imago.train.lineage import open_ancestor
from imago.train.run import Run
from imago.train.session import resume, train
from imago.workflow.steps import export_run

from picture_support import class_folders, pixels, striped_folders
from support import stop_after_each_step

QUICK = TrainConfig(epochs=2, batch_size=16, threads=1, seed=3)
COLOUR = TrainConfig(model="mobilenet_v3_small", size=40, epochs=1, batch_size=16, threads=1, width_mult=0.5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return striped_folders(tmp_path_factory.mktemp("distill") / "photos")


@pytest.fixture(scope="module")
def teacher(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colour network for 40 px; the student is LeNet-5, grey, 32 px."""
    out = tmp_path_factory.mktemp("teacher") / "big"
    train(photos, COLOUR, out)
    return out


@pytest.fixture(scope="module")
def taught(photos: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taught") / "small"
    train(photos, replace(QUICK, teacher=teacher), out)
    return out


def weights(run: Path) -> dict[str, Tensor]:
    return load_tensors(run / "weights.safetensors")[0]


def same(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_the_loss_is_hintons_by_hand() -> None:
    rng = np.random.default_rng(0)
    student, answers = rng.normal(0, 3, (2, 7, 5))
    heat = 2.5
    p, q = (np.exp(v / heat) / np.exp(v / heat).sum(1, keepdims=True) for v in (answers, student))
    wanted = heat**2 * np.mean((p * (np.log(p) - np.log(q))).sum(1))
    got = distillation_loss(torch.tensor(student), torch.tensor(answers), heat)
    assert float(got) == pytest.approx(wanted, rel=1e-12)
    assert float(distillation_loss(torch.tensor(answers), torch.tensor(answers), heat)) == 0


def test_its_gradient_keeps_its_size_at_any_temperature() -> None:
    """For large T the gradient tends to (student − teacher) / classes, both centred (Hinton, eq. 4)."""
    torch.manual_seed(0)
    student, answers = torch.randn(2, 6, 4, dtype=torch.float64)
    student.requires_grad_()
    distillation_loss(student, answers, 1e4).backward()
    centred = [v - v.mean(1, keepdim=True) for v in (student.detach(), answers)]
    torch.testing.assert_close(student.grad, (centred[0] - centred[1]) / 4 / 6, rtol=1e-3, atol=1e-5)


def described(channels: int, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Run:
    spec = InputSpec(side, side, channels, "gray" if channels == 1 else "rgb")
    return Run(QUICK, {}, spec, ("a", "b"), mean, std, {})


GREY = described(1, 32, (0.4,), (0.2,))
RGB = described(3, 32, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def normalised(picture: np.ndarray, run: Run) -> Tensor:
    gain, offset = Normalise(run.mean, run.std).gain_offset(run.input.channels)
    channels = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
    return torch.from_numpy(channels[None].astype(np.float32)) * gain + offset


@pytest.mark.parametrize(
    ("student", "its_teacher"),
    [
        (RGB, GREY),
        (GREY, RGB),
        (RGB, described(3, 32, (0.5,), (0.5,))),
        (GREY, described(1, 9, (0.1,), (1.0,))),
    ],
)
def test_the_teacher_gets_the_same_picture_in_its_own_normalisation(student: Run, its_teacher: Run) -> None:
    """Against the board's grey conversion, which rounds to whole grey values, and plain repetition."""
    colour = pixels(5)
    grey = to_gray(colour, "rgb")
    have = colour if student.input.channels == 3 else grey
    want = grey if its_teacher.input.channels == 1 else have
    if want.ndim == 2 and its_teacher.input.channels == 3:
        want = np.stack([want] * 3, -1)
    matrix, offset = conversion(student, its_teacher)
    got = torch.einsum("tc,nchw->nthw", matrix, normalised(have, student)) + offset[:, None, None]
    rounding = 1.01 / 255 / min(its_teacher.std) if (have.ndim, want.ndim) == (3, 2) else 1e-5
    torch.testing.assert_close(got, normalised(want, its_teacher), rtol=0, atol=rounding)


def test_the_teacher_gets_its_own_size(teacher: Path) -> None:
    """A grey 32 px batch of one tone arrives as that tone in colour at 40 px, whatever the interpolation."""
    run = open_ancestor(teacher)
    guide = Teacher(run, GREY, choose_place(QUICK))
    tone = torch.full((2, 1, 32, 32), (0.6 - 0.4) / 0.2)
    seen = guide.view(tone)
    assert seen.shape == (2, 3, 40, 40)
    mean, std = (torch.tensor(v)[:, None, None].expand(3, 40, 40) for v in (run.run.mean, run.run.std))
    torch.testing.assert_close(seen, ((0.6 - mean) / std).expand(2, -1, -1, -1), rtol=0, atol=1e-5)
    assert not guide.logits(tone).requires_grad
    assert not guide.module.training


def test_a_larger_picture_is_shrunk_without_aliasing(taught: Path) -> None:
    """Against Pillow's antialiased bilinear filter, on float pixels."""
    run = open_ancestor(taught)
    guide = Teacher(run, described(1, 80, (0.0,), (1.0,)), choose_place(QUICK))
    picture = pixels(3, 80, 80)[:, :, 0].astype(np.float32) / 255
    small = np.asarray(Image.fromarray(picture, "F").resize((32, 32), Image.Resampling.BILINEAR))
    wanted = (torch.from_numpy(small.copy()) - run.run.mean[0]) / run.run.std[0]
    torch.testing.assert_close(
        guide.view(torch.from_numpy(picture)[None, None])[0, 0], wanted, rtol=0, atol=1e-4
    )


def test_a_teacher_like_its_student_sees_the_batch_itself(taught: Path) -> None:
    guide = Teacher(open_ancestor(taught), Run.load(taught), choose_place(QUICK))
    batch = torch.randn(2, 1, 32, 32)
    assert guide.view(batch) is batch


def test_the_blend_is_what_the_documentation_says(taught: Path) -> None:
    student = replace(Run.load(taught), config=replace(QUICK, distill_weight=0.25, distill_temperature=3.0))
    guide = Teacher(open_ancestor(taught), student, choose_place(QUICK))
    inputs, logits, hard = torch.randn(4, 1, 32, 32), torch.randn(4, 2), torch.tensor(0.7)
    soft = 9 * nn.functional.kl_div(
        (logits / 3).log_softmax(1), (guide.logits(inputs) / 3).softmax(1), reduction="batchmean"
    )
    torch.testing.assert_close(guide.blend(hard, inputs, logits), 0.75 * hard + 0.25 * soft)


def test_a_taught_run_differs_and_says_who_taught_it(photos: Path, teacher: Path, taught: Path) -> None:
    alone, unheard = taught.parent / "alone", taught.parent / "unheard"
    train(photos, QUICK, alone)
    assert not same(alone, taught)
    train(photos, replace(QUICK, teacher=teacher, distill_weight=0.0), unheard)
    assert same(alone, unheard)  # the teacher draws no random numbers and leaves no trace
    facts = Run.load(taught).lineage["teacher"]
    assert (facts["name"], facts["model"]) == ("big", "mobilenet_v3_small")
    assert {f["split"] for f in facts["accuracy"]} == {"val", "test"}


def test_the_model_file_names_the_teacher_but_no_folder(taught: Path, teacher: Path) -> None:
    model = export_run(taught, overwrite=True).model
    with Classifier(model) as classifier:
        facts = classifier.spec.provenance["teacher"]
    assert facts == Run.load(taught).lineage["teacher"]
    assert str(teacher.parent).encode() not in model.read_bytes()
    report = (taught / "report.html").read_text(encoding="utf-8")
    assert str(teacher.parent) not in report
    assert "<dt>teacher</dt><dd>big</dd>" in report


def test_stopped_and_resumed_with_a_teacher_is_the_same_run(
    photos: Path, teacher: Path, taught: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with stop_after_each_step():
        with pytest.raises(Interrupted):
            train(photos, replace(QUICK, teacher=teacher), out)
        for _ in range(6):
            with pytest.raises(Interrupted):
                resume(out)
    resume(out)
    assert same(out, taught)


def test_a_changed_teacher_is_noticed_on_resume(
    photos: Path, teacher: Path, taught: Path, tmp_path: Path
) -> None:
    out, copy = tmp_path / "run", tmp_path / "big"
    shutil.copytree(teacher, copy)
    with stop_after_each_step(), pytest.raises(Interrupted):
        train(photos, replace(QUICK, teacher=copy), out)
    shutil.copyfile(taught / "weights.safetensors", copy / "weights.safetensors")
    with pytest.raises(InputError, match="has changed"):
        resume(out)


def test_a_teacher_of_other_pictures_comes_with_a_warning(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    other = striped_folders(tmp_path / "photos", 20)
    said: list[str] = []
    train(other, replace(QUICK, epochs=1, teacher=teacher), tmp_path / "run", say=said.append)
    assert any("big was trained on other pictures" in line for line in said)


def test_unusable_teachers_are_one_line(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = class_folders(tmp_path / "others", {"ant": 12, "bee": 12})
    unfinished = tmp_path / "unfinished"
    with stop_after_each_step(), pytest.raises(Interrupted):
        train(photos, QUICK, unfinished)
    out = tmp_path / "run"
    for data, flags, words in (
        (photos, ["--teacher", str(tmp_path / "nowhere")], "not a training run"),
        (photos, ["--teacher", str(unfinished)], "not finished"),
        (others, ["--teacher", str(teacher)], "knows other classes (across, 竖直) than"),
        (photos, ["--teacher", str(teacher), "--distill-weight", "2"], "--distill-weight is 2.0"),
        (photos, ["--teacher", str(teacher), "--distill-temperature", "0"], "--distill-temperature is 0.0"),
    ):
        assert main(["train", str(data), "--out", str(out), *flags]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert len(error.strip().splitlines()) == 1
        assert not out.exists()

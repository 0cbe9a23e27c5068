"""The camera stand-in: frames as claimed, insects in the middle when the truth says so."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from imago.edge_runtime.errors import InputError
from imago.train.generate.insects import CLASSES, make_video

FPS, SECONDS, SIZE = 10, 12.0, (192, 144)


def frames(path: Path) -> npt.NDArray[np.uint8]:
    capture = cv2.VideoCapture(str(path))
    try:
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(FPS)
        read = iter(capture.read, (False, None))
        return np.stack([np.asarray(image, np.uint8) for _, image in read])
    finally:
        capture.release()


@pytest.fixture(scope="module", params=[".avi", ".mp4"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("video") / f"昆虫 camera{request.param}"
    make_video(path, seconds=SECONDS, seed=2, fps=FPS, size=SIZE)
    return path


def test_the_file_has_the_frames_it_claims(video: Path) -> None:
    assert frames(video).shape == (round(SECONDS * FPS), SIZE[1], SIZE[0], 3)


def test_the_truth_lists_every_class_once_in_order_inside_the_video(video: Path) -> None:
    truth = json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))
    assert sorted(entry["label"] for entry in truth) == list(CLASSES)
    times = [t for entry in truth for t in (entry["start_s"], entry["end_s"])]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= SECONDS
    assert all(entry["end_s"] - entry["start_s"] >= 0.5 for entry in truth)


def test_the_middle_is_empty_between_the_insects_and_not_while_one_is_there(video: Path) -> None:
    truth = json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))
    pictures = frames(video).astype(np.float64)
    empty = pictures[0]
    change = np.abs(pictures - empty)[:, 24:-24, 48:-48].mean((1, 2, 3))
    times = np.arange(len(pictures)) / FPS
    quiet = change[(times % 2) < 0.3]
    for entry in truth:
        shown = change[(times >= entry["start_s"]) & (times < entry["end_s"] - 1e-6)]
        assert shown.min() > 1.25 * quiet.max(), entry


def test_the_same_seed_gives_the_same_video_and_another_another(tmp_path: Path) -> None:
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        make_video(tmp_path / f"{name}.avi", seconds=1, seed=seed, fps=FPS, size=(96, 64))
    a, b, c = (frames(tmp_path / f"{name}.avi") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("a.gif", {}),
        ("a.avi", {"seconds": 0}),
        ("a.avi", {"fps": 0}),
        ("a.avi", {"size": (63, 48)}),
        ("a.avi", {"size": (65, 65)}),
    ],
)
def test_what_cannot_be_made_is_refused(name: str, wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"choose|give"):
        make_video(tmp_path / name, **wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []

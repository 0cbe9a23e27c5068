"""Motion regions: what moves is found and followed, what does not stays quiet."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.edge_runtime.decide.options import DecisionOptions
from imago.edge_runtime.decide.visit import Visit
from imago.edge_runtime.motion import background
from imago.edge_runtime.motion.background import Background, box3, shrink
from imago.edge_runtime.motion.options import MotionOptions
from imago.edge_runtime.motion.pursuit import Pursuit
from imago.edge_runtime.motion.regions import Region, components, square
from imago.edge_runtime.motion.tracks import Tracker
from imago.edge_runtime.types import Frame, Prediction

FPS, SIZE = 10, (320, 240)
Picture = npt.NDArray[np.uint8]
RNG = np.random.default_rng(3)
GROUND = cv2.GaussianBlur(RNG.integers(30, 200, (260, 340), np.uint8), (0, 0), 4)
GROUND = cv2.normalize(GROUND, None, 60, 180, cv2.NORM_MINMAX)  # type: ignore[call-overload]


def scene(index: int, *, noise: float = 3, light: float = 1.0, shift: tuple[int, int] = (0, 0)) -> Picture:
    """A textured ground with sensor noise; the camera may be off by a few pixels."""
    rng = np.random.default_rng([5, index])
    part = GROUND[10 + shift[1] : 250 + shift[1], 10 + shift[0] : 330 + shift[0]].astype(np.float32)
    return np.clip(part * light + rng.normal(0, noise, part.shape), 0, 255).astype(np.uint8)


def dot(picture: Picture, x: float, y: float, side: int = 16, level: int = 5) -> Picture:
    x0, y0 = max(0, round(x)), max(0, round(y))
    picture[y0 : max(0, round(y) + side), x0 : max(0, round(x) + side)] = level
    return picture


class Asked:
    """A predictor that counts, and sees an ant wherever it is dark."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, frame: Frame) -> Prediction:
        self.shapes.append(frame.image.shape)
        dark = float((frame.image < 20).mean())
        return Prediction(np.array([0.95, 0.05] if dark > 0.1 else [0.05, 0.95], np.float32), ("ant", "none"))


def pursue(pictures: Iterable[Picture], options: MotionOptions | None = None) -> tuple[list[Visit], Asked]:
    asked = Asked()
    pursuit = Pursuit(asked, options or MotionOptions(), DecisionOptions())
    found: list[Visit] = []
    for index, picture in enumerate(pictures):
        shown = Frame(picture, "gray", 1, index, media_s=index / FPS)
        found += pursuit.pursue(shown, pursuit.observe(shown), (0, 0))
    found += pursuit.finish()
    return [visit for visit in found if visit.long_enough()], asked


def ants(found: list[Visit]) -> list[Visit]:
    return [visit for visit in found if visit.top()[0].label == "ant"]


# --- arithmetic against references -------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.02, 0.7), st.integers(1, 40), st.integers(1, 40))
def test_components_are_opencvs(seed: int, density: float, rows: int, columns: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < density
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    wanted = sorted(((x, y, w, h), a) for x, y, w, h, a in stats[1:count].tolist())
    assert sorted(components(mask, mask)) == wanted


def test_box3_is_opencvs_blur() -> None:
    values = RNG.random((17, 23)).astype(np.float32)
    np.testing.assert_allclose(box3(values), cv2.blur(values, (3, 3), borderType=cv2.BORDER_REPLICATE), 1e-5)


def test_shrinking_keeps_place_and_takes_the_cameras_own() -> None:
    picture = dot(np.full((720, 1280, 3), 200, np.uint8), 640, 320, 80)
    small, factor = shrink(Frame(picture, "bgr"), 160)
    assert (small.shape, factor) == ((90, 160), 8)
    assert small[42:48, 82:88].max() < 10
    assert small[:38].min() > 190
    own = np.full((90, 160), 7, np.uint8)
    small, factor = shrink(Frame(picture, "bgr", small=own), 160)
    assert (float(small.max()), factor) == (7, 8)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 150),
    st.integers(0, 80),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([1, 4, 8]),
)
def test_crops_lie_in_the_frame_and_hold_their_region(x: int, y: int, w: int, h: int, factor: int) -> None:
    shape = (90 * factor, 160 * factor)
    w, h = min(w, 160 - x), min(h, 90 - y)
    left, top, side, other = square((x, y, max(1, w), max(1, h)), factor, shape, MotionOptions())
    assert side == other
    assert 0 <= left <= shape[1] - side
    assert 0 <= top <= shape[0] - side
    if side < min(shape):
        assert left <= x * factor
        assert left + side >= (x + w) * factor
        assert top <= y * factor
        assert top + side >= (y + h) * factor


def test_crops_have_few_sizes() -> None:
    shape = (720, 1280)
    sides = {square((10, 10, w, 3), 8, shape, MotionOptions())[2] for w in range(1, 80)}
    assert len(sides) <= 25  # each is a resize that is prepared and cached


# --- what moves --------------------------------------------------------------------------------------


def test_nothing_runs_while_nothing_moves() -> None:
    found, asked = pursue(scene(i) for i in range(300))
    assert found == []
    assert asked.shapes == []


def test_a_small_thing_that_crosses_is_one_visit_in_full_resolution() -> None:
    pictures = [scene(i) if not 20 <= i < 60 else dot(scene(i), 8 * (i - 20), 100) for i in range(90)]
    found, asked = pursue(pictures)
    assert len(found) == 1
    visit = found[0]
    assert visit.top()[0].label == "ant"
    assert (visit.start, visit.last) == (pytest.approx(2.0, abs=0.3), pytest.approx(5.9, abs=0.3))
    assert visit.box is not None
    assert visit.crop is not None
    assert float((visit.crop.image < 20).mean()) > 0.1
    assert max(side for shape in asked.shapes for side in shape) < 64
    assert len(asked.shapes) <= 60


def test_two_at_once_are_two_visits() -> None:
    pictures = [dot(dot(scene(i), 6 * (i - 10), 40), 300 - 6 * (i - 10), 180) for i in range(10, 60)]
    found, _ = pursue([scene(i) for i in range(10)] + pictures + [scene(i) for i in range(60, 80)])
    assert len(ants(found)) == 2


def test_one_that_sits_still_is_one_visit_and_is_hardly_asked_about() -> None:
    """Comes, sits for twenty seconds, leaves."""

    def at(i: int) -> Picture:
        if i < 20 or i >= 260:
            return scene(i)
        x = min(8 * (i - 20), 160) if i < 230 else 160 + 8 * (i - 230)
        return dot(scene(i), x, 100)

    found, asked = pursue(at(i) for i in range(290))
    assert len(ants(found)) == 1
    assert ants(found)[0].last - ants(found)[0].start > 20
    assert len(asked.shapes) < 100  # of 240 frames that show it


def test_what_lies_still_for_long_becomes_scenery() -> None:
    options = MotionOptions(still_s=5)
    pictures = [scene(i) if i < 20 else dot(scene(i), min(8 * (i - 20), 160), 100) for i in range(160)]
    found, _ = pursue(pictures, options)
    assert len(ants(found)) == 1
    assert found[0].last < 12


def test_the_hole_that_something_leaves_is_no_visit() -> None:
    """It was there when the camera started, and walks off: it is seen, the place where it sat is not."""
    pictures = [dot(scene(i), 160 + max(0, 8 * (i - 30)), 100) for i in range(90)]
    found, _ = pursue(pictures)
    assert len(ants(found)) == 1
    assert all(visit.last - visit.start < 4 for visit in found)


# --- what does not move though the picture changes --------------------------------------------------


@pytest.mark.parametrize(
    "light",
    [
        lambda i: 1 - 0.3 * (i / 200),  # dusk
        lambda i: 1.0 if i < 60 else 0.6,  # a cloud, at once
        lambda i: 1 + 0.2 * np.sin(i / 15),
    ],
    ids=["dusk", "cloud", "waves"],
)
def test_light_is_not_motion(light: Callable[[int], float]) -> None:
    found, asked = pursue(scene(i, light=light(i)) for i in range(200))
    assert found == []
    assert len(asked.shapes) <= 4


def test_a_lamp_on_one_side_is_learned_and_not_chased() -> None:
    def lit(i: int) -> Picture:
        picture = scene(i).astype(np.float32)
        if i >= 60:
            picture[:, :200] += 60
        return np.clip(picture, 0, 255).astype(np.uint8)

    found, _ = pursue(lit(i) for i in range(200))
    assert found == []


@pytest.mark.parametrize("pixels", [1, 2, 4, 8])
def test_a_knock_is_no_visit(pixels: int) -> None:
    swing = {60: pixels, 61: -pixels, 62: pixels // 2, 63: -(pixels // 2)}
    found, _ = pursue(scene(i, shift=(swing.get(i, 0), swing.get(i, 0) // 2)) for i in range(120))
    assert found == []


def test_a_camera_that_was_turned_is_learned_anew_and_sees_again() -> None:
    pictures = [scene(i) for i in range(50)]
    pictures += [scene(i)[::-1].copy() for i in range(50, 100)]
    pictures += [dot(scene(i)[::-1].copy(), 8 * (i - 100), 100) for i in range(100, 140)]
    found, _ = pursue(pictures)
    assert len(found) == 1
    assert found[0].start > 9.5


def test_a_visit_survives_a_knock() -> None:
    pictures = [dot(scene(i, shift=(6 if i == 45 else 0, 0)), 5 * (i - 20), 100) for i in range(20, 80)]
    found, _ = pursue([scene(i) for i in range(20)] + pictures)
    assert len(ants(found)) == 1


def test_a_leaf_in_the_wind_grows_quiet() -> None:
    def waving(i: int) -> Picture:
        return dot(scene(i), 150 + 10 * np.sin(i * 0.45), 60, 24, 240)

    asked = Asked()
    pursuit = Pursuit(asked, MotionOptions(), DecisionOptions())
    calls = []
    for i in range(600):
        shown = Frame(waving(i), "gray", 1, i, media_s=i / FPS)
        pursuit.pursue(shown, pursuit.observe(shown), (0, 0))
        calls.append(len(asked.shapes))
    first, last = calls[199] - calls[0], calls[599] - calls[399]
    assert first > 0
    assert last < first / 3


def test_an_unsteady_picture_size_starts_anew() -> None:
    background = Background(MotionOptions())
    assert background.look(np.zeros((20, 30), np.float32), 0.0) is None
    assert background.look(np.zeros((24, 30), np.float32), 0.1) is None
    assert background.look(np.zeros((24, 30), np.float32), 0.2) is not None


# --- tracks ------------------------------------------------------------------------------------------


def test_tracks_keep_their_numbers_and_end_after_the_gap() -> None:
    tracker = Tracker(gap_s=0.5)
    for k in range(10):
        tracker.step([Region((k * 5, 10, 4, 4), 16), Region((90 - k * 5, 40, 4, 4), 16)], k / 10)
    assert [track.number for track in tracker.tracks] == [1, 2]
    assert all(track.hits == 10 for track in tracker.tracks)
    assert tracker.step([], 1.3) == []
    assert len(tracker.step([], 1.6)) == 2
    assert tracker.tracks == []


def test_a_fast_one_is_followed_by_its_velocity() -> None:
    """Three times its own length between frames: its boxes never overlap."""
    tracker = Tracker(gap_s=0.5)
    for k in range(8):
        tracker.step([Region((round(4 * k * min(k, 3)), 10, 8, 8), 64)], k / 10)
    assert len(tracker.tracks) == 1


def test_what_could_not_be_seen_is_not_missed() -> None:
    tracker = Tracker(gap_s=0.5)
    tracker.step([Region((10, 10, 4, 4), 16)], 0.0)
    for k in range(1, 20):
        tracker.excuse(k / 10)
    assert tracker.step([Region((10, 10, 4, 4), 16)], 2.0) == []
    assert [track.number for track in tracker.tracks] == [1]


def test_the_number_of_tracks_is_bounded() -> None:
    tracker = Tracker(gap_s=1e9)
    for k in range(20):
        tracker.step([Region((20 * i, 20 * k, 2, 2), 4) for i in range(8)], k / 10)
    assert len(tracker.tracks) <= 32


@pytest.mark.parametrize("count", [16, 17, 400])
def test_the_median_is_numpys(count: int) -> None:
    values = np.random.default_rng(count).random(count, np.float32)
    assert background._median(values) == pytest.approx(float(np.median(values)), rel=1e-6)

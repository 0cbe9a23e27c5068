"""Sources: real video files, folders, the synthetic picture; and clear words for what is not there."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from PIL import Image

from imago.edge_runtime.cameras.base import open_source
from imago.edge_runtime.cameras.pace import Pace
from imago.edge_runtime.cameras.synthetic import SyntheticSource
from imago.edge_runtime.cameras.video import VideoSource
from imago.edge_runtime.errors import CameraError, InputError
from imago.edge_runtime.spec import InputSpec

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames that get brighter, 64×48."""
    path = tmp_path_factory.mktemp("video") / "視頻.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for level in range(10):
        writer.write(np.full((48, 64, 3), (20 * level, 20 * level, 20 * level), np.uint8))
    writer.release()
    return path


def test_video_gives_every_frame_in_order_and_ends(video: Path) -> None:
    source = open_source(str(video))
    frames = list(source)
    source.close()
    source.close()
    assert [frame.index for frame in frames] == list(range(10))
    assert all(frame.color == "bgr" and frame.image.shape == (48, 64, 3) for frame in frames)
    assert all(abs(float(frame.image.mean()) - 20 * i) < 6 for i, frame in enumerate(frames))
    assert not source.live


def test_video_realtime_is_live(video: Path) -> None:
    source = open_source(str(video), realtime=True, fps=500)
    assert source.live
    assert len(list(source)) == 10


def test_closing_ends_an_iteration(video: Path) -> None:
    source = open_source(str(video), fps=1000)
    frames = iter(source)
    next(frames)
    source.close()
    assert list(frames) == []


def test_what_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"nothing" * 100)
    with pytest.raises(CameraError, match="not a video"):
        open_source(str(path))


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("/dev/video97", "no camera at /dev/video97.*plugged in"),
        ("97", "no camera at /dev/video97"),
        ("no/such/thing.mp4", "no such source"),
        ("rtsp://user:secret@127.0.0.1:9/x", r"cannot open rtsp://…@127"),
    ],
)
def test_what_is_not_there(uri: str, words: str) -> None:
    with pytest.raises(CameraError, match=words) as caught:
        open_source(uri)
    assert "secret" not in str(caught.value)


def test_odd_wishes() -> None:
    with pytest.raises(InputError):
        open_source("synthetic", fps=0)
    with pytest.raises(InputError):
        open_source("picamera:x")


def test_folder_is_sorted_and_decoded_for_the_model(tmp_path: Path) -> None:
    for name, level in (("b.png", 2), ("a.JPG", 1), ("ü.bmp", 3), (".hidden.png", 9)):
        image = Image.fromarray(np.full((300, 400, 3), level, np.uint8))
        image.save(tmp_path / name, format={"G": "JPEG", "g": "PNG", "p": "BMP"}[name[-1]])
    (tmp_path / "notes.txt").write_text("no picture")
    target = InputSpec(32, 32)
    frames = list(open_source(str(tmp_path), target=target))
    assert [Path(frame.name).name for frame in frames] == ["a.JPG", "b.png", "ü.bmp"]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].image.shape[1] < 400  # JPEG at reduced scale, as in training
    assert frames[1].image.shape == (300, 400, 3)
    assert len(list(open_source(str(tmp_path / "b.png")))) == 1


def test_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="no picture in"):
        open_source(str(tmp_path))


def test_synthetic_depends_on_the_index_alone() -> None:
    first, second = SyntheticSource((80, 60)), SyntheticSource((80, 60))
    np.testing.assert_array_equal(first.picture(7), second.picture(7))
    assert not np.array_equal(first.picture(7), first.picture(8))
    frames = iter(first)
    frame = next(frames)
    assert (frame.color, frame.image.shape) == ("rgb", (60, 80, 3))
    np.testing.assert_array_equal(frame.image, second.picture(0))
    for size in ((1, 1), (3, 200)):
        assert SyntheticSource(size).picture(30).shape == (size[1], size[0], 3)


def test_pace_ends_at_once_when_closed() -> None:
    pace = Pace(0.001)
    assert pace.wait(0)
    pace.close()
    assert not pace.wait(1)


@pytest.mark.parametrize(
    ("uri", "words"), [("rtsp://127.0.0.1/x", "imago-edge[camera]"), ("picamera", "system-site-packages")]
)
def test_missing_library_names_the_remedy(uri: str, words: str) -> None:
    code = (
        "import sys; sys.modules['cv2'] = None; sys.modules['picamera2'] = None\n"
        "from imago.edge_runtime.cameras.base import open_source\n"
        "from imago.edge_runtime.errors import MissingDependency\n"
        "try: open_source(sys.argv[1])\n"
        "except MissingDependency as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, uri],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"},
    )
    assert words in done.stdout


def test_a_camera_that_is_unplugged_is_an_error(video: Path) -> None:
    """A device that stops in the middle: here a file stands in for what the driver still delivered."""
    source = VideoSource(cv2.VideoCapture(str(video)), "camera 0", live=True, pace=Pace(None), endless=True)
    frames = iter(source)
    for _ in range(10):
        next(frames)
    with pytest.raises(CameraError, match=r"camera 0 stopped delivering.*still connected"):
        next(frames)
    source.close()


def test_http_stream(video: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(video.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = open_source(f"http://name:secret@127.0.0.1:{server.server_port}/{quote(video.name)}")
        assert source.live
        assert "secret" not in source.description
        frames = iter(source)
        levels = [float(next(frames).image.mean()) for _ in range(10)]
        assert levels == sorted(levels)
        with pytest.raises(CameraError, match="stopped delivering"):
            next(frames)
        source.close()
    finally:
        server.shutdown()
        server.server_close()

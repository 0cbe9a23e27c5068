"""The laboratory's arithmetic against numpy, torch and what the lesson says."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.edge_runtime.types import Frame
from imago.export.deployable import Deployable
from imago.export.onnx_export import export_onnx
from imago.studio.lab import kernels
from imago.studio.lab.counting import Comparison, megabytes
from imago.studio.lab.drawing import connections_svg, grid_svg
from imago.studio.lab.features import walk
from imago.studio.lab.pixels import numbers, text_lines
from imago.train.models.plan_text import plan_program
from imago.train.models.registry import build_model

from picture_support import pixels as picture
from support import ROOT, imago


def test_grey_numbers_are_what_the_network_sees(tmp_path: Path) -> None:
    frame = Frame(picture(1, 40, 40), "rgb")
    grey = numbers(frame, 20, "gray")
    halved = frame.image.astype(int) @ np.array([0.299, 0.587, 0.114])
    means = halved.reshape(20, 2, 20, 2).mean((1, 3))
    assert grey.shape == (20, 20)
    assert np.abs(grey - means).max() <= 2  # rounding of grey and of the halving
    bw = numbers(frame, 20, "bw", 128)
    assert np.array_equal(bw, (grey >= 128).astype(np.uint8))
    own = numbers(frame, 20, "bw")
    assert np.array_equal(own, (grey >= grey.mean()).astype(np.uint8))


def test_white_is_255_three_times() -> None:
    white = Frame(np.full((30, 50, 3), 255, np.uint8), "rgb")
    assert list(text_lines(numbers(white, 2, "rgb"))) == ["[255 255 255] [255 255 255]"] * 2
    assert list(text_lines(numbers(white, 2, "gray"))) == ["255 255"] * 2
    assert list(text_lines(numbers(white, 2, "bw", 200))) == ["1 1"] * 2


def test_the_command_prints_25_rows_of_numbers(tmp_path: Path) -> None:
    Image.fromarray(picture(3, 60, 60)).save(tmp_path / "p.png")
    done = imago("data", "pixels", str(tmp_path / "p.png"))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [len(row) for row in rows] == [25] * 25
    assert all(0 <= int(v) <= 255 for row in rows for v in row)
    done = imago("data", "pixels", str(tmp_path / "p.png"), "--size", "4", "--mode", "rgb", "--json", "-")
    assert np.array(json.loads(done.stdout)["pixels"]).shape == (4, 4, 3)
    for wrong in (["--size", "1000"], ["--mode", "bw", "--threshold", "300"]):
        done = imago("data", "pixels", str(tmp_path / "p.png"), *wrong)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1


def test_the_lessons_counts() -> None:
    assert Comparison(100).dense_weights == 100**4
    small, large = Comparison(5), Comparison(10)
    assert (small.inputs, large.inputs) == (25, 100)
    assert large.dense_weights == 16 * small.dense_weights
    assert Comparison(28).conv == Comparison(100).conv == 6 * (25 + 1)  # LeNet's C1
    assert megabytes(Comparison(100).dense_weights) == "400 MB"


@given(st.integers(1, 40), st.sampled_from([1, 3]), st.integers(1, 50), st.integers(1, 9), st.integers(1, 7))
def test_counts_are_those_of_the_layers(
    side: int, channels: int, units: int, kernels_: int, kernel: int
) -> None:
    one = Comparison(side, channels, units, kernels_, kernel)
    dense, conv = one.layers()
    assert dense.cost((channels, side, side))[0] == one.dense
    if one.fits:
        assert conv.cost((channels, side, side))[0] == one.conv
    with torch.device("meta"):
        assert sum(p.numel() for p in torch.nn.Linear(one.inputs, units).parameters()) == one.dense
        assert sum(p.numel() for p in torch.nn.Conv2d(channels, kernels_, kernel).parameters()) == one.conv


MAPS = hnp.arrays(np.uint8, st.tuples(st.integers(5, 12), st.integers(5, 12)))
KERNELS = st.sampled_from([1, 3, 5]).flatmap(
    lambda k: hnp.arrays(np.float32, (k, k), elements=st.floats(-8, 8, width=32))
)


@settings(deadline=None)
@given(MAPS, KERNELS, st.integers(1, 3), st.integers(0, 2))
def test_convolution_is_torchs(image: np.ndarray, kernel: np.ndarray, stride: int, padding: int) -> None:
    wanted = F.conv2d(
        torch.from_numpy(image.astype(np.float32))[None, None],
        torch.from_numpy(kernel)[None, None],
        stride=stride,
        padding=padding,
    )[0, 0].numpy()
    got = kernels.convolve(image, kernels.as_kernel(kernel), stride=stride, padding=padding)
    assert got.shape == wanted.shape
    assert np.allclose(got, wanted, atol=0.05)
    if padding == 0 and stride == 1:
        row, column = got.shape[0] - 1, got.shape[1] // 2
        one = kernels.step(image, kernel, row, column)
        assert one.total == pytest.approx(float(wanted[row, column]), abs=0.05)
        assert one.text().count("×") == kernel.size


@settings(deadline=None)
@given(MAPS, st.integers(1, 4))
def test_pooling_is_torchs(image: np.ndarray, size: int) -> None:
    tensor = torch.from_numpy(image.astype(np.float32))[None, None]
    assert np.array_equal(kernels.pool(image, size, "max"), F.max_pool2d(tensor, size)[0, 0].numpy())
    assert np.allclose(kernels.pool(image, size, "mean"), F.avg_pool2d(tensor, size)[0, 0].numpy(), atol=1e-3)


@pytest.mark.parametrize("rows", [[[1, 2], [3, 4]], [[1, 2, 3]], [[float("nan")]], [[1e6]], [1, 2, 3]])
def test_bad_kernels_are_told(rows: list) -> None:
    with pytest.raises(InputError):
        kernels.as_kernel(rows)


def test_presets_do_what_their_names_say() -> None:
    step = np.zeros((6, 6), np.uint8)
    step[:, 3:] = 200
    upright = kernels.convolve(step, kernels.as_kernel(kernels.PRESETS["vertical edges"]))
    lying = kernels.convolve(step, kernels.as_kernel(kernels.PRESETS["horizontal edges"]))
    assert upright.max() == 800
    assert not lying.any()
    same = kernels.convolve(step, kernels.as_kernel(kernels.PRESETS["nothing"]), padding=1)
    assert np.array_equal(same, step)
    assert np.allclose(kernels.convolve(step, kernels.as_kernel(kernels.PRESETS["blur"])).max(), 200)
    assert kernels.relu(-upright).max() == 0


def test_shown_keeps_zero_in_the_middle() -> None:
    assert kernels.shown(np.array([[-2, 0, 1]], np.float32)).tolist() == [[0, 128, 191]]
    assert kernels.shown(np.array([[0, 5]], np.float32)).tolist() == [[0, 255]]
    assert not kernels.shown(np.zeros((2, 2), np.float32)).any()


def test_drawings_are_sound() -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    tree = ElementTree.fromstring(grid_svg(values, box=(0, 1, 2)))  # noqa: S314 - our own text
    texts = [e.text for e in tree.iter() if e.tag.endswith("text")]
    assert texts == [str(v) for v in values.ravel()]
    assert len([e for e in tree.iter() if e.tag.endswith("rect")]) == 13
    rgb = ElementTree.fromstring(grid_svg(picture(0, 3, 2)))  # noqa: S314
    assert len([e for e in rgb.iter() if e.tag.endswith("text")]) == 18
    lines = [
        len([e for e in ElementTree.fromstring(connections_svg(6, dense=d)).iter() if e.tag.endswith("line")])  # noqa: S314
        for d in (True, False)
    ]
    assert lines == [24, 12]


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(0)
    module = build_model("lenet5", 10, channels=1, size=(32, 32)).module.eval()
    spec = ModelSpec(labels=tuple("0123456789"), input=InputSpec(32, 32, 1, "gray"), name="digits")
    target = tmp_path_factory.mktemp("lenet") / "digits.onnx"
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), np.uint8)
    export_onnx(Deployable(module, 1, (0.5,), (0.5,), 1.0), spec, images, target)
    return target, module


def test_feature_maps_are_the_networks_own(lenet: tuple[Path, torch.nn.Module]) -> None:
    path, module = lenet
    image = np.random.default_rng(1).integers(0, 256, (32, 32), np.uint8)
    found = walk(path, Frame(image, "gray"))
    shapes = [
        (stage.kind, stage.shape) for stage in found.stages if stage.kind in ("Conv", "MaxPool", "Gemm")
    ]
    assert shapes == [
        ("Conv", (6, 28, 28)),
        ("MaxPool", (6, 14, 14)),
        ("Conv", (16, 10, 10)),
        ("MaxPool", (16, 5, 5)),
        ("Conv", (120, 1, 1)),
        ("Gemm", (84,)),
        ("Gemm", (10,)),
    ]
    seen: dict[str, torch.Tensor] = {}
    for name in ("c1", "s4", "output"):
        module.get_submodule(name).register_forward_hook(
            lambda *a, name=name: seen.__setitem__(name, a[2][0])
        )
    with torch.no_grad():
        module((torch.from_numpy(image).float()[None, None] / 255 - 0.5) / 0.5)
    by_kind = [stage.values for stage in found.stages if stage.kind in ("Conv", "MaxPool", "Gemm")]
    for got, name in ((by_kind[0], "c1"), (by_kind[3], "s4"), (by_kind[6], "output")):
        assert np.allclose(got, seen[name].numpy(), atol=1e-3), name
    assert np.array_equal(found.input, image)
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_feature_maps_of_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    for name in ("x.onnx", "y.tflite"):
        with pytest.raises(Exception, match=name) as caught:
            walk(tmp_path / name, Frame(np.zeros((8, 8), np.uint8), "gray"))
        assert type(caught.value).__name__ in ("InputError", "ModelError")


def test_the_arithmetic_needs_no_page_and_no_torch() -> None:
    code = (
        "import sys; import imago.studio.lab.pixels, imago.studio.lab.kernels, imago.studio.lab.counting,"
        "imago.studio.lab.drawing, imago.studio.lab.features, imago.train.models.builder;"
        "sys.exit('nicegui' in sys.modules or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / ".dev")}, check=False)
    assert done.returncode == 0


def url(image: np.ndarray, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def test_a_picture_from_the_browser_is_bounded() -> None:
    from imago.studio.lab.source import received

    assert np.array_equal(received(url(picture(2, 30, 20))), picture(2, 30, 20))
    large = url(np.zeros((400, 400, 3), np.uint8))
    for hostile in (
        "",
        None,
        7,
        "data:image/png;base64,@@@",
        "data:image/png;base64,QUJD",
        "data:text/html;base64,PHNjcmlwdD4=",
        url(picture(2, 30, 20), "JPEG"),
        large,
        "data:image/png;base64," + "A" * 1_000_000,
    ):
        with pytest.raises(InputError):
            received(hostile)


def test_changes_on_the_table_are_values() -> None:
    from imago.studio.lab import nets

    plan, place = nets.inserted(nets.LENET, nets.FRESH[1])
    assert (plan.layers[place].KIND, place) == ("max_pool", 6)
    assert plan.trace().problem is not None
    assert nets.removed(plan, place) == nets.LENET
    assert nets.moved(nets.moved(nets.LENET, 1, 1), 2, -1) == nets.LENET
    assert nets.moved(nets.LENET, 0, -1) == nets.LENET
    assert nets.changed(nets.LENET, 0, channels=8).trace().rows[0].shape == (8, 28, 28)
    for template in nets.TEMPLATES.values():
        template.require()
        program = plan_program(template)
        scope: dict[str, object] = {}
        exec(f"from imago.train import Net\n{program}", scope)  # noqa: S102 - the program that a pupil runs
        assert scope["net"].plan == template  # type: ignore[attr-defined]


def test_a_saved_network_is_found_and_trained_by_name(tmp_path: Path) -> None:
    from imago.studio.lab import nets
    from imago.studio.workspace import Workspace
    from imago.train.config import TrainConfig

    workspace = Workspace(tmp_path / "w")
    name = nets.save(workspace, replace(nets.LENET, name="../../x y"))
    assert (workspace.root / "nets" / f"{name.removeprefix('net:')}.json").is_file()
    assert [p.layers for p in nets.saved(workspace)] == [nets.LENET.layers]
    config = nets.with_net(workspace, TrainConfig(model=name, epochs=3))
    assert config.net is not None
    assert (config.net.layers, config.epochs) == (nets.LENET.layers, 3)
    assert nets.with_net(workspace, TrainConfig(model="lenet5")) == TrainConfig(model="lenet5")
    for missing in ("net:gone", "net:../studio"):
        with pytest.raises(InputError):
            nets.with_net(workspace, TrainConfig(model=missing))
    (workspace.root / "nets" / "bad.json").write_text("{")
    assert len(nets.saved(workspace)) == 1

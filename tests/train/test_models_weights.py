"""Ready-made weights: tensors only, from files and from a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from imago.edge_runtime.errors import InputError
from imago.train.models.catalogue import IMAGENET_MEAN, IMAGENET_STD
from imago.train.models.registry import BuiltModel, build_model
from imago.train.models.weights import MIRROR, download_weights, fit_weights, fold_grey, read_weights

NAME = "shufflenet_v2"


def network(classes: int = 4, channels: int = 3, weights: Path | None = None) -> BuiltModel:
    return build_model(NAME, classes, channels=channels, size=(64, 64), weights=weights)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[BuiltModel, Path]:
    """A network with four classes, and its weights as a file."""
    torch.manual_seed(1)
    built = network()
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    save_file(built.module.state_dict(), path)
    return built, path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_file_with_the_same_classes_is_taken_whole(
    teacher: tuple[BuiltModel, Path], tmp_path: Path, suffix: str, wrapped: bool
) -> None:
    state = teacher[0].module.state_dict()
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}} if wrapped else state, path)
    else:
        save_file(state, path)
    built = network(weights=path)
    assert built.notes == ()
    loaded = built.module.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_another_class_count_gives_a_fresh_head_and_a_note(teacher: tuple[BuiltModel, Path]) -> None:
    built = network(classes=9, weights=teacher[1])
    state, loaded = teacher[0].module.state_dict(), built.module.state_dict()
    assert all(torch.equal(loaded[k], state[k]) for k in state if not k.startswith("fc."))
    assert loaded["fc.weight"].shape[0] == 9
    assert len(built.notes) == 1
    assert "fc" in built.notes[0]


def test_ready_weights_keep_the_original_strides(teacher: tuple[BuiltModel, Path]) -> None:
    assert network(weights=teacher[1]).config.stem == 0
    assert network().config.stem == 1


def test_grey_network_answers_as_the_colour_one_to_a_grey_picture() -> None:
    weight = torch.randn(8, 3, 3, 3, dtype=torch.float64)
    mean, std = torch.tensor(IMAGENET_MEAN).double(), torch.tensor(IMAGENET_STD).double()
    grey = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    color = (grey.expand(1, 3, 9, 9) - mean[None, :, None, None]) / std[None, :, None, None]
    want = torch.nn.functional.conv2d(color, weight)
    single = (grey - mean.mean()) / std.mean()
    got = torch.nn.functional.conv2d(single, fold_grey(weight, IMAGENET_STD))
    difference = want - got  # a constant per filter, from the means: BatchNorm takes it out
    torch.testing.assert_close(difference, difference[..., :1, :1].expand_as(difference), rtol=0, atol=1e-6)


def test_a_grey_network_takes_colour_weights(teacher: tuple[BuiltModel, Path]) -> None:
    built = network(channels=1, weights=teacher[1])
    first = built.module.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(
        first, fold_grey(teacher[0].module.state_dict()["conv1.0.weight"], IMAGENET_STD)
    )
    assert built.mean == (pytest.approx(sum(IMAGENET_MEAN) / 3),)


def test_auxiliary_heads_of_published_files_are_left_out() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2))
    state = {**module.state_dict(), "AuxLogits.fc.weight": torch.zeros(4), "aux1.fc.bias": torch.zeros(4)}
    assert fit_weights(module, state, head="0") == []


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(build_model("squeezenet", 4, channels=3, size=(64, 64)).module.state_dict(), path)
    with pytest.raises(InputError, match="another network"):
        network(weights=path)
    lenet = tmp_path / "lenet.safetensors"
    save_file(build_model("lenet5", 4, channels=1, size=(32, 32)).module.state_dict(), lenet)
    with pytest.raises(InputError, match="input size"):
        build_model("lenet5", 4, channels=1, size=(64, 64), weights=lenet)


class Bomb:
    """What a hostile file does when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (self.path,)  # type: ignore[return-value]


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "bomb.pth", tmp_path / "ran"
    torch.save({"weight": Bomb(mark)}, path)
    with pytest.raises(InputError, match="cannot be read safely"):
        read_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.onnx", b"x", "not a weights file"),
        ("w.safetensors", b"not one", "safetensors"),
        ("w.pth", b"", "cannot be read safely"),
        ("w.pth", b"PK\x03\x04broken", "cannot be read safely"),
    ],
)
def test_other_files_are_one_clear_error(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_file_and_wrong_contents(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such weights file"):
        read_weights(tmp_path / "none.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="no weights by name"):
        read_weights(tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    with pytest.raises(InputError, match="other things"):
        read_weights(tmp_path / "numbers.pth")


def serve(folder: Path, state: dict[str, torch.Tensor], stem: str = "tiny") -> str:
    """Store weights under the name that torch's hash check expects; returns that name."""
    torch.save(state, folder / "w.pth")
    digest = hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()[:8]
    return (folder / "w.pth").rename(folder / f"{stem}-{digest}.pth").name


def test_download_checks_the_hash_and_keeps_the_file(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    name = serve(folder, {"weight": torch.arange(4.0)})
    state = download_weights(f"{url}/{name}", folder=tmp_path / "hub")
    assert torch.equal(state["weight"], torch.arange(4.0))
    (folder / name).unlink()
    assert download_weights(f"{url}/{name}", folder=tmp_path / "hub").keys() == {"weight"}


def test_download_from_a_mirror(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    name = serve(folder, {"weight": torch.ones(2)})
    monkeypatch.setenv(MIRROR, url + "/")
    state = download_weights(f"https://weights.invalid/models/{name}", folder=tmp_path / "hub")
    assert state["weight"].tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["missing", "damaged", "refused"])
def test_a_failed_download_says_how_to_go_on(server: tuple[str, Path], tmp_path: Path, kind: str) -> None:
    url, folder = server
    name = "resnet18-f37072fd.pth"
    if kind == "damaged":
        (folder / name).write_bytes(b"half a fi")
    if kind == "refused":
        url = "http://127.0.0.1:9"
    with pytest.raises(InputError, match="--weights FILE") as caught:
        download_weights(f"{url}/{name}", folder=tmp_path / "hub")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "hub").glob("*.pth"))


def test_pretrained_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MIRROR, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match="could not be downloaded from http://127"):
        build_model("mobilenet_v3_small", 3, channels=3, size=(96, 96), pretrained=True)

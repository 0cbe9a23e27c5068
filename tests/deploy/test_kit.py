"""A kit for this computer: made with the real pip, installed where there is no network, damaged, resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.deploy.kit.manifest import MANIFEST, KitFile, faults, read_kit
from imago.deploy.kit.own_wheel import repack
from imago.edge_runtime.errors import InputError

import kit_support
from onnx_models import lenet
from support import ROOT, imago

FLAGS = ("--os", "this", "--camera", "none")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit_support.shared_kit(tmp_path_factory)


@pytest.fixture
def copied(kit: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kit, tmp_path / "kit"))


def test_installed_and_predicting_without_network(kit: Path, tmp_path: Path) -> None:
    binaries = kit_support.install(kit, tmp_path / "venv")
    lenet(tmp_path / "m.onnx")
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "p.png")
    done = kit_support.cut_off(binaries / "imago", "predict", "m.onnx", "p.png", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "label" in done.stdout
    names = {path.name.split("-")[0] for path in (tmp_path / "venv").glob("lib/*/site-packages/*.dist-info")}
    assert {"imago_edge", "numpy", "onnxruntime", "pillow"} <= names
    assert not {"pip", "torch", "opencv_python_headless"} & names


def test_the_manifest_lists_every_file_and_pip_would_notice_a_change(kit: Path) -> None:
    told = read_kit(kit)
    assert list(faults(kit, told)) == []
    assert told.target["os"] == "this"
    lines = (kit / "requirements.txt").read_text().splitlines()
    assert all(" --hash=sha256:" in line for line in lines)
    assert {line.split("==")[0] for line in lines} >= {"imago-edge", "numpy", "onnxruntime", "pillow"}
    assert not [path for path in kit.parent.iterdir() if path != kit], "nothing is left beside it"


def test_a_damaged_kit_is_told_file_by_file(copied: Path) -> None:
    wheels = sorted((copied / "wheels").iterdir())
    with wheels[0].open("r+b") as file:
        file.write(b"\0\0\0\0")
    with wheels[1].open("ab") as file:
        file.write(b"more")
    wheels[2].unlink()
    moved = wheels[3].rename(copied / "aside.whl")
    wheels[3].symlink_to(moved)
    (copied / "wheels" / "extra.whl").write_bytes(b"x")
    done = imago("kit", "verify", str(copied), "--json", "-")
    assert done.returncode == 1
    told = {row["path"].split("/")[1]: row["fault"] for row in json.loads(done.stdout)["faults"]}
    expected = dict(zip((w.name for w in wheels), ("hash", "size", "missing", "link"), strict=False))
    assert told == {**expected, "extra.whl": "unlisted"}
    again = imago("kit", "-o", str(copied), *FLAGS)
    assert again.returncode == 2
    assert "--renew" in again.stderr


def test_a_kill_loses_nothing_and_a_broken_wheel_is_fetched_again(kit: Path, tmp_path: Path) -> None:
    """Killed when the first wheels have arrived; one of them cut short, as a power failure would leave it."""
    out, building = tmp_path / "new", tmp_path / ".new.building"
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en", **kit_support.offline(kit)
    }  # fmt: skip
    words = [sys.executable, "-m", "imago.cli.main", "kit", "-o", str(out), *FLAGS]
    with subprocess.Popen(words, env=environment, start_new_session=True, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 120
        while process.poll() is None and not list(building.glob("wheels/numpy-*")):
            assert time.monotonic() < until
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    (cut,) = building.glob("wheels/numpy-*")
    cut.write_bytes(cut.read_bytes()[:1000])
    (building / "wheels" / "older-1.0-py3-none-any.whl").write_bytes(b"from an earlier run")
    kit_support.make_kit(out, *FLAGS, env=kit_support.offline(kit))
    same = {f.path: f.sha256 for f in read_kit(kit).files if "imago_edge" not in f.path}
    assert {f.path: f.sha256 for f in read_kit(out).files if "imago_edge" not in f.path}.items() >= {
        path: digest for path, digest in same.items() if path.startswith("wheels/")
    }.items()
    assert not building.exists()


def test_a_whole_kit_is_kept_and_another_one_is_not_overwritten(copied: Path) -> None:
    before = (copied / MANIFEST).read_bytes()
    without_index = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    kept = imago("kit", "-o", str(copied), *FLAGS, env=without_index)
    assert kept.returncode == 0, kept.stderr
    other = imago("kit", "-o", str(copied), "--os", "bookworm")
    assert other.returncode == 2
    assert "is a kit for something else" in other.stderr
    renewed = imago("kit", "-o", str(copied), *FLAGS, "--renew", env=without_index)
    assert renewed.returncode == 2  # nothing can be fetched: the old kit must survive it
    assert (copied / MANIFEST).read_bytes() == before
    assert list(faults(copied, read_kit(copied))) == []


def test_a_folder_that_is_no_kit_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = imago("kit", "-o", str(tmp_path), *FLAGS)
    assert done.returncode == 2
    assert "is no kit; nothing was changed" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_without_network_one_clear_line(tmp_path: Path) -> None:
    unreachable = {
        "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "1",
    }  # fmt: skip
    done = imago("kit", "-o", str(tmp_path / "kit"), *FLAGS, env=unreachable)
    assert done.returncode == 2
    assert "package index cannot be reached" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: d.update(schema=9), "schema 9"),
        (
            lambda d: d["files"].append({"path": "../../etc/passwd", "size": 1, "sha256": "0" * 64}),
            "etc/passwd",
        ),
        (lambda d: d["files"].append({"path": "wheels/../x.whl", "size": 1, "sha256": "0" * 64}), "x.whl"),
        (lambda d: d["files"].append(d["files"][0]), "twice"),
        (lambda d: d["files"].pop(), "digest"),
        (lambda d: d.update(files=[{"path": 1}]), "not a kit"),
        (lambda d: d.pop("target"), "target"),
    ],
)
def test_hostile_manifests(tmp_path: Path, change: object, word: str) -> None:
    files = [{"path": "wheels/a-1-py3-none-any.whl", "size": 1, "sha256": "a" * 64}]
    kit = {
        "schema": 1, "imago": "0.1.0", "digest": "", "target": {"os": "this"}, "engine": "both",
        "camera": "none", "extras": [], "debs": [], "files": files,
    }  # fmt: skip
    from imago.deploy.kit.manifest import Kit

    kit["digest"] = Kit("", {}, "", "", (), (), tuple(KitFile(**f) for f in files)).digest  # type: ignore[arg-type]
    (tmp_path / MANIFEST).write_text(json.dumps(kit))
    assert read_kit(tmp_path).engine == "both"
    change(kit)  # type: ignore[operator]
    (tmp_path / MANIFEST).write_text(json.dumps(kit))
    with pytest.raises(InputError, match=word):
        read_kit(tmp_path)


def test_a_wheel_packed_again_is_the_wheel_that_was_installed(wheel: Path, tmp_path: Path) -> None:
    """For those who installed imago from an index: no checkout, no build tool."""
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
    ]
    subprocess.run([*pip, str(wheel)], check=True, timeout=300)
    (installed,) = metadata.distributions(name="imago-edge", path=[str(site)])
    packed = repack(installed, tmp_path)
    assert packed.name == wheel.name
    with zipfile.ZipFile(packed) as again, zipfile.ZipFile(wheel) as first:
        assert {n: again.read(n) for n in again.namelist() if not n.endswith("RECORD")} == {
            n: first.read(n) for n in first.namelist() if not n.endswith("RECORD")
        }
    other = tmp_path / "other"
    subprocess.run([*pip[:-1], str(other), str(packed)], check=True, timeout=300)  # pip checks RECORD
    assert repack(installed, other).read_bytes() == packed.read_bytes()

"""Bundles: the same input gives the same bytes, any unzip opens them, and hostile ones are refused whole."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imago.cli.run_cmd import parser as run_parser
from imago.deploy.bundling import BundleOptions, write_bundle
from imago.edge_runtime.bundle import archive, minisign
from imago.edge_runtime.bundle.manifest import MANIFEST, Manifest
from imago.edge_runtime.bundle.settings import RunSettings
from imago.edge_runtime.errors import BundleError, InputError

import onnx_models
import tflite_models
from support import imago

RUN = RunSettings(source="picamera", max_fps=5, control=("focus=2",), records=True, web="0.0.0.0:8080")
Files = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    onnx_models.lenet(folder / "昆虫.onnx")
    onnx_models.lenet(folder / "b.onnx", seed=1)
    return [folder / "昆虫.onnx", folder / "b.onnx"]


@pytest.fixture(scope="module")
def good(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "x.imago"
    write_bundle(models, path, BundleOptions(run=RUN), version="0.1.0")
    return path


def test_the_same_input_gives_the_same_bytes(models: list[Path], good: Path, tmp_path: Path) -> None:
    copies = [Path(shutil.copy(path, tmp_path / path.name)) for path in models]
    os.utime(copies[0], (1, 1))
    write_bundle(copies, tmp_path / "y.imago", BundleOptions(run=RUN), version="0.1.0")
    assert (tmp_path / "y.imago").read_bytes() == good.read_bytes()
    assert archive.archive_size(archive.read_manifest(good)) == good.stat().st_size


def test_any_unzip_opens_it(models: list[Path], good: Path) -> None:
    with zipfile.ZipFile(good) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == [MANIFEST, "models/b.onnx", "models/昆虫.onnx"]
        assert opened.read("models/昆虫.onnx") == models[0].read_bytes()
        manifest = json.loads(opened.read(MANIFEST))
    assert [v["file"] for v in manifest["variants"]] == ["models/昆虫.onnx", "models/b.onnx"]
    assert manifest["run"]["max_fps"] == 5
    assert manifest["variants"][0]["input"] == [32, 32, 1]


def test_models_of_other_tasks_are_not_put_together(models: list[Path], tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "other.onnx", onnx_models.spec_of(("cat", "dog")))
    with pytest.raises(InputError, match="name different classes"):
        write_bundle([models[0], tmp_path / "other.onnx"], tmp_path / "z.imago", version="0.1.0")
    assert not (tmp_path / "z.imago").exists()


def test_the_engine_that_a_board_needs_is_asked_for(models: list[Path], tmp_path: Path) -> None:
    tflite_models.write(tmp_path / "m.tflite", tflite_models.lenet(), tflite_models.spec_of(32))
    run = RunSettings(source="/dev/video0", mqtt="mqtt://broker")
    manifest = write_bundle(
        [tmp_path / "m.tflite"], tmp_path / "t.imago", BundleOptions(run=run), version="0.1.0"
    )
    assert manifest.extras == ("camera", "litert", "mqtt")
    assert manifest.variants[0].engine == "litert"


def raw(entries: Files, *, mode: int = archive.MODE) -> bytes:
    """An archive in our form, with whatever is put into it."""
    body, directory, offset = b"", b"", 0
    for name, data in entries:
        local = archive._local(name, zlib.crc32(data), len(data)) + data
        central = archive._central(name, zlib.crc32(data), len(data), offset)
        directory += central.replace(archive.MODE.to_bytes(4, "little"), mode.to_bytes(4, "little"))
        body += local
        offset += len(local)
    count = len(entries)
    tail = archive.END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + tail


def entries_of(path: Path) -> Files:
    with zipfile.ZipFile(path) as opened:
        return [(name, opened.read(name)) for name in opened.namelist()]


def with_manifest(entries: Files, change: Callable[[dict[str, object]], None]) -> Files:
    data = json.loads(entries[0][1])
    change(data)
    text = (json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
    return [(MANIFEST, text), *entries[1:]]


def renamed(entries: Files, name: str) -> Files:
    """The last member under another name, in the manifest as well."""
    old = entries[-1][0]
    text = entries[0][1].decode().replace(json.dumps(old, ensure_ascii=False), json.dumps(name))
    return [(MANIFEST, text.encode()), *entries[1:-1], (name, entries[-1][1])]


def deflated(entries: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in entries:
            made.writestr(name, data)
    return out.getvalue()


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


HOSTILE: dict[str, Callable[[Files], bytes]] = {
    "out of the folder": lambda e: raw(renamed(e, "models/../../evil.onnx")),
    "absolute": lambda e: raw(renamed(e, "/etc/evil.onnx")),
    "backslash": lambda e: raw(renamed(e, "models/..\\evil.onnx")),
    "drive": lambda e: raw(renamed(e, "models/C:evil.onnx")),
    "hidden": lambda e: raw(renamed(e, "models/.onnx")),
    "another kind": lambda e: raw(renamed(e, "models/evil.pkl")),
    "a link": lambda e: raw(e, mode=(stat.S_IFLNK | 0o777) << 16),
    "the same name twice": lambda e: raw([*e, e[-1]]),
    "unlisted": lambda e: raw([*e, ("models/z.onnx", b"x")]),
    "missing": lambda e: raw(e[:-1]),
    "no manifest": lambda e: raw(e[1:]),
    "manifest last": lambda e: raw([*e[1:], e[0]]),
    "compressed (a bomb)": lambda e: deflated([*e[:-1], (e[-1][0], bytes(50_000_000))]),
    "bytes in front": lambda e: b"#!/bin/sh\n" + raw(e),
    "bytes behind": lambda e: raw(e) + b"x",
    "cut": lambda e: raw(e)[:-30],
    "huge manifest": lambda e: raw([(MANIFEST, b" " * 1_000_001 + e[0][1]), *e[1:]]),
    "deep manifest": lambda e: raw([(MANIFEST, b"[" * 200_000 + b"]" * 200_000), *e[1:]]),
    "not a number": lambda e: raw(with_manifest(e, lambda d: d["run"].update(max_fps=float("nan")))),  # type: ignore[attr-defined]
    "newer schema": lambda e: raw(with_manifest(e, lambda d: d.update(bundle_schema=2))),
    "unknown setting": lambda e: raw(with_manifest(e, lambda d: d["run"].update(exec="rm"))),  # type: ignore[attr-defined]
    "a path as records": lambda e: raw(with_manifest(e, lambda d: d["run"].update(records="/etc"))),  # type: ignore[attr-defined]
    "a line break in a setting": lambda e: raw(with_manifest(e, lambda d: d["run"].update(source="a\nb"))),  # type: ignore[attr-defined]
    "wrong member": lambda e: raw([*e[:-1], (e[-1][0], flip(e[-1][1], 999))]),
    "not in our form": lambda e: raw([(MANIFEST, json.dumps(json.loads(e[0][1])).encode()), *e[1:]]),
    "empty": lambda e: b"",
    "no zip": lambda e: b"PK" * 500,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bundles_are_refused_whole(good: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "in" / "x.imago"
    path.parent.mkdir()
    path.write_bytes(HOSTILE[name](entries_of(good)))
    for use in (archive.verify, lambda p: archive.unpack(p, tmp_path / "out" / "content")):
        with pytest.raises(BundleError) as caught:
            use(path)
        assert len(str(caught.value)) < 500
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert left == [path]


def test_the_helper_writes_what_is_accepted(good: Path, tmp_path: Path) -> None:
    """Else the test above would pass for the wrong reason."""
    (tmp_path / "x.imago").write_bytes(raw(entries_of(good)))
    assert archive.verify(tmp_path / "x.imago").id == archive.read_manifest(good).id
    assert (tmp_path / "x.imago").read_bytes() == good.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flipped_bit_is_found(good: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = good.read_bytes()
    near_ends = st.one_of(st.integers(0, 1500), st.integers(len(content) - 400, len(content) - 1))
    at = data.draw(st.one_of(near_ends, st.integers(0, len(content) - 1)))
    changed = bytearray(content)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "x.imago").write_bytes(changed)
    with pytest.raises(BundleError):
        archive.verify(tmp_path / "x.imago")


def test_a_flipped_bit_in_the_name_before_the_manifest(good: Path, tmp_path: Path) -> None:
    """No UTF-8 any more where zipfile reads the name a second time."""
    changed = bytearray(good.read_bytes())
    changed[30] ^= 1 << 7
    (tmp_path / "x.imago").write_bytes(changed)
    with pytest.raises(BundleError):
        archive.verify(tmp_path / "x.imago")


@settings(max_examples=80, deadline=None)
@given(text=st.binary(max_size=300))
def test_any_bytes_as_manifest_are_one_clear_error(text: bytes) -> None:
    with pytest.raises(BundleError):
        Manifest.from_bytes(text)


def test_a_changed_unpacked_bundle_is_found(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    archive.unpack(good, folder)
    assert archive.verify(folder).id == archive.read_manifest(good).id
    (folder / "models" / "b.onnx").unlink()
    (folder / "models" / "b.onnx").symlink_to(folder / "models" / "昆虫.onnx")
    with pytest.raises(BundleError, match="link"):
        archive.verify(folder)


def test_settings_are_the_flags_of_run() -> None:
    """Every setting comes back out of the real parser of ``imago run``."""
    full = RunSettings(
        source="-oops", size="640x480", control=("focus=2", "hflip=1"), fps=10, max_fps=5, realtime=True,
        roi="0.1,0.1,0.5,0.5", motion="off", threshold=0.5, gap=2, records=True, records_quota=50,
        mqtt="mqtt://h", web="0.0.0.0:1", threads=2,
    )  # fmt: skip
    args = run_parser().parse_args(full.arguments(records="here"))
    assert (args.source, args.size, args.motion, args.threads) == ("-oops", (640, 480), "off", 2)
    assert (args.control, str(args.records)) == ([("focus", "2"), ("hflip", "1")], "here")
    assert (args.fps, args.max_fps, args.threshold, args.gap, args.records_quota) == (10, 5, 0.5, 2, 50)
    assert (args.realtime, args.roi, args.mqtt, args.web) == (True, full.roi, full.mqtt, full.web)


def test_run_takes_a_bundle_and_the_user_wins(models: list[Path], tmp_path: Path) -> None:
    run = RunSettings(source="synthetic", max_fps=2, threads=2)
    write_bundle(models, tmp_path / "x.imago", BundleOptions(run=run), version="0.1.0")
    done = imago("run", str(tmp_path / "x.imago"), "--frames", "2", "--max-fps", "50", "--json", "-")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["processed"], data["model"]) == (2, "昆虫.onnx")
    assert data["source"].startswith("synthetic")


def test_a_damaged_bundle_is_one_line(good: Path, tmp_path: Path) -> None:
    (tmp_path / "x.imago").write_bytes(good.read_bytes()[:-5])
    done = imago("bundle", "verify", str(tmp_path / "x.imago"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "damaged" in done.stderr


def need_minisign() -> str:
    program = shutil.which("minisign")
    if program is None:
        message = "no minisign here: sudo apt install minisign"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return program


def minisign_run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [need_minisign(), *map(str, words)], capture_output=True, text=True, check=False, input="\n\n"
    )


def test_debians_minisign_accepts_our_signature(models: list[Path], tmp_path: Path) -> None:
    minisign.write_keys(tmp_path / "key", tmp_path / "key.pub")
    target = tmp_path / "x.imago"
    write_bundle(models, target, BundleOptions(sign=tmp_path / "key"), version="0.1.0")
    done = minisign_run("-V", "-m", target, "-p", tmp_path / "key.pub")
    assert done.returncode == 0, done.stderr
    assert "Signature and comment signature verified" in done.stdout
    target.write_bytes(flip(target.read_bytes(), 5000))
    assert minisign_run("-V", "-m", target, "-p", tmp_path / "key.pub").returncode != 0
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "f").write_text("signed by Debian's minisign with our key")
    done = minisign_run("-S", "-s", tmp_path / "key", "-m", tmp_path / "f")
    assert done.returncode == 0, done.stderr
    assert minisign_run("-V", "-m", tmp_path / "f", "-p", tmp_path / "key.pub").returncode == 0


def test_we_accept_debians_signature_and_sign_with_its_key(good: Path, tmp_path: Path) -> None:
    made = minisign_run("-G", "-W", "-s", tmp_path / "key", "-p", tmp_path / "key.pub")
    assert made.returncode == 0, made.stderr
    signature = tmp_path / "x.minisig"
    minisign_run("-S", "-s", tmp_path / "key", "-m", good, "-x", signature, "-t", "trusted words")
    public = minisign.read_public_key(tmp_path / "key.pub")
    text = minisign.read_signature(signature)
    assert minisign.check(minisign.file_pieces(good), text, public) == "trusted words"
    with pytest.raises(BundleError, match="does not fit"):
        minisign.check([good.read_bytes() + b"x"], text, public)
    with pytest.raises(BundleError, match="does not fit"):
        minisign.check(minisign.file_pieces(good), text.replace("trusted words", "other words"), public)
    other = minisign.new_key()
    with pytest.raises(BundleError, match="is signed with key"):
        minisign.check(minisign.file_pieces(good), text, other.public)
    key = minisign.read_secret_key(tmp_path / "key")
    signature.write_text(minisign.sign(minisign.file_pieces(good), key, "ours"))
    done = minisign_run("-V", "-m", good, "-p", tmp_path / "key.pub", "-x", signature)
    assert done.returncode == 0, done.stderr


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=400))
def test_any_text_as_signature_is_one_clear_error(text: str) -> None:
    key = minisign.PublicKey(bytes(8), bytes(32))
    with pytest.raises(BundleError):
        minisign.check([b""], text, key)

"""The class-room kit: resolved for other systems, installed for real without a network, scripts in order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser as Mail
from importlib.metadata import distribution
from pathlib import Path

import pytest

from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.workflow.classroom.kit import Kit, KitOptions, check_kit, make_kit
from imago.workflow.classroom.own_wheel import own_wheel, wheel_metadata
from imago.workflow.classroom.resolve import ResolveError, resolve
from imago.workflow.classroom.target import PYTHONS, Target

from support import imago

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
TODAY = Target("linux", HERE if HERE in PYTHONS else PYTHONS[-1])


def online(make: object) -> object:
    """What needs the package index: skips a user without it, fails in CI."""
    try:
        return make()  # type: ignore[operator]
    except (ResolveError, StorageError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no package index: {error}")


@pytest.fixture(scope="module")
def usb(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A kit of the base install for this computer: all the steps, 50 MB instead of gigabytes."""
    out = tmp_path_factory.mktemp("usb") / "U 盘"
    made = online(lambda: make_kit(out, KitOptions(TODAY, extras=(), wheel=wheel, per_class=7)))
    assert isinstance(made, Kit)
    return made


def without_network(*command: str | Path, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run in a network namespace of its own: not even the loopback is up."""
    cut = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "IMAGO_LANG": "en", **more}
    return subprocess.run(
        [*cut, *map(str, command)],
        env=env,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_kit_installs_and_runs_with_the_network_cut(usb: Kit, tmp_path: Path) -> None:
    check = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    assert "unreachable" in without_network(sys.executable, "-c", check, home=tmp_path).stderr
    path = f"{Path(sys._base_executable).parent}:/usr/bin:/bin"  # type: ignore[attr-defined]
    done = without_network("sh", usb.folder / "install.sh", home=tmp_path, PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    binaries = tmp_path / ".local" / "share" / "imago-classroom" / "venv" / "bin"
    assert "imago" in without_network(binaries / "imago", "--version", home=tmp_path).stdout
    for module, expected in (("onnxruntime", 0), ("torch", 1)):
        ran = without_network(binaries / "python", "-c", f"import {module}", home=tmp_path)
        assert ran.returncode == expected, ran.stderr
    help_text = without_network("sh", usb.folder / "start.sh", "--help", home=tmp_path)
    assert "usage: imago studio" in help_text.stdout or "no such command" in help_text.stderr


def test_install_refuses_another_python_and_a_damaged_stick(usb: Kit, tmp_path: Path) -> None:
    shutil.copytree(usb.folder, tmp_path / "stick")
    stick = tmp_path / "stick"
    manifest = json.loads((stick / "manifest.json").read_text(encoding="utf-8"))
    wheel = next(stick.glob("wheels/numpy-*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-1])
    done = without_network(sys.executable, stick / "install.py", home=tmp_path)
    assert done.returncode == 2 and "numpy" in done.stdout and "damaged" in done.stdout
    assert not (tmp_path / ".local").exists()
    (stick / "manifest.json").write_text(json.dumps({**manifest, "python": "3.99"}), encoding="utf-8")
    done = without_network(sys.executable, stick / "install.py", home=tmp_path, IMAGO_LANG="zh_CN")
    assert done.returncode == 2 and "需要 Python 3.99" in done.stdout
    (stick / "manifest.json").write_text(json.dumps({**manifest, "system": "windows"}), encoding="utf-8")
    done = without_network(sys.executable, stick / "install.py", home=tmp_path)
    assert done.returncode == 2 and "for windows" in done.stdout


def test_again_it_fetches_only_what_is_damaged(usb: Kit, wheel: Path) -> None:
    assert check_kit(usb.folder) == len([p for p in usb.folder.rglob("*") if p.is_file()]) - 1
    numpy = next(usb.folder.glob("wheels/numpy-*.whl"))
    numpy.write_bytes(b"torn")
    with pytest.raises(DataError, match="1 files of the kit are missing or damaged: wheels/numpy"):
        check_kit(usb.folder)
    again = make_kit(usb.folder, KitOptions(TODAY, extras=(), wheel=wheel, per_class=7))
    assert again.fetched == 1 and check_kit(usb.folder) > 10


def test_samples_and_texts_are_on_the_stick(usb: Kit) -> None:
    samples = usb.folder / "samples" / "insects"
    assert len(list(samples.rglob("*.jpg"))) == 7 * 6 and (samples / "generated.json").is_file()
    assert "双击" in (usb.folder / "README.zh-CN.txt").read_text(encoding="utf-8")
    assert "@" not in (usb.folder / "README.txt").read_text(encoding="utf-8")


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, usb: Kit) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(StorageError, match="something else"):
        make_kit(tmp_path, KitOptions(TODAY))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(StorageError, match="something else"):
        make_kit(usb.folder, KitOptions(Target("windows", "3.12")))
    with pytest.raises(InputError, match=r"no manifest\.json"):
        check_kit(tmp_path)
    assert imago("classroom", "kit", "--for", "mac", "-o", str(tmp_path / "x")).returncode == 2


def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    entry = {"path": "../outside", "sha256": "0" * 64}
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "files": [entry]}), encoding="utf-8")
    with pytest.raises(DataError, match="damaged"):
        check_kit(tmp_path)


def test_an_installed_imago_packs_itself_again(wheel: Path, tmp_path: Path) -> None:
    """From the wheel into a folder, and from there a wheel with the same files."""
    place = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(place),
    ]
    subprocess.run([*command, str(wheel)], check=True, timeout=120)
    code = (
        "import sys; from pathlib import Path; from imago.workflow.classroom.own_wheel import own_wheel;"
        "print(own_wheel(Path(sys.argv[1])))"
    )
    env = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path / "out")],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    packed = Path(done.stdout.strip())
    before, after = zipfile.ZipFile(wheel), zipfile.ZipFile(packed)
    names = {n for n in before.namelist() if not n.endswith("/RECORD")}
    assert {n for n in after.namelist() if not n.endswith("/RECORD")} == names
    assert all(before.read(n) == after.read(n) for n in names)
    assert wheel_metadata(packed).version == distribution("imago-edge").version
    again = [*command[:-1], str(tmp_path / "twice"), str(packed)]
    subprocess.run(again, check=True, timeout=120)


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"no")
    with pytest.raises(InputError, match="not a wheel"):
        own_wheel(tmp_path / "out", tmp_path / "x.whl")


@pytest.mark.parametrize("python", PYTHONS)
def test_windows_markers_and_tags_decide(python: str) -> None:
    """tqdm needs colorama on Windows only: pip alone, run here, would forget it."""
    wheels = online(lambda: resolve(["tqdm>=4", "numpy>=1.24"], Target("windows", python)))
    names = {w.name: w for w in wheels}  # type: ignore[attr-defined]
    assert names.keys() == {"tqdm", "colorama", "numpy"}
    tag = python.replace(".", "")
    assert (
        names["numpy"].file.endswith(f"-cp{tag}-cp{tag}-win_amd64.whl") and len(names["numpy"].sha256) == 64
    )


def test_a_package_without_a_wheel_is_named() -> None:
    with pytest.raises(ResolveError, match="uvloop"):  # there is none for Windows
        resolve(["uvloop"], Target("windows", "3.12"))


def _batch(name: str, tmp_path: Path) -> tuple[bytes, list[str]]:
    from imago.workflow.classroom.kit import _write_scripts

    _write_scripts(tmp_path, Target("windows", "3.12"))
    data = (tmp_path / name).read_bytes()
    return data, data.decode("ascii").splitlines()


@pytest.mark.parametrize("name", ["install.bat", "start.bat"])
def test_batch_files_are_what_cmd_can_read(name: str, tmp_path: Path) -> None:
    """ASCII, CR LF, no placeholder left, labels that exist, quotes and brackets in pairs, paths quoted."""
    data, lines = _batch(name, tmp_path)
    assert data.count(b"\n") == data.count(b"\r\n") == len(lines) and b"@PY" not in data
    assert lines[0] == "@echo off" and all(len(line) < 8191 for line in lines)
    labels = {line[1:] for line in lines if line.startswith(":")}
    jumps = {line.split("goto ", 1)[1].split()[0] for line in lines if "goto " in line}
    assert jumps == labels
    code = [line for line in lines if not line.lower().startswith(("rem ", "echo "))]
    assert all(line.count('"') % 2 == 0 for line in code)
    outside = "".join("".join(line.split('"')[::2]) for line in code)  # what is not between quotes
    assert outside.count("(") == outside.count(")")
    assert all(v not in outside for v in ("%STICK%", "%~dp0", "%LOCALAPPDATA%", "%IMAGO%"))
    text = (tmp_path / "README.zh-CN.txt").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf") and b"\r\n" in text


def test_the_shell_scripts_pass_shellcheck_where_it_is(usb: Kit) -> None:
    for name in ("install.sh", "start.sh"):
        assert os.access(usb.folder / name, os.X_OK)
        subprocess.run(["sh", "-n", usb.folder / name], check=True)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", usb.folder / name], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_the_whole_lesson_resolves_for_windows(python: str, wheel: Path) -> None:
    """Everything that [studio] brings, for Windows' tags and markers: every requirement met by a wheel."""
    from packaging.requirements import Requirement

    from imago.workflow.classroom.kit import _resolved
    from imago.workflow.classroom.resolve import applies, canonical

    target = Target("windows", python)
    wheels = online(lambda: _resolved(wheel, KitOptions(target)))
    found = {w.name: w for w in wheels}  # type: ignore[attr-defined]
    assert {"torch", "torchvision", "nicegui", "optuna", "scikit-learn", "colorama", "pip"} <= found.keys()
    assert not [n for n in found if n.startswith(("nvidia", "triton", "uvloop"))]
    for one in found.values():
        assert one.file.endswith(("-any.whl", "-win_amd64.whl")) and one.sha256
        for text in one.requires:
            wanted = Requirement(text)
            if applies(wanted, target, ()):
                held = found[canonical(wanted.name)]
                assert wanted.specifier.contains(held.version, prereleases=True), f"{one.name}: {text}"
    meta = Mail().parsestr(str(wheel_metadata(wheel).metadata))
    assert meta["Name"] == "imago-edge"

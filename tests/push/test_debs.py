"""A kit's Debian packages on the board: real packages, the real dpkg and apt, in a system of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imago.deploy.board import debs, dpkg
from imago.deploy.board.layout import Root
from imago.deploy.board.wheelhouse import debs_in
from imago.edge_runtime.errors import DeployError, InputError

import deb_support
from deb_support import build, own_arch, states
from push_support import Board, bundle


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An empty system of dpkg's, which this process works on; dpkg's words for it."""
    environment = deb_support.private_dpkg(tmp_path / "system")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def root(tmp_path: Path) -> Root:
    made = Root(tmp_path / "opt")
    made.make()
    return made


@pytest.fixture
def parts(tmp_path: Path, system: dict[str, str]) -> Path:
    """A CSI camera's packages in small: each needs the next, one of them before it is even unpacked."""
    folder, arch = tmp_path / "kit", own_arch()
    (folder / "debs").mkdir(parents=True)
    build(folder / "debs", "picamera2", arch="all", Depends="libcamera (>= 1:0.7)")
    build(folder / "debs", "libcamera", version="1:0.7.1", arch=arch, **{"Pre-Depends": "zlib-ish"})
    build(folder / "debs", "zlib-ish", arch=arch)
    return folder


def dpkg_does(*words: str | Path) -> None:
    subprocess.run(["dpkg", *words], check=False, capture_output=True)


def levels(parts: Path) -> dict[str, tuple[str, str]]:
    return {f.check: (f.level, f.text) for f in debs.findings(debs_in(parts))}


def test_what_is_missing_is_installed_and_nothing_twice(
    parts: Path, root: Root, system: dict[str, str]
) -> None:
    level, text = levels(parts)["debs.missing"]
    assert level == "note" and "3 of 3: " in text and "picamera2" in text
    assert set(debs.install(root, debs_in(parts))) == {"picamera2", "libcamera", "zlib-ish"}
    assert states(system) == {
        "picamera2": "1.0 installed", "libcamera": "1:0.7.1 installed", "zlib-ish": "1.0 installed",
    }  # fmt: skip
    assert levels(parts) == {"debs.there": ("ok", "all Debian packages of the kit are there")}
    assert debs.install(root, debs_in(parts)) == []
    assert not list((root / "incoming").iterdir())


def test_a_newer_package_stays_and_an_older_one_is_replaced(
    parts: Path, root: Root, system: dict[str, str], tmp_path: Path
) -> None:
    newer, _ = build(tmp_path, "zlib-ish", version="1.0+deb13u1", arch=own_arch())
    older, _ = build(tmp_path, "libcamera", version="0.9", arch=own_arch())  # older: it has no epoch
    dpkg_does("--install", newer, older)
    assert {debs.Deb.of(name).package for name in debs.lacking(debs_in(parts))} == {"picamera2", "libcamera"}
    debs.install(root, debs_in(parts))
    assert states(system)["zlib-ish"] == "1.0+deb13u1 installed"
    assert states(system)["libcamera"] == "1:0.7.1 installed"


def test_what_does_not_fit_is_refused_before_anything_is_changed(
    parts: Path, root: Root, system: dict[str, str], tmp_path: Path
) -> None:
    """An unmet dependency and a conflict, each by apt's own words."""
    for name, field, words in (
        ("needy", {"Depends": "libc6-of-2040"}, "needy : Depends: libc6-of-2040"),
        ("quarrel", {"Conflicts": "there"}, "quarrel : Conflicts: there"),
    ):
        there, _ = build(tmp_path, "there", arch=own_arch())
        dpkg_does("--install", there)
        before = states(system)
        bad, _ = build(parts / "debs", name, arch=own_arch(), **field)
        with pytest.raises(DeployError, match=r"nothing of it was changed .*imago kit --system") as error:
            debs.install(root, debs_in(parts))
        assert words in str(error.value) or "remove" in str(error.value)
        assert states(system) == before == {"there": "1.0 installed"}
        bad.unlink()


def test_packages_for_another_processor(parts: Path, root: Root, system: dict[str, str]) -> None:
    build(parts / "debs", "other", arch="s390x" if own_arch() != "s390x" else "arm64")
    level, text = levels(parts)["debs.arch"]
    assert level == "problem" and "are for" in text
    with pytest.raises(DeployError, match="make a kit for this kind of board"):
        debs.install(root, debs_in(parts))
    assert states(system) == {}


def test_a_damaged_or_misnamed_package(parts: Path, root: Root, system: dict[str, str]) -> None:
    """Found before dpkg begins; a name that is none before anything else."""
    path = next((parts / "debs").glob("zlib*"))
    data = path.read_bytes()
    for content in (data[: len(data) // 2], next((parts / "debs").glob("picamera2*")).read_bytes(), b""):
        path.write_bytes(content)
        with pytest.raises(DeployError, match="no package of that name, or damaged"):
            debs.install(root, debs_in(parts))
    assert states(system) == {}
    with pytest.raises(InputError, match="no Debian package of a kit"):
        debs.lacking(["../../x.deb"])


def test_a_cut_is_finished_by_the_next_call(parts: Path, root: Root, system: dict[str, str]) -> None:
    """As the power left it: some unpacked, some not, none configured."""
    dpkg_does("--unpack", *(parts / "debs").glob("zlib*"))
    assert states(system) == {"zlib-ish": "1.0 unpacked"}
    level, text = levels(parts)["debs.unfinished"]
    assert level == "warning" and "zlib-ish" in text
    debs.install(root, debs_in(parts))
    assert set(states(system).values()) == {"1.0 installed", "1:0.7.1 installed"}
    assert dpkg.unfinished() == []


def test_a_kill_in_the_middle_of_dpkg(parts: Path, root: Root, system: dict[str, str]) -> None:
    """Killed at many moments; the next call always ends it."""
    for number in range(12):
        build(parts / "debs", f"part{number}", arch=own_arch(), Depends="libcamera")
    code = (
        "from pathlib import Path\nfrom imago.deploy.board import debs\n"
        "from imago.deploy.board.layout import Root\nfrom imago.deploy.board.wheelhouse import debs_in\n"
        f"debs.install(Root(Path({str(root.path)!r})), debs_in(Path({str(parts)!r})))"
    )
    seen = set()
    for wait in (0, 1, 5, 9, 14):
        with subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": ".dev"}, stdout=subprocess.PIPE,
            process_group=0,
        ) as process:  # fmt: skip
            until = time.monotonic() + 60
            while len(states(system)) <= wait and process.poll() is None and time.monotonic() < until:
                pass
            if process.poll() is None:
                os.killpg(process.pid, 9)
        seen.add(len(states(system)))
    debs.install(root, debs_in(parts))
    assert len(states(system)) == 15 and all("installed" in word for word in states(system).values())
    assert dpkg.unfinished() == [] and not dpkg.interrupted()
    assert len(seen) > 1, "no kill came in the middle"


def test_a_package_that_cannot_be_configured_says_what_to_do(
    parts: Path, root: Root, system: dict[str, str]
) -> None:
    bad, _ = build(parts / "debs", "broken", arch=own_arch(), postinst="exit 3")
    with pytest.raises(DeployError) as error:
        debs.install(root, debs_in(parts))
    said = str(error.value)
    assert "could not finish broken" in said and "sudo dpkg --configure -a" in said
    assert "sudo dpkg --purge broken" in said and "post-installation script" in said
    assert states(system)["picamera2"] == "1.0 installed"  # the others are not held up
    bad.unlink()
    build(parts / "debs", "broken", version="1.1", arch=own_arch())  # a kit that was mended
    assert debs.install(root, debs_in(parts)) == ["broken"]
    assert states(system)["broken"] == "1.1 installed"


def test_what_somebody_else_left_unfinished(
    parts: Path, root: Root, system: dict[str, str], tmp_path: Path
) -> None:
    """What can be finished is; what cannot is said, and nothing else is touched."""
    good, _ = build(tmp_path, "good", arch=own_arch())
    hopeless, _ = build(tmp_path, "hopeless", arch=own_arch(), Depends="nothing-like-it")
    dpkg_does("--unpack", good, hopeless)
    with pytest.raises(DeployError, match=r"cannot finish hopeless .* sudo apt --fix-broken install"):
        debs.install(root, debs_in(parts))
    assert states(system) == {"good": "1.0 installed", "hopeless": "1.0 unpacked"}
    dpkg_does("--purge", "hopeless")
    assert len(debs.install(root, debs_in(parts))) == 3


def test_another_program_that_installs_is_waited_for(
    parts: Path, root: Root, system: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """By the lock that apt takes, held by another process."""
    lock = Path(system["DPKG_ADMINDIR"], "lock-frontend")
    code = f"import fcntl; f = open({str(lock)!r}, 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True)"
    code += "; input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(DeployError, match="does not end"), dpkg.locked(0.2):
            pass
        assert "waiting for another program" in capfd.readouterr().out
        holder.communicate(b"\n")
    with dpkg.locked(0.2):
        pass


def test_pushed_over_ssh(envs: Path, tmp_path: Path, kit: Path, parts: Path) -> None:
    """The verdict, then exactly what is missing crosses the wire, once; what does not fit changes nothing."""
    for path in kit.glob("*.whl"):
        (parts / path.name).symlink_to(path)
    system = deb_support.private_dpkg(tmp_path / "board-system")
    board = Board(tmp_path / "board", environment=system)
    board.root.mkdir()
    (board.root / "envs").symlink_to(envs)
    board.start()
    try:
        push(board, parts, tmp_path, system)
    finally:
        board.close()


def push(board: Board, kit: Path, folder: Path, system: dict[str, str]) -> None:
    words = ("--offline", str(kit), "--json", "-", "--timeout", "60")
    bundle(folder / "a.imago", board.web)
    misfit, _ = build(kit / "debs", "needy", arch=own_arch(), Depends="libc6-of-2040")
    done = board.deploy(str(folder / "a.imago"), *words)
    assert done.returncode == 2 and "needy : Depends: libc6-of-2040" in done.stderr, done.stderr
    assert states(system) == {} and not list(board.root.glob("releases/*"))
    misfit.unlink()

    done = board.deploy(str(folder / "a.imago"), *words)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert sorted(first["debs"]) == ["libcamera", "picamera2", "zlib-ish"] and first["changed"]
    assert "installing Debian packages" in done.stderr
    assert {word.split()[1] for word in states(system).values()} == {"installed"}
    assert not list((board.root / "store").glob("*.deb"))

    bundle(folder / "b.imago", board.web, seed=1)
    update = json.loads(board.deploy(str(folder / "b.imago"), *words).stdout)
    assert update["debs"] == [] and update["sent"] == (folder / "m1.onnx").stat().st_size
    again = json.loads(board.deploy(str(folder / "b.imago"), *words).stdout)
    assert (again["changed"], again["sent"]) == (False, 0)

    (kit / "debs" / f"zlib-ish_1.0_{own_arch()}.deb").unlink()
    newer, _ = build(kit / "debs", "zlib-ish", version="1.1", arch=own_arch())
    update = json.loads(board.deploy(str(folder / "b.imago"), *words).stdout)
    assert (update["debs"], update["sent"]) == (["zlib-ish"], newer.stat().st_size)
    assert update["changed"] and not update["installed"]

"""``imago deploy`` against a real sshd: first install, update, broken update, rollback, records."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from imago.deploy.push.timing import require_release, times_on
from imago.edge_runtime.bundle import minisign
from imago.edge_runtime.errors import DeployError

from emulation import debian
from emulation.boards import SUITES
from push_support import Board, bundle
from support import imago


def test_the_whole_story(board: Board, kit: Path, tmp_path: Path) -> None:
    """First install, status, update of the model only, the same again, broken update, rollback, events."""
    first = bundle(tmp_path / "a.imago", board.web, records=True)
    done = board.deploy(str(tmp_path / "a.imago"), "--offline", str(kit), "--json", "-", "--timeout", "60")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["release"].startswith(first)
    assert data["changed"] and data["sent"] > 200_000
    assert "examining the board" in done.stderr

    status = json.loads(board.deploy("--status", "--json", "-").stdout)
    assert status["health"]["status"] == 200 and status["health"]["frames"] > 0
    assert status["current"]["release"] == data["release"] and status["previous"] is None

    second = bundle(tmp_path / "b.imago", board.web, seed=1, records=True)
    done = board.deploy(str(tmp_path / "b.imago"), "--offline", str(kit), "--json", "-")
    assert done.returncode == 0, done.stderr
    update = json.loads(done.stdout)
    size = (tmp_path / "m1.onnx").stat().st_size
    assert update["release"].startswith(second) and update["previous"] == data["release"]
    assert update["sent"] == size and not update["installed"]  # the model, nothing else

    again = json.loads(board.deploy(str(tmp_path / "b.imago"), "--offline", str(kit), "--json", "-").stdout)
    assert (again["changed"], again["sent"]) == (False, 0)

    bundle(tmp_path / "c.imago", board.web, seed=2, source=str(tmp_path / "no-video.mp4"))
    done = board.deploy(str(tmp_path / "c.imago"), "--offline", str(kit), "--timeout", "6")
    assert done.returncode == 2
    assert f"{update['release']} runs again" in done.stderr and "Traceback" not in done.stderr
    assert "no-video.mp4" in done.stderr  # the reason, from the program's own words
    status = json.loads(board.deploy("--status", "--json", "-").stdout)
    assert status["current"]["release"] == update["release"] and status["health"]["status"] == 200

    done = board.deploy("--rollback")
    assert done.returncode == 0, done.stderr
    assert data["release"] in done.stdout
    assert "looks at synthetic" in board.deploy("--logs").stdout

    model, small = tmp_path / "m1.onnx", tmp_path / "m2.onnx"
    with board.remote() as remote:
        require_release(remote)
        times = times_on(remote, [model, small, model], runs=20)
        with pytest.raises(DeployError, match="timing a model file on the board failed"):
            times_on(remote, [model, _no_model(tmp_path)], runs=5)
    assert len(times) == 3 and all(0 < us < 1e6 for us in times)
    assert not list((board.root / "run").glob("tmp*"))
    assert json.loads(board.deploy("--check", "--json", "-").stdout)["well"]  # the service runs again

    home = tmp_path / "home"
    done = board.deploy("--events", str(home), "--json", "-")
    assert done.returncode == 0, done.stderr
    brought = json.loads(done.stdout)
    assert brought["new"] == brought["crops"] == len(list(home.glob("crops/*/*.jpg"))) > 0
    events = json.loads(imago("events", str(home), "--json", "-").stdout)
    assert events["n"] >= brought["crops"]
    again = json.loads(board.deploy("--events", str(home), "--json", "-").stdout)
    assert again["new"] == 0 and again["bytes"] < brought["bytes"]
    assert "0 releases" in board.deploy("--prune", "3").stdout


def _no_model(folder: Path) -> Path:
    path = folder / "no-model.onnx"
    path.write_bytes(b"no model")
    return path


def test_nothing_to_time_with(board: Board) -> None:
    with board.remote() as remote, pytest.raises(DeployError, match="nothing is deployed"):
        require_release(remote)


def test_a_board_with_a_key_takes_only_what_it_signed(board: Board, kit: Path, tmp_path: Path) -> None:
    """Unsigned, signed by a stranger, changed: refused, and nothing of it is kept. Then the right one."""
    for name in ("mine", "other"):
        minisign.write_keys(tmp_path / name, tmp_path / f"{name}.pub")
    trust = ("--offline", str(kit), "--trust", str(tmp_path / "mine.pub"), "--timeout", "60")
    path = tmp_path / "b.imago"
    bundle(path, board.web)
    done = board.deploy(str(path), *trust)
    assert done.returncode == 2 and "signed bundles only" in done.stderr
    bundle(path, board.web, sign=tmp_path / "other")
    done = board.deploy(str(path), *trust)
    assert done.returncode == 2 and "is signed with key" in done.stderr
    signed = Path(f"{path}.minisig").read_text()
    bundle(path, board.web, sign=tmp_path / "mine", seed=1)
    Path(f"{path}.minisig").write_text(signed)  # of another bundle
    assert board.deploy(str(path), *trust).returncode == 2
    assert not list(board.root.glob("releases/*"))
    bundle(path, board.web, sign=tmp_path / "mine")
    done = board.deploy(str(path), *trust)
    assert done.returncode == 0, done.stderr
    assert "takes signed bundles only" in board.deploy("--status").stdout


def test_a_board_without_a_camera_gets_a_warning(board: Board, kit: Path, tmp_path: Path) -> None:
    if list(Path("/sys/class/video4linux").glob("*")):
        pytest.skip("this machine has a camera")
    bundle(tmp_path / "a.imago", board.web, source="/dev/video0", realtime=False)
    done = board.deploy(str(tmp_path / "a.imago"), "--offline", str(kit))
    assert done.returncode == 0, done.stderr
    assert "no camera is plugged in" in done.stdout


def test_a_board_that_lacks_what_the_bundle_needs(board: Board, kit: Path, tmp_path: Path) -> None:
    bundle(tmp_path / "a.imago", board.web, features=("asimddp_of_2040",))
    done = board.deploy(str(tmp_path / "a.imago"), "--offline", str(kit))
    assert done.returncode == 1
    assert "asimddp_of_2040" in done.stderr and "nothing was changed" in done.stderr
    assert sorted(path.name for path in board.root.iterdir()) == ["envs"]


def refused(board: Board, *words: str, host: str = "board") -> str:
    """The one line of an error; nothing was put on the board."""
    done = board.deploy(*words, host=host)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("·")]
    assert len(lines) == 1 and "Traceback" not in done.stderr
    assert not list((board.root).glob("releases/*"))
    return lines[0]


def test_a_foreign_key_is_refused_in_one_line(board: Board) -> None:
    board.write_config(IdentityFile=str(board.folder / "stranger"))
    assert "refused the key or the password" in refused(board, "--status")


def test_another_host_key_is_refused_in_one_line(board: Board) -> None:
    board.know("stranger")
    assert "another host key" in refused(board, "--status")


def test_an_unknown_host_key_is_refused_in_one_line(board: Board) -> None:
    (board.folder / "known_hosts").write_text("")
    assert "is not known" in refused(board, "--status")


def test_nobody_there(board: Board) -> None:
    board.stop()
    assert "takes no ssh connections" in refused(board, "--status")


def test_a_name_cannot_become_an_option(board: Board) -> None:
    done = imago("deploy", "--", "-oProxyCommand=touch /tmp/imago-owned", "x.imago")
    assert done.returncode == 2 and "no board's address" in done.stderr


def test_no_python_on_the_board(board: Board) -> None:
    (board.folder / "bin" / "python3").unlink()
    (board.folder / "bin" / "python3").write_text("#!/bin/sh\necho 'sh: python3: not found' >&2\nexit 127\n")
    (board.folder / "bin" / "python3").chmod(0o755)
    assert "has no python3" in refused(board, "--status")


def test_an_old_python_on_the_board(board: Board) -> None:
    (board.folder / "bin" / "python3").unlink()
    fake = board.folder / "bin" / "python3"
    real = os.path.realpath("/proc/self/exe")
    fake.write_text(
        "#!/bin/sh\n# A real Python that takes itself for an older one.\n"
        f'[ "$2" = -c ] && shift 2 && code="$1" && shift && exec {real} -I -c '
        '"import sys; sys.version_info = (3, 9, 2, \'final\', 0)\n$code" "$@"\n'
    )
    fake.chmod(0o755)
    assert "has Python 3.9.2" in refused(board, "--status")


ARMHF = """#!/bin/sh
exec unshare --user --map-root-user --mount sh -c \
  'mount --rbind /proc "$0/proc" && exec chroot "$0" /qemu-arm-static /usr/bin/python3 "$@"' '{root}' "$@"
"""


@pytest.mark.slow
def test_a_32_bit_board(board: Board, kit: Path, tmp_path: Path) -> None:
    """A real armhf Debian, whose own Python runs the agent (by qemu)."""
    try:
        debian.need("mmdebstrap", "qemu-arm-static", "unshare")
    except debian.Unavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    root = tmp_path / "armhf"
    debian.extract(root, SUITES["bookworm"], ("base-files", "libc-bin", "python3"), arch="armhf", merged=True)
    shutil.copy(str(shutil.which("qemu-arm-static")), root)
    (root / "proc").mkdir(exist_ok=True)
    python = board.folder / "bin" / "python3"
    python.unlink()
    python.write_text(ARMHF.format(root=root))
    python.chmod(0o755)
    bundle(tmp_path / "a.imago", board.web)
    done = board.deploy(str(tmp_path / "a.imago"), "--offline", str(kit))
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("·")]
    assert len(lines) == 1 and "a 32-bit system (armv" in lines[0] and "nothing was changed" in lines[0]
    assert "write the 64-bit image of Raspberry Pi OS" in lines[0]
    assert not list(root.glob("opt/*")) and not list(board.root.glob("releases"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root for a small disk")
def test_no_space_on_the_board(board: Board, kit: Path, tmp_path: Path) -> None:
    """A real disk of 20 MB."""
    import subprocess

    bundle(tmp_path / "a.imago", board.web)
    (board.root / "envs").unlink()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(board.root)], check=True)
    try:
        done = board.deploy(str(tmp_path / "a.imago"), "--offline", str(kit))
        assert done.returncode == 1, done.stderr
        assert "are needed" in done.stderr and "nothing was changed" in done.stderr
        assert not list(board.root.iterdir())
    finally:
        subprocess.run(["umount", str(board.root)], check=True)

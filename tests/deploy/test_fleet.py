"""Two boards behind real sshd, updated by the real ansible-playbook; the table of what they run."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import kit_support
import push_support
from push_support import Board
from support import ROOT, imago

PROGRAMS = Path(sys.executable).parent


@dataclass
class Fleet:
    """A folder from ``imago fleet init`` with an inventory of two boards."""

    folder: Path
    boards: dict[str, Board]

    def write(self, **more: object) -> None:
        """The inventory; ``more`` are variables of the group."""
        group = {
            "ansible_python_interpreter": sys.executable,
            "ansible_become": False,
            "imago_systemd": False,
            "imago_timeout": 300,
            **more,
        }
        hosts = {name: facts(board) for name, board in self.boards.items()}
        (self.folder / "inventory.yml").write_text(json.dumps({"imago": {"hosts": hosts, "vars": group}}))

    def play(self, book: str, *flags: str) -> tuple[dict[str, dict[str, int]], str, int]:
        """Run a playbook: the recap by host, all it said, its exit code."""
        done = subprocess.run(
            [PROGRAMS / "ansible-playbook", "-i", "inventory.yml", book, *flags],
            cwd=self.folder,
            env={**environment(self.folder), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"},
            capture_output=True, text=True, timeout=1800, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        recap: dict[str, dict[str, int]] = {}
        for line in done.stdout.partition("PLAY RECAP")[2].splitlines():
            name, colon, facts = line.partition(":")
            if colon and "=" in facts:
                recap[name.strip()] = {
                    k: int(v) for k, _, v in (word.partition("=") for word in facts.split())
                }
        return recap, done.stdout + done.stderr, done.returncode

    def status(self, *flags: str) -> tuple[dict[str, dict[str, Any]], int]:
        """``imago fleet status`` by board, and its exit code."""
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        words = ("fleet", "status", str(self.folder / "inventory.yml"), "--json", "-")
        done = imago(*words, "--timeout", "120", *flags, env={**environment(self.folder), "PATH": path})
        assert done.stdout, done.stderr
        assert "Traceback" not in done.stderr
        return {row["name"]: row for row in json.loads(done.stdout)["boards"]}, done.returncode


def environment(folder: Path) -> dict[str, str]:
    """Ansible keeps to the test's folder."""
    return {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(folder / ".ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "IMAGO_LANG": "en",
    }


def facts(board: Board) -> dict[str, object]:
    """A board's variables in the inventory."""
    options = {
        "UserKnownHostsFile": board.folder / "known_hosts", "GlobalKnownHostsFile": os.devnull,
        "HostKeyAlias": "board", "IdentitiesOnly": "yes", "IdentityAgent": "none",
    }  # fmt: skip
    return {
        "ansible_host": "127.0.0.1",
        "ansible_port": board.port,
        "ansible_user": getpass.getuser(),
        "ansible_ssh_private_key_file": str(board.folder / "key"),
        "ansible_ssh_common_args": " ".join(f"-o {key}={value}" for key, value in options.items()),
        "ansible_remote_tmp": str(board.folder / "tmp"),
        "imago_python": str(board.folder / "bin" / "python3"),
        "imago_root": str(board.root),
        "imago_page": f"http://127.0.0.1:{board.web}",
    }


def bundle(fleet: Fleet, name: str, **more: Any) -> tuple[Path, str]:
    """A bundle in the fleet's folder, and its release; each board has its own port for the page."""
    path = fleet.folder / f"{name}.imago"
    return path, push_support.bundle(path, 8080, **more)


def running(rows: dict[str, dict[str, Any]]) -> set[tuple[str, str]]:
    """Releases without their environments, and how they are."""
    return {(row["release"].rpartition("-")[0], row["state"]) for row in rows.values()}


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two boards that have never seen imago; one environment serves both."""
    push_support.need_sshd()
    kit = kit_support.shared_kit(tmp_path_factory)
    base = tmp_path_factory.mktemp("f")
    (base / "envs").mkdir()
    done = imago("fleet", "init", str(base / "fleet"))
    assert done.returncode == 0, done.stderr
    shutil.copytree(kit, base / "fleet" / "kit")
    with ExitStack() as stack:
        boards = {name: Board(base / name) for name in ("trap-1", "trap-2")}
        for board in boards.values():
            stack.callback(board.close)
            board.root.mkdir()
            (board.root / "envs").symlink_to(base / "envs")
            (board.root / "board.json").write_text(json.dumps({"web": f"localhost:{board.web}"}))
            board.start()
        yield Fleet(base / "fleet", boards)


@pytest.mark.slow
def test_update_twice_break_and_take_back(fleet: Fleet) -> None:
    """The whole life of a fleet: first install, nothing to do, update, an update that fails, rollback."""
    kit, (first, first_release) = str(fleet.folder / "kit"), bundle(fleet, "first")
    fleet.write(imago_kit=kit, imago_bundle=str(first))
    nothing, code = fleet.status()
    assert (nothing["trap-1"]["state"], code) == ("unreachable", 1) or nothing["trap-1"]["state"] == "empty"

    recap, said, code = fleet.play("update.yml")
    assert code == 0, said
    assert {name: row["failed"] for name, row in recap.items()} == {"trap-1": 0, "trap-2": 0}
    rows, code = fleet.status("--expect", str(first))
    assert code == 0, rows
    assert running(rows) == {(first_release, "well")}
    assert all(row["frames"] > 0 for row in rows.values())

    recap, said, code = fleet.play("update.yml")
    assert code == 0, said
    assert [row["changed"] for row in recap.values()] == [0, 0], said

    second, second_release = bundle(fleet, "second", seed=1)
    fleet.write(imago_kit=kit, imago_bundle=str(second))
    rows, code = fleet.status("--expect", str(second))
    assert code == 1  # well, but not what was asked for
    assert not any(row["good"] for row in rows.values())
    assert fleet.play("update.yml")[2] == 0
    rows, code = fleet.status("--expect", str(second), "--via", "ssh")
    assert code == 0
    releases = {row["release"]: row["previous"] for row in rows.values()}
    assert len(releases) == 1

    bad, _ = bundle(fleet, "bad", seed=2, source="/nowhere/video.mp4")
    fleet.write(imago_kit=kit, imago_bundle=str(bad), imago_timeout=30)
    recap, said, code = fleet.play("update.yml")
    assert code != 0
    assert recap["trap-1"]["failed"] == 1
    assert "trap-2" not in recap, "the batch after a failure was begun"
    assert "does not work on the board" in said
    assert "runs again" in said
    rows, _ = fleet.status()
    assert running(rows) == {(second_release, "well")}

    recap, said, code = fleet.play("rollback.yml")
    assert code == 0, said
    rows, _ = fleet.status()
    assert running(rows) == {(first_release, "well")}
    wanted = next(iter(rows.values()))["release"]
    recap, said, code = fleet.play("rollback.yml", "-e", f"imago_release={wanted}")
    assert [row["changed"] for row in recap.values()] == [0, 0], said

    by_page, code = fleet.status("--via", "page")
    assert code == 0
    assert all(row["frames"] > 0 for row in by_page.values())
    fleet.boards["trap-2"].stop()
    rows, code = fleet.status("--timeout", "10")
    assert code == 1
    assert (rows["trap-1"]["state"], rows["trap-2"]["state"]) == ("well", "unreachable")
    assert "takes no ssh connections" in rows["trap-2"]["reason"]


def test_the_role_passes_the_linter(tmp_path: Path) -> None:
    done = imago("fleet", "init", str(tmp_path / "fleet"))
    assert done.returncode == 0, done.stderr
    again = imago("fleet", "init", str(tmp_path / "fleet"))
    assert again.returncode == 2
    assert "nothing was changed" in again.stderr
    assert {p.name for p in (tmp_path / "fleet").iterdir()} == {
        "inventory.yml", "roles", "rollback.yml", "update.yml",
    }  # fmt: skip
    lint = subprocess.run(
        [PROGRAMS / "ansible-lint", "--profile", "production", "--offline", "--strict", "--nocolor"],
        cwd=tmp_path / "fleet",
        env={**environment(tmp_path), "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert lint.returncode == 0, lint.stdout + lint.stderr
    assert "0 failure(s), 0 warning(s)" in lint.stderr + lint.stdout


def test_the_example_inventory_names_the_boards(tmp_path: Path) -> None:
    from imago.deploy.fleet.inventory import read_inventory

    boards = read_inventory(ROOT / "deploy" / "ansible" / "inventory.yml")
    assert [b.name for b in boards] == ["roof-1", "roof-2", "roof-3", "trap-1", "trap-2"]
    assert {b.address for b in boards} >= {"pi@roof-1", "pi@trap-1.local", "pi@192.168.1.42"}
    assert [b.name for b in read_inventory(ROOT / "deploy/ansible/inventory.yml", "meadow")] == [
        "trap-1",
        "trap-2",
    ]

"""What the emulated board is built with: the cache, module order, splitting of the command line."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from emulation import debian
from emulation.cache import cached
from emulation.initrd import load_order
from support import ROOT


def test_built_once_for_the_same_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_BOARD_CACHE", str(tmp_path))
    built: list[int] = []

    def build(work: Path) -> None:
        assert not list(work.iterdir()), "the rest of a killed build"
        (work / "file").write_text("x")
        built.append(1)
        if len(built) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("thing", ["a"], build)
    first = cached("thing", ["a"], build)
    assert cached("thing", ["a"], build) == first
    other = cached("thing", ["b"], build)
    assert len(built) == 3
    assert other != first
    assert not first.exists()  # only the newest is kept
    assert (other / "file").exists()


def test_modules_load_after_what_they_need(tmp_path: Path) -> None:
    lines = (
        "k/ext4.ko.xz: k/jbd2.ko.xz k/crc.ko.xz",
        "k/jbd2.ko.xz:",
        "k/crc.ko.xz:",
        "k/9p.ko: k/9pnet.ko",
        "k/9pnet.ko:",
    )
    (tmp_path / "modules.dep").write_text("\n".join(lines))
    order = load_order(tmp_path, ["ext4", "built_in", "9p"])
    assert order == ["k/crc.ko.xz", "k/jbd2.ko.xz", "k/ext4.ko.xz", "k/9pnet.ko", "k/9p.ko"]


@pytest.mark.parametrize(
    ("words", "own", "command"),
    [
        ("run imago run m.onnx --source x", "run", "imago run m.onnx --source x"),
        ("run --board pi5 --suite bookworm python3 -c 1", "run --board pi5 --suite bookworm", "python3 -c 1"),
        ("test --all -k doctor", "test", "--all -k doctor"),
        ("needs --all", "needs", "--all"),
    ],
)
def test_our_own_words_come_first(words: str, own: str, command: str) -> None:
    loader = importlib.machinery.SourceFileLoader("board_script", str(ROOT / "scripts" / "board"))
    spec = importlib.util.spec_from_loader("board_script", loader)
    assert spec is not None
    script: Any = importlib.util.module_from_spec(spec)
    loader.exec_module(script)
    assert script.split(words.split()) == (own.split(), command.split())


def test_what_is_missing_is_one_line_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(debian, "PATH", str(tmp_path))
    with pytest.raises(debian.Unavailable, match=r"sudo apt install mmdebstrap qemu-user-static util-linux$"):
        debian.need(*debian.USERLAND)
    (tmp_path / "unshare").touch(mode=0o755)
    assert debian.missing(*debian.COUNTING) == [
        "mmdebstrap", "qemu-user-static", "qemu-user", "gcc libc6-dev",
    ]  # fmt: skip

"""Cut at every step: the line, and the power. A working release is left, and the next push goes on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from imago.deploy.push.ssh import LineBroken
from imago.edge_runtime.errors import DeployError

from push_support import Board, Wire, bundle

STEPS = ("examining", "sending", "putting", "checking", "switching", "waiting")
LATE = ("checking", "switching", "waiting")
ALWAYS = ("waiting",)
CALLED = {"examining": "plan", "sending": "receive"}  # the agent's commands


@pytest.fixture
def running(board: Board, kit: Path, tmp_path: Path) -> str:
    """A board that runs a first release; its name."""
    bundle(tmp_path / "a.imago", board.web)
    return str(board.push(tmp_path / "a.imago", kit).result["release"])


def some(steps: tuple[str, ...]) -> list[object]:
    """All of them with --all, the most delicate ones always."""
    return [s if s in ALWAYS else pytest.param(s, marks=pytest.mark.slow) for s in steps]


@pytest.mark.parametrize("step", some(LATE))
def test_the_line_breaks_at_every_step(
    board: Board, kit: Path, tmp_path: Path, running: str, step: str
) -> None:
    """The board finishes what it was told, without anybody at the other end."""
    wire = Wire(board.port)
    board.write_config(Port=str(wire.port))
    name = bundle(tmp_path / "b.imago", board.web, seed=1)
    try:
        with pytest.raises(LineBroken, match="goes on"):
            board.push(tmp_path / "b.imago", kit, lambda text: step in text and wire.cut())
    finally:
        wire.close()
    assert board.settled()["current"]["release"].startswith(name)


def test_an_upload_goes_on_where_it_was_cut(board: Board, kit: Path, tmp_path: Path, running: str) -> None:
    wire = Wire(board.port)
    board.write_config(Port=str(wire.port))
    said: list[str] = []
    try:
        name = bundle(tmp_path / "b.imago", board.web, seed=1)
        wire.cut_after = 170_000  # in the middle of the model
        pushed = board.push(tmp_path / "b.imago", kit, said.append)
    finally:
        wire.close()
    assert any("going on" in text for text in said)
    size = (tmp_path / "m1.onnx").stat().st_size
    assert 0 < pushed.sent < size  # the second time, only the rest
    assert str(pushed.result["release"]).startswith(name)


@pytest.mark.parametrize("step", some(STEPS))
def test_the_power_fails_at_every_step(
    board: Board, kit: Path, tmp_path: Path, running: str, step: str
) -> None:
    """All processes of the board die at once, and its line; after the boot one of the releases works."""
    name = bundle(tmp_path / "b.imago", board.web, seed=1)
    wire = Wire(board.port)
    board.write_config(Port=str(wire.port))

    failing: list[threading.Thread] = []

    def fail() -> None:
        board.power_off()
        wire.close()

    def say(text: str) -> None:
        if step not in text:
            return
        if step in CALLED:  # said on the PC, before the board hears of it
            failing.append(threading.Thread(target=lambda: board.wait_for(CALLED[step]) and fail()))
            failing[-1].start()
        else:
            fail()

    with pytest.raises(DeployError):
        board.push(tmp_path / "b.imago", kit, say)
        pytest.fail("the power did not fail")
    for thread in failing:
        thread.join()
    board.write_config()
    current = board.power_on()["current"]["release"]
    assert current == running  # nobody saw the new one work: it does not stay
    assert str(board.push(tmp_path / "b.imago", kit).result["release"]).startswith(name)
    assert board.settled()["previous"]["release"] == running

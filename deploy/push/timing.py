"""Timing model files on a board over ssh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from imago.deploy.push.remote import Remote
from imago.edge_runtime.bundle.archive import sha256_of
from imago.edge_runtime.errors import DeployError
from imago.edge_runtime.messages import tr

PIECE = 1 << 17


def require_release(remote: Remote) -> None:
    """Raises DeployError where the board has no release that could bring an engine."""
    if not remote.command("status").result.get("current"):
        raise DeployError("nothing is deployed on this board yet; push a bundle first: it brings the engine")


def times_on(remote: Remote, files: Sequence[Path], runs: int) -> list[float]:
    """p50 of the engine alone on the board, in µs, one thread, for each of ``files`` (.onnx, .tflite).

    Each is called in turns with the first. The board must run a release, whose environment brings the
    engine; its service pauses meanwhile. Raises DeployError.
    """
    known = {sha256_of(path): path for path in files}  # the same file twice is sent once
    items = [f"{sha}:{path.stat().st_size}" for sha, path in known.items()]
    total = sum(path.stat().st_size for path in known.values())
    remote.say(tr("sending {size:.1f} MB", size=total / 1e6))
    remote.command("receive", "--items", *(f"{item}:0" for item in items), payload=_pieces([*known.values()]))
    order = [f"{sha256_of(path)}:{path.stat().st_size}:{path.suffix[1:]}" for path in files]
    answer = remote.command("time", "--runs", str(runs), "--items", *order)
    found = answer.result.get("p50_us")
    if not isinstance(found, list) or len(found) != len(files):
        raise DeployError("the agent on {host} failed: {reason}", host=remote.ssh.target.host, reason="time")
    return [float(value) for value in found]


def _pieces(files: Sequence[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

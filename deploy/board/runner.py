"""What the service is: ``imago run`` of the current release's own environment, on the release's folder."""

from __future__ import annotations

import os
from typing import NoReturn

from imago.deploy.board.envs import python_of
from imago.deploy.board.layout import Root
from imago.edge_runtime.bundle.settings import RunSettings
from imago.edge_runtime.errors import DeployError
from imago.edge_runtime.web.address import Address

DEFAULT_WEB = "localhost:8080"  # where nobody asked for a page: the health check needs one
RECORDS = "records"  # in state/, where the service stands


def command(root: Root) -> list[str]:
    """The words of the service's process. Raises DeployError where nothing is deployed."""
    name = root.current
    if name is None:
        raise DeployError("nothing is deployed on this board yet")
    folder = root.release(name).resolve()
    board = root.board_settings()
    if root.settings(name).web is None:
        board = board.merged(RunSettings(web=DEFAULT_WEB))
    words = [str(python_of(folder / "env")), "-I", "-m", "imago.cli.main", "run", str(folder), "--quiet"]
    words += board.arguments(records=RECORDS)
    if (root / "state" / "mqtt-credentials").is_file():
        words += ["--mqtt-credentials", "mqtt-credentials"]
    return words


def page(root: Root, name: str) -> Address:
    """Where the release ``name`` shows its page."""
    return Address.parse(root.settings(name).web or DEFAULT_WEB)


def environment() -> dict[str, str]:
    """Few, quiet threads from the first import on; a home that can be written to."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "GOMP_SPINCOUNT": "100"}


def become(root: Root) -> NoReturn:
    """Turn this process into the service: its number stays, which systemd watches."""
    words = command(root)
    os.chdir(root / "state")
    os.execve(words[0], words, environment())  # noqa: S606  argument list, no shell

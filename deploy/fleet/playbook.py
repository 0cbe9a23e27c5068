"""The Ansible playbook and role that come with imago, put into a folder of the user's."""

from __future__ import annotations

import shutil
from pathlib import Path

from imago.deploy.agent import write_agent
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import replacing

SOURCE = Path(__file__).parents[1] / "ansible"
AGENT = "roles/imago/files/agent.pyz"


def write_playbook(folder: Path) -> list[str]:
    """Make the new folder ``folder``; the names of its files. Raises InputError where something is there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("{path} exists; nothing was changed: choose a new folder", path=folder)
    with replacing(folder) as temporary:
        shutil.copytree(SOURCE, temporary, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        write_agent(temporary / AGENT)
        if folder.is_dir():
            folder.rmdir()  # it is empty
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

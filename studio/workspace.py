"""The workspace: one folder with everything that a class makes.

studio.json   the choices so far        data/NAME/   sets of pictures
runs/NAME/    training runs             jobs/NUMBER/ what was asked for, how far it is, its log
.incoming/    uploads on their way      .lock        held by the one studio that uses the folder
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path

from imago.edge_runtime.errors import InputError, StorageError

MAX_NAME = 60
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}
)


def safe_name(text: str) -> str:
    """A file name for what somebody typed: any language, no way out of a folder, fit for Windows too.

    Raises InputError where nothing is left.
    """
    plain = unicodedata.normalize("NFC", text)
    plain = "".join(c for c in plain if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    plain = FORBIDDEN.sub("-", plain).strip(" .")[:MAX_NAME].strip(" .")
    if not plain or plain.split(".")[0].lower() in RESERVED:
        raise InputError("'{text}' is no name; use letters, digits and spaces", text=text[:MAX_NAME])
    return plain


class Workspace:
    """Paths below one folder, made when it is opened. Raises StorageError where that cannot be written."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        try:
            for folder in (self.data, self.runs, self.jobs):
                folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.incoming, ignore_errors=True)  # uploads that a crash left behind
            self.incoming.mkdir()
        except OSError as error:
            raise StorageError(
                "cannot write {path}: {reason}; free some space or choose another place",
                path=root,
                reason=error.strerror or error,
            ) from error

    @property
    def choices(self) -> Path:
        """The file of ``Choices``."""
        return self.root / "studio.json"

    @property
    def data(self) -> Path:
        """The folder of data sets."""
        return self.root / "data"

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.root / "runs"

    @property
    def jobs(self) -> Path:
        """The folder of jobs."""
        return self.root / "jobs"

    @property
    def incoming(self) -> Path:
        """Where uploads grow, on the same disk as their goal."""
        return self.root / ".incoming"

    def run(self, name: str) -> Path:
        """The folder of a run. Raises InputError for what is no plain name."""
        return self.runs / plain(name)

    def free_run(self, wanted: str) -> Path:
        """``runs/wanted``, or the first of ``wanted-2``, ``wanted-3`` … that does not exist."""
        return free(self.runs / safe_name(wanted))

    def inside(self, relative: str) -> Path:
        """A path below the workspace. Raises InputError where it leads elsewhere."""
        path = (self.root / relative).resolve()
        if not relative or not path.is_relative_to(self.root.resolve()):
            raise InputError("{path} is not in the workspace", path=relative)
        return path


def plain(name: str) -> str:
    """``name`` itself, if it is the name of one file or folder and nothing else. Raises InputError."""
    if name in ("", ".", "..") or FORBIDDEN.search(name) or name.startswith("."):
        raise InputError("'{text}' is no name; use letters, digits and spaces", text=name[:MAX_NAME])
    return name


def free(wanted: Path) -> Path:
    """``wanted``, or the first of ``wanted-2``, ``wanted-3`` … that does not exist."""
    number, path = 1, wanted
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path

"""The board's program as one file: ``python -m imago.deploy.agent agent.pyz`` writes it.

A zip archive that Python runs (PEP 441), made from ``deploy/board`` and the modules of ``edge_runtime`` that
it uses; standard library only, for Python 3.11 and newer.
The same modules, so that a bundle or a doctor's word
is read in one way on both sides.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from functools import cache
from pathlib import Path

from imago.edge_runtime.files import replacing

HERE = Path(__file__).parent
RUNTIME = (
    "__init__.py", "errors.py", "files.py", "fresh.py", "messages.py", "places.py", "system.py",
    "bundle/*.py", "doctor/*.py", "records/schema.py", "web/address.py",
    "locale/zh.core.json", "locale/zh.doctor.json", "locale/zh.deploy.json", "locale/zh.web.json",
)  # fmt: skip
DATE = (1980, 1, 1, 0, 0, 0)
MAIN = "import sys\nfrom imago.deploy.board.main import main\nsys.exit(main())\n"


@cache
def agent_bytes() -> bytes:
    """The file's content; the same for the same imago."""
    runtime = HERE.parent / "edge_runtime"
    files = {f"imago/deploy/board/{path.name}": path for path in sorted((HERE / "board").glob("*.py"))}
    for pattern in RUNTIME:
        for path in sorted(runtime.glob(pattern)):
            files[f"imago/edge_runtime/{path.relative_to(runtime).as_posix()}"] = path
    folders = {f"{parent.as_posix()}/" for name in files for parent in list(Path(name).parents)[:-1]}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(_entry("__main__.py"), MAIN)
        for name in sorted(folders):  # without them, a namespace is not seen in an archive
            archive.writestr(_entry(name), b"")
        for name, path in sorted(files.items()):
            archive.writestr(_entry(name), path.read_bytes())
    return out.getvalue()


def agent_digest() -> str:
    """SHA-256 of ``agent_bytes``."""
    return hashlib.sha256(agent_bytes()).hexdigest()


def write_agent(target: Path) -> None:
    """Write it to ``target`` (agent.pyz)."""
    with replacing(target) as temporary:
        temporary.write_bytes(agent_bytes())
        temporary.chmod(0o755)


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, DATE)
    info.create_system, info.external_attr = 3, (0o40755 if name.endswith("/") else 0o100644) << 16
    info.compress_type = zipfile.ZIP_STORED if name.endswith("/") else zipfile.ZIP_DEFLATED
    return info


if __name__ == "__main__":
    write_agent(Path(sys.argv[1] if len(sys.argv) > 1 else "agent.pyz"))

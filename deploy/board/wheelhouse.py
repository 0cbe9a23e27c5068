"""A kit's packages in a folder; also asked on PCs that are no Unix."""

from __future__ import annotations

from pathlib import Path

from imago.edge_runtime.errors import DeployError


def wheels_in(folder: Path) -> dict[str, Path]:
    """Wheels by name, in a folder or in the ``wheels`` folder of a kit. Raises DeployError where are none."""
    found = {path.name: path for path in sorted([*folder.glob("*.whl"), *folder.glob("wheels/*.whl")])}
    if not found:
        raise DeployError("no wheels in {path}; make a kit: imago kit", path=folder)
    return found


def debs_in(folder: Path) -> dict[str, Path]:
    """Debian packages of a kit by name; most kits have none."""
    return {path.name: path for path in sorted(folder.glob("debs/*.deb"))}

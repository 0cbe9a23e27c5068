"""What a push brings, as the PC has said it; kept between ``plan`` and ``apply``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from imago.deploy.board import envs
from imago.deploy.board.debs import Deb
from imago.deploy.board.layout import Root, read_json
from imago.deploy.board.releases import Item
from imago.edge_runtime.bundle.manifest import Manifest
from imago.edge_runtime.errors import DeployError, InputError

FILE = "job.json"


@dataclass(frozen=True, slots=True)
class Job:
    """wheels, debs: file name → what is in it. trust: a public key's text."""

    manifest: Manifest
    signature: str | None
    wheels: dict[str, Item]
    debs: dict[str, Item]
    online: bool
    trust: str | None

    @classmethod
    def of(cls, data: Any) -> Job:
        """Raises InputError where it is not what ``imago deploy`` sends."""
        try:
            manifest = Manifest.from_bytes(data["manifest"].encode())
            wheels, debs = (_items(data[name]) for name in ("wheels", "debs"))
            for name in debs:
                Deb.of(name)
            signature, trust = (data[k] if isinstance(data[k], str) else None for k in ("signature", "trust"))
            return cls(manifest, signature, wheels, debs, bool(data["online"]), trust)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError("the plan cannot be read ({reason})", reason=error) from error

    @classmethod
    def parse(cls, text: bytes) -> tuple[Job, Any]:
        """The job, and the data that ``kept`` wants to find."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InputError("the plan cannot be read ({reason})", reason=error) from error
        return cls.of(data), data

    @classmethod
    def kept(cls, root: Root) -> Job:
        """What ``plan`` was told last. Raises DeployError where that is nothing."""
        data = read_json(root / "incoming" / FILE)
        if not isinstance(data, dict):
            raise DeployError("nothing was pushed to this board that could be applied; push again")
        return cls.of(data)

    def wanted(self) -> envs.Wanted:
        """The environment that it asks for."""
        wheels = {name: item.sha256 for name, item in self.wheels.items()}
        return envs.Wanted(wheels, self.manifest.extras, self.online)

    def members(self) -> list[Item]:
        """The bundle's members."""
        return [Item(m.sha256, m.size) for m in self.manifest.members.values()]


def _items(rows: Iterable[Any]) -> dict[str, Item]:
    return {str(name): Item(str(sha256), int(size)) for name, sha256, size in rows}

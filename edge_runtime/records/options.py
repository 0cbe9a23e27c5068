"""What records may cost: the one source of the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from imago.edge_runtime.errors import InputError

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Bounds of a records folder, in bytes of 10⁶ per MB.

    quota_mb: all crops together; the oldest go first. reserve_mb: of the disk stays free for the
    database and the system; crops make room for it. crops_mb_per_hour: written at most, averaged (an SD
    card wears out); events beyond it are kept without their crop. quality, max_side: of the crops' JPEG.
    """

    quota_mb: float = 1000
    reserve_mb: float = 100
    crops_mb_per_hour: float = 100
    quality: int = 90
    max_side: int = 1024

    def __post_init__(self) -> None:
        for name in ("quota_mb", "reserve_mb", "crops_mb_per_hour"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(
                    "{name} {value} is not usable; expected {lowest} or more",
                    name=name,
                    value=value,
                    lowest=0,
                )

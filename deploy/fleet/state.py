"""What is known of a board: one row of the fleet's table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

WELL, NOT_WELL, STOPPED, EMPTY, AWAY = "well", "not well", "not running", "empty", "unreachable"


@dataclass(frozen=True, slots=True)
class BoardState:
    """state: one of the words above. release, bundle, imago: what runs, as far as the way of asking tells.

    last_frame_s: seconds since the last frame. reason: why it is away or not well, for people.
    """

    name: str
    state: str
    bundle: str | None = None
    release: str | None = None
    imago: str | None = None
    frames: int | None = None
    last_frame_s: float | None = None
    previous: str | None = None
    reason: str = ""

    def fits(self, wanted: str | None) -> bool:
        """Whether nothing else than ``wanted`` (a bundle's release) is known to run here."""
        return wanted is None or self.release is None or self.release.startswith(f"{wanted}-")

    def good(self, wanted: str | None = None) -> bool:
        """Well, and running what is wanted."""
        return self.state == WELL and self.fits(wanted)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def from_agent(name: str, facts: Any) -> BoardState:
    """From the agent's ``status`` (deploy/board/update.py)."""
    current, health = facts.get("current") or {}, facts.get("health") or {}
    if not current:
        return BoardState(name, EMPTY)
    running = bool(facts.get("running"))
    well = running and health.get("status") == 200
    return BoardState(
        name,
        WELL if well else NOT_WELL if running else STOPPED,
        bundle=_text(current.get("name")),
        release=_text(current.get("release")),
        imago=_text(current.get("imago")),
        frames=_number(health.get("frames")),
        last_frame_s=health.get("last_frame_s")
        if isinstance(health.get("last_frame_s"), int | float)
        else None,
        previous=_text((facts.get("previous") or {}).get("release")),
        reason="" if well else _text(facts.get("state")) or "",
    )


def away(name: str, reason: object) -> BoardState:
    """It could not be asked."""
    return BoardState(name, AWAY, reason=plain(str(reason)))


def plain(text: str) -> str:
    """A board's words cannot move the cursor of the one who reads them."""
    return "".join(c if c.isprintable() else " " for c in text)[:500]


def _text(value: object) -> str | None:
    return None if value is None else plain(str(value))


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None

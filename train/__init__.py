"""Training on a PC. ``from imago.train import Net`` puts a network together, ``train`` trains it.

The names below are imported when they are asked for: importing one light module of this room loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imago.train.config import TrainConfig
    from imago.train.models.builder import Net

_HOME = {"Net": "models.builder", "TrainConfig": "config"}

__all__ = ["Net", "TrainConfig"]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)

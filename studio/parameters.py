"""The training parameters of the page, and the ``TrainConfig`` that they make.

Defaults and limits are those of ``TrainConfig``; a value that it refuses is refused here, with its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import FITS
from imago.studio.parameter import Parameter, plain_number
from imago.studio.parameters_advanced import advanced
from imago.studio.parameters_basic import basic
from imago.train.config import TrainConfig
from imago.train.dataset import DataOptions
from imago.train.models.catalogue import MODELS

# What a run that is started from brings along.
INHERITED = ("pretrained", "size", "width_mult", "stem", "fit")

__all__ = [
    "Parameter",
    "advanced",
    "basic",
    "changed",
    "config_from",
    "default",
    "find",
    "not_for",
    "plain_number",
]


def not_for(parameter: Parameter, model: str) -> str:
    """Why the network has no use for this field; "" where it has."""
    info = MODELS.get(model)
    if info is None:
        return ""
    has = {"pretrained": info.pretrained, "width_mult": info.scalable, "stem": bool(info.halvings)}
    if parameter.name == "grow" and not info.builder:
        return tr("{model} takes pictures of one size only", model=model)
    return "" if has.get(parameter.name, True) else tr("{model} has none", model=model)


def find(name: str) -> Parameter:
    """The parameter of this name. Raises KeyError."""
    return {p.name: p for p in (*basic(), *advanced())}[name]


def default(name: str) -> Any:
    """What applies where nothing was chosen."""
    if name.startswith("data."):
        return getattr(DataOptions(), name.removeprefix("data."))
    value = getattr(TrainConfig(), name)
    return FITS[0] if name == "fit" and value is None else value


def config_from(model: str, chosen: Mapping[str, Any], runs: Path = Path("runs")) -> TrainConfig:
    """``TrainConfig`` from what the page has kept; ``runs``: the folder of the workspace's runs.

    Raises InputError where values contradict each other.
    """
    if chosen.get("init"):
        for name in INHERITED:
            if name in chosen:
                raise InputError(
                    "{label}: the run that you start from decides that; go back to the default, or start "
                    "from no run",
                    label=find(name).label,
                )
    values: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for parameter in (*basic(), *advanced()):
        if parameter.name not in chosen:
            continue
        value = parameter.read(chosen[parameter.name])
        if parameter.kind == "run":
            value = runs / value if value else None
        if parameter.name.startswith("data."):
            data[parameter.name.removeprefix("data.")] = value
        else:
            values[parameter.name] = value
    return TrainConfig(model=model, data=DataOptions(**data), **values)


def changed(chosen: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """``chosen`` with one more value; what equals the default is not kept. Raises InputError."""
    checked = find(name).read(value)
    kept = {key: old for key, old in chosen.items() if key != name}
    if checked != default(name):
        kept[name] = checked
    return kept

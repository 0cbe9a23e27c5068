"""Networks of the workspace: what the builder has on its table, and those that were given a name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imago.edge_runtime.errors import ImagoError, InputError
from imago.studio.choices import Memory
from imago.studio.workspace import Workspace, plain, safe_name
from imago.train.config import TrainConfig
from imago.train.models.blocks import Inception, Residual
from imago.train.models.layers import (
    AvgPool,
    BatchNorm,
    Conv2D,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    ReLU,
    Softmax,
)
from imago.train.models.plan import NET, Plan, read_plan

NOTE = "/lab/builder"  # under which the memory keeps the network on the table
FOLDER = "nets"

LENET = Plan(
    (1, 32, 32),
    (
        Conv2D(6, 5, activation="relu"),
        MaxPool(2),
        Conv2D(16, 5, activation="relu"),
        MaxPool(2),
        Conv2D(120, 5, activation="relu"),
        Linear(84, "relu"),
        Linear(None, "softmax"),
    ),
    "my-lenet",
)
# Places to begin; the keys are names of the catalogue.
TEMPLATES: dict[str, Plan] = {
    "LeNet-5": LENET,
    "fully connected": Plan(
        (1, 32, 32), (Flatten(), Linear(64, "relu"), Linear(None, "softmax")), "my-dense"
    ),
    "residual blocks": Plan(
        (3, 32, 32),
        (
            Conv2D(16, 3, padding=1, activation="relu"),
            Residual(16),
            Residual(32, stride=2),
            Residual(64, stride=2),
            GlobalAvgPool(),
            Linear(None, "softmax"),
        ),
        "my-resnet",
    ),
    "Inception blocks": Plan(
        (3, 32, 32),
        (
            Conv2D(16, 3, padding=1, activation="relu"),
            MaxPool(2),
            Inception(32),
            MaxPool(2),
            Inception(64),
            GlobalAvgPool(),
            Linear(None, "softmax"),
        ),
        "my-inception",
    ),
}
# What a button puts in; sensible first values.
FRESH: tuple[Layer, ...] = (
    Conv2D(16, 3, activation="relu"),
    MaxPool(2),
    AvgPool(2),
    GlobalAvgPool(),
    BatchNorm(),
    Dropout(0.25),
    ReLU(),
    Flatten(),
    Linear(64, "relu"),
    Residual(16),
    Inception(32),
    Softmax(),
)


def on_the_table(memory: Memory) -> Plan:
    """The network that the builder shows: the last one, or LeNet-5."""
    try:
        return Plan.from_dict(memory.now.notes.get(NOTE))
    except ImagoError:
        return LENET


def put(memory: Memory, plan: Plan) -> None:
    """Keep what the builder shows, whether it fits or not."""
    memory.note(NOTE, plan.to_dict())


def inserted(plan: Plan, layer: Layer) -> tuple[Plan, int]:
    """With one layer more, before the last Linear where there is one; and the new layer's index."""
    layers = list(plan.layers)
    ending = isinstance(layer, Softmax) or plan.head is None
    place = len(layers) if ending else plan.head or 0
    layers.insert(place, layer)
    return replace(plan, layers=tuple(layers)), place


def moved(plan: Plan, index: int, by: int) -> Plan:
    """With a layer further to the output (``by`` 1) or the input (-1)."""
    layers = list(plan.layers)
    to = min(len(layers) - 1, max(0, index + by))
    layers.insert(to, layers.pop(index))
    return replace(plan, layers=tuple(layers))


def removed(plan: Plan, index: int) -> Plan:
    """Without one layer."""
    return replace(plan, layers=plan.layers[:index] + plan.layers[index + 1 :])


def changed(plan: Plan, index: int, **values: object) -> Plan:
    """With other settings of one layer. Raises LayerError for values out of range."""
    layers = list(plan.layers)
    layers[index] = replace(layers[index], **values)
    return replace(plan, layers=tuple(layers))


def save(workspace: Workspace, plan: Plan) -> str:
    """Keep a network that fits under its name; returns what ``Choices.model`` calls it.

    Raises InputError where its layers do not fit.
    """
    plan.require()
    plan = replace(plan, name=safe_name(plan.name))
    plan.save(workspace.root / FOLDER / f"{plan.name}.json")
    return NET + plan.name


def saved(workspace: Workspace) -> list[Plan]:
    """By name; files that are no networks are left out."""
    found = []
    for path in sorted((workspace.root / FOLDER).glob("*.json")):
        try:
            found.append(read_plan(path))
        except ImagoError:
            continue
    return found


def with_net(workspace: Workspace, config: TrainConfig) -> TrainConfig:
    """``config`` with its network filled in, where ``model`` names one of the workspace's own.

    Raises InputError where there is none of that name, or where it decides what the parameters decide.
    """
    if not config.model.startswith(NET) or config.net is not None:
        return config
    name = config.model.removeprefix(NET)
    path = workspace.root / FOLDER / f"{plain(name)}.json"
    if not Path(path).is_file():
        raise InputError("there is no network {name} of your own any more; build it again", name=name)
    return replace(config, net=read_plan(path))

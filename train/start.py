"""Where a training starts: a network by name, or the network and weights of a finished run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import InputSpec
from imago.train.batches import seed_of
from imago.train.config import TrainConfig
from imago.train.dataset import Dataset
from imago.train.lineage import Ancestor, known_as, open_ancestor, other_pictures, require_same
from imago.train.models.catalogue import TIMM
from imago.train.models.plan import Plan, config_of
from imago.train.models.registry import (
    BuiltModel,
    ModelConfig,
    blocks_of,
    build_from_config,
    build_model,
    default_input,
)
from imago.train.models.weights import fit_weights
from imago.train.run import Run


@dataclass(frozen=True, slots=True)
class Start:
    """A network before its first step.

    config: with all that the network decides filled in. fresh: it learned nothing before, so it may take
    its mean and std from the pictures. pruning, init: of the run it starts from. notes: for the user.
    """

    config: TrainConfig
    built: BuiltModel
    input: InputSpec
    fresh: bool
    pruning: dict[str, Any] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def start(config: TrainConfig, dataset: Dataset, begun: Run | None, *, stepped: bool) -> Start:
    """The network that ``config`` asks for.

    begun: the interrupted run that goes on, if any; stepped: whether it has a checkpoint, which replaces
    the weights made here, so that the run named by ``init`` is not needed any more. Raises InputError.
    """
    torch.manual_seed(seed_of(config.seed, 0))
    if config.net is not None:
        return _by_plan(config, config.net, len(dataset.classes))
    if config.init is None:
        return _by_name(config, len(dataset.classes))
    if begun is not None and stepped:
        return _as_begun(begun)
    ancestor = open_ancestor(config.init)
    if begun is not None:
        require_same(ancestor, begun.lineage.get("init", {}))
    return _from_run(config, ancestor, dataset)


def _by_name(config: TrainConfig, classes: int) -> Start:
    width, height, channels, color = default_input(config.model)
    if config.size:
        width = height = config.size
    built = build_model(
        config.model,
        classes,
        channels=channels,
        size=(width, height),
        pretrained=config.pretrained,
        weights=config.weights,
        stem=config.stem,
        width_mult=config.width_mult or 1.0,
    )
    fit = config.fit or "center-crop"
    config = replace(config, fit=fit, width_mult=built.config.width_mult)
    spec = InputSpec(width, height, channels, color, fit=fit)
    return Start(config, built, spec, not (config.pretrained or config.weights), notes=built.notes)


def _by_plan(config: TrainConfig, plan: Plan, classes: int) -> Start:
    built = build_from_config(config_of(plan, classes))
    channels, height, width = plan.input
    fit = config.fit or "center-crop"
    spec = InputSpec(width, height, channels, "gray" if channels == 1 else "rgb", fit=fit)
    return Start(replace(config, fit=fit), built, spec, True)


def _as_begun(run: Run) -> Start:
    """The network of a run that began with ``init``, without that run; the checkpoint holds its weights."""
    built = build_from_config(ModelConfig.from_dict(run.model))
    _quick(built)
    built = replace(built, mean=run.mean, std=run.std)
    return Start(run.config, built, run.input, False, run.pruning, run.lineage.get("init", {}))


def _from_run(config: TrainConfig, ancestor: Ancestor, dataset: Dataset) -> Start:
    run, model = ancestor.run, ModelConfig.from_dict(ancestor.run.model)
    _check_flags(config, ancestor, model)
    notes = [tr("starts from {run}", run=known_as(ancestor)), *other_pictures(ancestor, dataset)]
    if config.stem is not None and config.stem != model.stem:  # the weights have the same shapes
        notes.append(tr("--stem {stem}, where that run has {own}", stem=config.stem, own=model.stem))
        model = replace(model, stem=config.stem)
        run = replace(run, model=model.to_dict())
    module = run.load_module(ancestor.folder)
    if run.classes == dataset.classes:
        built = BuiltModel(module, model, run.mean, run.std, tuple(blocks_of(module)))
    else:
        built = build_from_config(replace(model, num_classes=len(dataset.classes)))
        built = replace(built, mean=run.mean, std=run.std)
        head = _head(built)
        kept = {k: v for k, v in module.state_dict().items() if not k.startswith(f"{head}.")}
        notes += fit_weights(built.module, kept, head=head, source=str(ancestor.folder))
    _quick(built)
    square = run.input.width == run.input.height
    config = replace(
        config,
        init=ancestor.folder,
        model=model.name,
        width_mult=model.width_mult,
        size=run.input.width if square else 0,
        stem=model.stem,
        fit=run.input.fit,
    )
    return Start(config, built, run.input, False, run.pruning, ancestor.facts, tuple(notes))


def _check_flags(config: TrainConfig, ancestor: Ancestor, model: ModelConfig) -> None:
    """What the finished run decides cannot be given otherwise. Raises InputError."""
    spec = ancestor.run.input
    pairs = {
        "model": (config.model or model.name, model.name),
        "width": (config.width_mult or model.width_mult, model.width_mult),
        "size": (config.size or spec.width, spec.width),
        "fit": (config.fit or spec.fit, spec.fit),
    }
    for flag, (given, own) in pairs.items():
        if given != own:
            raise InputError(
                "--{flag} {given}: the run {path} that --init names has {own}; leave out --{flag}",
                flag=flag,
                given=given,
                path=ancestor.folder,
                own=own,
            )


def _head(built: BuiltModel) -> str:
    if built.config.name.startswith(TIMM):
        from imago.train.models import timm_nets

        return timm_nets.head(built.module) or built.head
    return built.head


def _quick(built: BuiltModel) -> None:
    """A run that goes on may have been pruned or see other pictures: its statistics must follow."""
    from imago.train.models.torchvision_nets import quick_batch_norm

    quick_batch_norm(built.module)

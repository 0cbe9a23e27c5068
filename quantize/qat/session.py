"""``quantise_aware``: a few epochs of training with the int8 arithmetic in the loop (Jacob et al. 2018).

student: the int8 graph itself (``network.py``); teacher: the float graph, whose answers to the same
augmented pictures the student learns. What comes out is the start's file with other numbers in it: the
same nodes, the same kernels, the same speed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.edge_runtime.files import write_json
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import F32, U8
from imago.quantize.calibration import Pictures, pictures
from imago.quantize.ptq import probabilities
from imago.quantize.qat.building import graph_module
from imago.quantize.qat.check import Alignment, compare
from imago.quantize.qat.network import GraphModule, write_back
from imago.quantize.qat.reading import separated
from imago.train.augment import POLICIES, usual_policy
from imago.train.batches import Batches, Normalise
from imago.train.config import TrainConfig
from imago.train.data.cache import open_cache
from imago.train.dataset import Dataset
from imago.train.device import Place, choose_place
from imago.train.distill import distillation_loss
from imago.train.interrupt import Interrupted
from imago.train.loop import Loop, Network

MARKER = "qat.json"
CHUNK = 64  # pictures at once where nothing is learned
PIXELS = Normalise((0.0,), (1 / 255,))  # the graph takes pixels as they are, and normalises inside


@dataclass(frozen=True, slots=True)
class QatOptions:
    """epochs: passes over the training split. lr: peak learning rate (weights and scales are measured in
    their own ranges, so one rate suits all networks). distill_weight: share of the float model's answers in
    the loss, against the labels. learn_scales: whether the activations' scales are trained. augment: as in
    ``TrainConfig`` (auto: as the model was trained, where its file says so). threads: 0: all cores. unsure:
    train also where integers may hold and the pictures are too few to tell."""

    epochs: int = 5
    lr: float = 1e-3
    batch_size: int = 64
    ema: float = 0.99
    distill_weight: float = 1.0
    distill_temperature: float = 1.0
    learn_scales: bool = True
    augment: str = "auto"
    threads: int = 0
    seed: int = 0
    unsure: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= 1000:
            raise InputError("--qat-epochs is {n}; expected 1 to 1000", n=self.epochs)

    def config(self, augment: str) -> TrainConfig:
        """For the training loop."""
        return TrainConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer="adam",
            lr=self.lr,
            weight_decay=0.0,
            schedule="cosine",
            label_smoothing=0.0,
            ema=self.ema,
            augment=augment,
            precision="fp32",  # bf16 has fewer bits than the integers that are imitated
            threads=self.threads,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class QatFacts:
    """What came of it. start, reached: accuracy of the int8 files on n validation pictures before and after;
    best_epoch: the one that was kept (0: the start, nothing beat it)."""

    epochs: int
    best_epoch: int
    n: int
    start: float
    reached: float
    alignment: Alignment

    def to_dict(self) -> dict[str, Any]:
        """JSON form, for reports and for the contract."""
        return asdict(self)


class GraphTeacher:
    """The float model, frozen, answering the batches of its int8 student."""

    def __init__(self, module: GraphModule, options: QatOptions, place: Place) -> None:
        frozen = module.requires_grad_(False).eval()
        self.module = frozen.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weight, self.temperature = options.distill_weight, options.distill_temperature

    def blend(self, loss: Tensor, inputs: Tensor, logits: Tensor) -> Tensor:
        """See ``train.distill.Guide``."""
        with torch.no_grad():
            wanted = self.module(inputs)
        taught = distillation_loss(logits, wanted, self.temperature)
        return (1 - self.weight) * loss + self.weight * taught


def quantise_aware(
    source: onnx.ModelProto,
    start: onnx.ModelProto,
    spec: ModelSpec,
    dataset: Dataset,
    workspace: Path,
    *,
    near: onnx.ModelProto | None = None,
    options: QatOptions | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[onnx.ModelProto, QatFacts]:
    """Fine-tune ``start``, an int8 model (QDQ) made from the float model ``source`` with contract ``spec``.

    The epoch that does best on the validation split is kept, or ``start`` where none beats it. near: the
    twin of ``start`` with float weights (``Candidate.exact``), to start from; None: ``source``. workspace:
    folder for the state; where the same call was interrupted in it before, training goes on, and in the end
    it is removed.

    Raises Interrupted with the state saved, ModelError for graphs that cannot be trained, DataError without
    validation pictures, GateError where the engine does not compute what was trained.
    """
    options = options or QatOptions()
    held_out = _held_out(dataset, spec)
    config = options.config(_augment(options, spec, dataset))
    apart = separated(start)
    student = graph_module(apart, near or source, learn_scales=options.learn_scales)
    resume = _open(workspace, _key(source, start, dataset, config, options))
    place = choose_place(config)
    loop = Loop(
        config,
        Network(student, ()),
        train=_batches(dataset, "train", spec, config, place),
        val=_batches(dataset, "val", spec, config, place),
        place=place,
        folder=workspace,
        teacher=GraphTeacher(graph_module(source), options, place),
        say=say,
    )
    trained = _trained(loop, resume)
    at = loop.position
    result = _judged(
        start, write_back(apart, trained), trained, held_out, epochs=at.epoch, best_epoch=at.best_epoch
    )
    say(_kept(result[1]))
    shutil.rmtree(workspace)
    return result


def _held_out(dataset: Dataset, spec: ModelSpec) -> Pictures:
    if spec.input.layout != "nchw":
        raise ValueError(f"a {spec.input.layout} graph")  # imago exports none
    if not len(dataset.splits.get("val", ())):
        raise DataError(
            "{data} has no validation pictures, on which quantisation-aware training chooses its best "
            "epoch; leave some out with --val-fraction",
            data=dataset.name,
        )
    return pictures(dataset, "val", spec)


def _augment(options: QatOptions, spec: ModelSpec, dataset: Dataset) -> str:
    """As the float model was trained, where its file says so."""
    if options.augment != "auto":
        return options.augment
    known = str(spec.provenance.get("augment"))
    return known if known in POLICIES else usual_policy(dataset.layout)


def _batches(dataset: Dataset, split: str, spec: ModelSpec, config: TrainConfig, place: Place) -> Batches:
    cached = open_cache(dataset, split, spec.input)
    return Batches(
        cached.images,
        cached.labels,
        PIXELS,
        batch_size=min(config.batch_size, len(cached)),
        device=place.device,
        policy=POLICIES[config.augment] if split == "train" else None,
        seed=config.seed,
    )


def _key(
    source: onnx.ModelProto,
    start: onnx.ModelProto,
    dataset: Dataset,
    config: TrainConfig,
    options: QatOptions,
) -> str:
    """Of all that decides the result: an interrupted training goes on only where it is the same one."""
    settings = {**asdict(options), "augment": config.augment, "threads": 0}
    digest = hashlib.sha256(f"{dataset.fingerprint} {json.dumps(settings, sort_keys=True)}".encode())
    for model in (source, start):
        digest.update(model.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _open(workspace: Path, key: str) -> bool:
    """Make the folder ready; True where the same training was interrupted in it."""
    marker = workspace / MARKER
    if workspace.exists() and any(workspace.iterdir()):
        if not marker.is_file():
            raise StorageError("{path} exists already; choose another --out, or remove it", path=workspace)
        if json.loads(marker.read_text(encoding="utf-8")).get("key") == key:
            return True
        shutil.rmtree(workspace)
    write_json(marker, {"key": key})
    return False


def _trained(loop: Loop, resume: bool) -> GraphModule:
    """The best epoch's network, on the CPU."""
    try:
        loop.run(resume=resume)
    except Interrupted as stopped:
        raise Interrupted(
            "stopped in epoch {epoch} of {epochs}, nothing is lost; the same command goes on from here",
            epoch=stopped.values["epoch"],
            epochs=stopped.values["epochs"],
        ) from None
    module = loop.final_module()
    if not isinstance(module, GraphModule):
        raise TypeError(f"the loop returned {type(module)}")
    return module.cpu()


def _judged(
    start: onnx.ModelProto,
    trained: onnx.ModelProto,
    module: GraphModule,
    held_out: Pictures,
    *,
    epochs: int,
    best_epoch: int,
) -> tuple[onnx.ModelProto, QatFacts]:
    """The better of the two files on held-out pictures, both as the engine runs them."""
    tensors = held_out.tensors("nchw")
    answers = [probabilities(OrtEngine(m.SerializeToString()), tensors) for m in (start, trained)]
    learned = torch_probabilities(module, tensors)
    alignment = compare(learned, answers[1])
    before, after, claimed = (float((a.argmax(1) == held_out.labels).mean()) for a in (*answers, learned))
    if max(after, claimed) > before:  # a training that went astray overflows, and is thrown away
        alignment.require()
    better = after > before
    facts = QatFacts(
        epochs=epochs,
        best_epoch=best_epoch if better else 0,
        n=len(held_out),
        start=before,
        reached=max(before, after),
        alignment=alignment,
    )
    return trained if better else start, facts


def _kept(facts: QatFacts) -> str:
    if not facts.best_epoch:
        return tr(
            "no epoch beat the int8 model that it started from ({start} of {n} validation pictures)",
            start=f"{facts.start:.2%}",
            n=facts.n,
        )
    return tr(
        "epoch {epoch} of {epochs} is kept: int8 {start} → {reached} of {n} validation pictures",
        epoch=facts.best_epoch,
        epochs=facts.epochs,
        start=f"{facts.start:.2%}",
        reached=f"{facts.reached:.2%}",
        n=facts.n,
    )


@torch.inference_mode()
def torch_probabilities(module: GraphModule, tensors: U8) -> F32:
    """What training says: float32 ``(n, classes)`` for uint8 ``(n, C, H, W)``."""
    parts = np.array_split(tensors, -(-len(tensors) // CHUNK))
    return np.concatenate([module.probabilities(torch.from_numpy(p).float()).numpy() for p in parts])

"""One step of training: pictures in, weights moved."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.train.batches import seed_of
from imago.train.config import TrainConfig
from imago.train.device import Place, is_small, one_thread
from imago.train.distill import Guide
from imago.train.graphs import Graphs
from imago.train.mixing import Mix, grown, mix
from imago.train.optim import WeightAverage, lr_at, make_optimizer, set_lr
from imago.train.profiling import Clock
from imago.train.team import Team


class Step:
    """The steps of one run, with the optimiser and the weight average that belong to ``module``.

    module: on its device, in the mode and with the frozen parts that the caller chose. weights: of the
    classes, float32 ``(classes,)``, or None.
    """

    def __init__(
        self,
        config: TrainConfig,
        module: nn.Module,
        place: Place,
        *,
        weights: Tensor | None,
        teacher: Guide | None,
        team: Team,
        clock: Clock,
    ) -> None:
        self.config, self.module, self.place = config, module, place
        self.weights, self.teacher, self.team, self.clock = weights, teacher, team, clock
        self.optimizer = make_optimizer(config, module)
        self.average = WeightAverage(module, config.ema) if config.ema else None
        self._small = is_small(module)
        self._parallel: tuple[list[bool], nn.Module] | None = None
        self._graphs = self._recorder()

    def weight_of(self, targets: Tensor) -> float:
        """What the pictures of this part of the batch weigh together, which the loss is divided by."""
        if self.weights is None or self.team.world == 1:
            return float(len(targets))
        return float(self.weights[targets].sum())

    def run(
        self, inputs: Tensor, targets: Tensor, number: int, steps: int, *, weight: float, count: float
    ) -> tuple[Tensor, Tensor]:
        """Step ``number`` of ``steps``; the mean loss and the right answers of this process's part.

        inputs: float32 ``(B, C, H, W)``; targets: int64 ``(B,)``; results ``()``, to be read before the next
        step. weight: of this part among all parts of the batch, 0..1. count: pictures of all parts.
        """
        config = self.config
        rank = (self.team.rank,) if self.team.world > 1 else ()
        _seed_everything(seed_of(config.seed, number, 1, *rank), self.place.device)
        set_lr(self.optimizer, lr_at(config, number, steps))
        recording = self._graphs.of(inputs, targets) if self._graphs is not None else None
        if recording is not None:
            with self.clock.span("graph"):
                result = recording.replay(inputs, targets)
        else:
            seed = seed_of(config.seed, number, 2, *rank)
            seen = mix(config, grown(config, inputs, number / steps), seed)
            result = self._pass(seen, targets, weight, count)
        self._learn(number)
        return result

    def _recorder(self) -> Graphs | None:
        """Whole steps as CUDA graphs, where nothing but the batch differs from step to step."""
        config = self.config
        varies = config.mixup or config.cutmix or config.grow or self.teacher is not None
        if varies or self.team.world > 1:
            return None
        return Graphs(self.module, self._loss, self.place)

    def _pass(self, seen: Mix, targets: Tensor, weight: float, count: float) -> tuple[Tensor, Tensor]:
        """Forward and backward; the rest as of ``run``."""
        world = self.team.world
        with self.clock.span("forward"), self.place.context():
            logits = self._forward(seen.inputs).float()
            loss = seen.loss(lambda labels: self._loss(logits, labels), targets)
            mean = loss.detach()
            share = len(targets) / count  # of the pictures; with class weights, not of the weights
            if world > 1:
                loss = loss * (weight / share)
            if self.teacher is not None:
                loss = self.teacher.blend(loss, seen.inputs, logits)
            if world > 1:  # the average over the processes is then the mean over all pictures
                loss = loss * (share * world)
        with self.clock.span("backward"), self.team.talking():
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        return mean, (logits.detach().argmax(1) == targets).sum()

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.config.label_smoothing
        return F.cross_entropy(logits, targets, weight=self.weights, label_smoothing=smoothing)

    def _learn(self, number: int) -> None:
        """Move the weights and their average along the gradients of step ``number``."""
        with one_thread() if self._small else contextlib.nullcontext():
            with self.clock.span("step"):
                self.optimizer.step()
            if self.average is not None:
                with self.clock.span("average"):
                    self.average.update(self.module, number)

    def _forward(self, inputs: Tensor) -> Tensor:
        """Through the network; with several processes through the wrapper that averages gradients."""
        if self.team.world == 1:
            return torch.as_tensor(self.module(inputs))
        learning = [parameter.requires_grad for parameter in self.module.parameters()]
        if self._parallel is None or self._parallel[0] != learning:  # a block was unfrozen
            self._parallel = learning, self.team.parallel(self.module)
        with self.team.talking():
            return torch.as_tensor(self._parallel[1](inputs))


def _seed_everything(seed: int, device: torch.device) -> None:
    """Dropout's random numbers of one step (the loader draws its own)."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)

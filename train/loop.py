"""The training loop: epochs of steps, a validation after each, a state on disk that survives any kill.

The loop stops when all epochs are done, when validation has not improved for ``patience`` epochs, when its
coach says so, or when the user asks (then the state is saved first). Whatever happens,
``checkpoint.safetensors`` and ``metrics.jsonl`` describe a point from which ``--resume`` reaches the same
weights, bit for bit on a CPU.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_text
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.train.batches import Batches
from imago.train.checkpoint import (
    BEST,
    CHECKPOINT,
    Position,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)
from imago.train.coach import Coach
from imago.train.config import TrainConfig
from imago.train.device import Place
from imago.train.distill import Guide
from imago.train.interrupt import Interrupted, StopWish
from imago.train.optim import freeze_blocks, lr_at
from imago.train.profiling import NO_CLOCK, Clock
from imago.train.step import Step
from imago.train.tally import Tally, epoch_line, score
from imago.train.team import SOLO, Team, share_batch_norm

METRICS = "metrics.jsonl"
SAVE_EVERY_S = 30.0  # at most so many seconds of work are done again after a kill


@dataclass(frozen=True, slots=True)
class Network:
    """What is trained: the module, its blocks from input to output, and how many start frozen."""

    module: nn.Module
    blocks: tuple[str, ...]
    frozen: int = 0


class Loop:
    """One training run over ready-made batches; ``run()`` does it all.

    coach: decides on the length instead of ``config.epochs`` (one process only). keep_start: the weights it
    starts with count as a result, so that going on with a good network never ends in a worse one (on
    validation).
    """

    def __init__(
        self,
        config: TrainConfig,
        network: Network,
        *,
        train: Batches,
        val: Batches | None,
        place: Place,
        folder: Path,
        class_weights: Tensor | None = None,
        teacher: Guide | None = None,
        coach: Coach | None = None,
        keep_start: bool = False,
        say: Callable[[str], None] = lambda text: None,
        team: Team = SOLO,
        clock: Clock = NO_CLOCK,
    ) -> None:
        self.config, self.network, self.place, self.folder, self.say = config, network, place, folder, say
        self.coach, self.keep_start = coach, keep_start
        self.train, self.val, self.team, self.clock = train, val, team, clock
        self.module = network.module.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if team.world > 1:
            share_batch_norm(self.module)
        weights = class_weights.to(place.device) if class_weights is not None else None
        self.step = Step(config, self.module, place, weights=weights, teacher=teacher, team=team, clock=clock)
        self.position = Position()
        self.steps = len(train) * config.epochs
        self._saved = time.monotonic()
        self._shown: nn.Module = copy.deepcopy(self.module)  # takes the averaged weights for validation

    def run(self, *, resume: bool = False) -> Position:
        """Train to the end; raises Interrupted (state saved) on Ctrl-C or SIGTERM."""
        if resume:
            self._resume()
        if self.keep_start and self._done() == 0 and self.val is not None:
            self._judge(self.val, epoch=0)
        with StopWish() as stop, Progress(self.steps, tr("training")) as bar:
            bar.advance(self._done())
            # A stop after an epoch's last step leaves that epoch to be judged.
            while (self._done() < self.steps or self.position.step) and not self._out_of_patience():
                self._epoch(stop, bar)
        return self.position

    @property
    def epochs(self) -> int:
        """How many epochs the run has, as planned by now (the last may be a part of one)."""
        return max(1, math.ceil(self.steps / len(self.train)))

    def _done(self) -> int:
        return self.position.epoch * len(self.train) + self.position.step

    def _resume(self) -> None:
        state = self.team.share(self.folder / CHECKPOINT)
        if state:
            self.position = load_checkpoint(
                self.folder, state, self.module, self.step.average, self.step.optimizer
            )
            self.steps = self.position.steps or self.steps
            if self.team.chief:
                self._write_rows()

    def final_module(self) -> nn.Module:
        """The network to keep: best on validation, or the last where there is no validation split."""
        module = self._averaged()
        if self.val is not None and (self.folder / BEST).exists():
            module.load_state_dict(load_tensors(self.folder / BEST)[0])
        return module.eval()

    def _epoch(self, stop: StopWish, bar: Progress) -> None:
        at = self.position
        self._set_mode(at.epoch)
        began = time.monotonic() - at.seconds
        tally = Tally(at, self.place.device, self.team)
        left = self.train.epoch(at.epoch, at.step) if self._done() < self.steps else ()
        for inputs, targets in left:
            due = self.team.chief and time.monotonic() - self._saved > SAVE_EVERY_S
            with self.clock.span("agree"):
                weight = self.step.weight_of(targets)
                count, total, wishes, dues = self.team.agree(len(targets), weight, stop.wished, due)
            number = at.epoch * len(self.train) + at.step
            loss, hits = self.step.run(
                inputs, targets, number, self.steps, weight=weight / total, count=count
            )
            tally.add(loss, hits, weight / total, count)
            at.step += 1
            self._replan(bar)
            bar.advance(1, self._note(bar, tally, began))
            if wishes or dues:
                tally.store()
                at.seconds = time.monotonic() - began
                self._save()
            if wishes:
                raise Interrupted(
                    "stopped in epoch {epoch} of {epochs}, nothing is lost; go on with: "
                    "imago train --resume {folder}",
                    epoch=at.epoch + 1,
                    epochs=self.epochs,
                    folder=self.folder,
                )
            if self._done() >= self.steps:
                break
        tally.store()
        row = self._finish_epoch(time.monotonic() - began)
        bar.clear()
        self.say(epoch_line(row, self.epochs))

    def _replan(self, bar: Progress) -> None:
        if self.coach is not None:
            self.steps = self.position.steps = self.coach.steps(self.position, len(self.train))
            bar.total = self.steps

    def _note(self, bar: Progress, tally: Tally, began: float) -> str:
        at = self.position
        if not bar.due:  # it waits for the device
            return ""
        return tr(
            "epoch {epoch}/{epochs} loss {loss} accuracy {accuracy} {rate} images/s",
            epoch=at.epoch + 1,
            epochs=self.epochs,
            loss=f"{tally.mean_loss():.3f}",
            accuracy=f"{tally.accuracy():.1%}",
            rate=f"{tally.seen / max(1e-9, time.monotonic() - began):.0f}",
        )

    def _finish_epoch(self, seconds: float) -> dict[str, Any]:
        at = self.position
        row = {
            "epoch": at.epoch + 1,
            "lr": lr_at(self.config, self._done() - 1, max(self.steps, self._done())),
            "train_loss": at.loss_sum / at.seen,
            "train_accuracy": at.correct / at.seen,
            "seconds": seconds,
            "images_per_s": at.seen / max(seconds, 1e-9),
        }
        if not math.isfinite(row["train_loss"]):
            raise InputError(
                "training diverged in epoch {epoch} (the loss is no longer a number); "
                "try a smaller --lr than {lr}",
                epoch=at.epoch + 1,
                lr=self.config.peak_lr,
            )
        if self.val is not None:
            row.update(self._judge(self.val, at.epoch + 1))
        at.rows.append(row)
        at.epoch, at.step, at.loss_sum, at.correct, at.seen, at.seconds = at.epoch + 1, 0, 0.0, 0, 0, 0.0
        self._save()
        if self.team.chief:
            self._write_rows()
        return row

    def _judge(self, val: Batches, epoch: int) -> dict[str, float]:
        """Validate as the result of ``epoch``, and keep the weights where they are the best so far."""
        at, module = self.position, self._averaged()
        with self.clock.span("validate"):
            loss, accuracy = score(module, val, self.place, self.team)
        if accuracy >= at.best_accuracy:  # of equals the later one: it has seen more
            at.best_accuracy, at.best_epoch = accuracy, epoch
            if self.team.chief:
                save_tensors(self.folder / BEST, module.state_dict())
        return {"val_loss": loss, "val_accuracy": accuracy}

    def _averaged(self) -> nn.Module:
        """A copy of the network with the averaged weights, in eval mode."""
        average = self.step.average
        state = average.state if average is not None else self.module.state_dict()
        self._shown.load_state_dict(state)
        return self._shown.eval()

    def _set_mode(self, epoch: int) -> None:
        self.module.train()
        every = self.config.unfreeze_every
        frozen = self.network.frozen - (epoch // every if every else 0)
        freeze_blocks(self.module, self.network.blocks, max(0, frozen))

    def _out_of_patience(self) -> bool:
        at, patience = self.position, self.config.patience
        return bool(patience) and self.val is not None and at.epoch - at.best_epoch >= patience > 0

    def _save(self) -> None:
        self._saved = time.monotonic()
        if not self.team.chief:
            return
        with self.clock.span("save"):
            save_checkpoint(self.folder, self.position, self.module, self.step.average, self.step.optimizer)

    def _write_rows(self) -> None:
        lines = (json.dumps(row) for row in self.position.rows)
        write_text(self.folder / METRICS, "".join(f"{line}\n" for line in lines))

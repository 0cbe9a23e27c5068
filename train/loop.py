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
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_text
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.train.batches import Batches, seed_of
from imago.train.checkpoint import (
    BEST,
    CHECKPOINT,
    Position,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)
from imago.train.config import TrainConfig
from imago.train.device import Place
from imago.train.distill import Guide
from imago.train.interrupt import Interrupted, StopWish
from imago.train.optim import WeightAverage, freeze_blocks, lr_at, make_optimizer, set_lr

METRICS = "metrics.jsonl"
SAVE_EVERY_S = 30.0  # at most so many seconds of work are done again after a kill


@dataclass(frozen=True, slots=True)
class Network:
    """What is trained: the module, its blocks from input to output, and how many start frozen."""

    module: nn.Module
    blocks: tuple[str, ...]
    frozen: int = 0


class Coach(Protocol):
    """Decides while a run goes on how long it is to be (a budget of time, a search that drops what is bad).

    The learning rate follows: it has run down when the last step is done, whenever that is. What a clock
    decides is not the same twice: such a run resumes where it was, but not bit for bit as it would have gone.
    """

    def steps(self, at: Position, per_epoch: int) -> int:
        """Steps of the whole run, asked after each step; no more than are done already: it ends here."""
        ...


class Loop:
    """One training run over ready-made batches; ``run()`` does it all.

    coach: decides on the length instead of ``config.epochs``. keep_start: the weights it starts with count
    as a result, so that going on with a good network never ends in a worse one (on validation).
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
    ) -> None:
        self.coach, self.keep_start = coach, keep_start
        self.config, self.network, self.place, self.folder, self.say = config, network, place, folder, say
        self.train, self.val, self.teacher = train, val, teacher
        self.module = network.module.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = class_weights.to(place.device) if class_weights is not None else None
        self.optimizer = make_optimizer(config, self.module)
        self.average = WeightAverage(self.module, config.ema) if config.ema else None
        self.position = Position()
        self.steps = len(train) * config.epochs
        self._saved = time.monotonic()
        self._shown: nn.Module = copy.deepcopy(self.module)  # takes the averaged weights for validation

    def run(self, *, resume: bool = False) -> Position:
        """Train to the end; raises Interrupted (state saved) on Ctrl-C or SIGTERM."""
        if resume and (self.folder / CHECKPOINT).exists():
            self.position = load_checkpoint(self.folder, self.module, self.average, self.optimizer)
            self.steps = self.position.steps or self.steps
            self._write_rows()
        if self.keep_start and self._done() == 0 and self.val is not None:
            self._judge(self.val, epoch=0)
        with StopWish() as stop, Progress(self.steps, tr("training")) as bar:
            bar.advance(self._done())
            while self._done() < self.steps and not self._out_of_patience():
                self._epoch(stop, bar)
        return self.position

    @property
    def epochs(self) -> int:
        """How many epochs the run has, as planned by now (the last may be a part of one)."""
        return max(1, math.ceil(self.steps / len(self.train)))

    def _done(self) -> int:
        return self.position.epoch * len(self.train) + self.position.step

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
        device = self.place.device
        wide = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        loss_sum = torch.tensor(at.loss_sum, dtype=wide, device=device)
        correct = torch.tensor(at.correct, device=device)
        for inputs, targets in self.train.epoch(at.epoch, at.step):
            loss, hits = self._step(inputs, targets)
            loss_sum += loss.to(loss_sum.dtype) * len(targets)
            correct += hits
            at.step += 1
            at.seen += len(targets)
            self._replan(bar)
            bar.advance(1, self._note(bar, loss_sum, correct, at, began))
            if stop.wished or time.monotonic() - self._saved > SAVE_EVERY_S:
                at.loss_sum, at.correct = float(loss_sum), int(correct)
                at.seconds = time.monotonic() - began
                self._save()
            if stop.wished:
                raise Interrupted(
                    "stopped in epoch {epoch} of {epochs}, nothing is lost; go on with: "
                    "imago train --resume {folder}",
                    epoch=at.epoch + 1,
                    epochs=self.epochs,
                    folder=self.folder,
                )
            if self._done() >= self.steps:
                break
        at.loss_sum, at.correct = float(loss_sum), int(correct)
        row = self._finish_epoch(time.monotonic() - began)
        bar.clear()
        self.say(_epoch_line(row, self.epochs))

    def _replan(self, bar: Progress) -> None:
        if self.coach is not None:
            self.steps = self.position.steps = self.coach.steps(self.position, len(self.train))
            bar.total = self.steps

    def _step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        at = self.position
        number = at.epoch * len(self.train) + at.step
        _seed_everything(seed_of(self.config.seed, number, 1), self.place.device)
        set_lr(self.optimizer, lr_at(self.config, number, self.steps))
        with self.place.context():
            logits = self.module(inputs).float()
            loss = F.cross_entropy(
                logits, targets, weight=self.weights, label_smoothing=self.config.label_smoothing
            )
            if self.teacher is not None:
                loss = self.teacher.blend(loss, inputs, logits)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.module, number)
        return loss.detach(), (logits.detach().argmax(1) == targets).sum()

    def _note(self, bar: Progress, loss: Tensor, correct: Tensor, at: Position, began: float) -> str:
        if not bar.enabled or at.step % 8:
            return ""
        return tr(
            "epoch {epoch}/{epochs} loss {loss} accuracy {accuracy} {rate} images/s",
            epoch=at.epoch + 1,
            epochs=self.epochs,
            loss=f"{float(loss) / at.seen:.3f}",
            accuracy=f"{int(correct) / at.seen:.1%}",
            rate=f"{at.seen / max(1e-9, time.monotonic() - began):.0f}",
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
        self._write_rows()
        return row

    def _judge(self, val: Batches, epoch: int) -> dict[str, float]:
        """Validate as the result of ``epoch``, and keep the weights where they are the best so far."""
        at, module = self.position, self._averaged()
        logits, labels = predict_logits(module, val, self.place)
        accuracy = float((logits.argmax(1) == labels).mean())
        if accuracy >= at.best_accuracy:  # of equals the later one: it has seen more
            at.best_accuracy, at.best_epoch = accuracy, epoch
            save_tensors(self.folder / BEST, module.state_dict())
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
        return {"val_loss": float(loss), "val_accuracy": accuracy}

    def _averaged(self) -> nn.Module:
        """A copy of the network with the averaged weights, in eval mode."""
        state = self.average.state if self.average is not None else self.module.state_dict()
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
        save_checkpoint(self.folder, self.position, self.module, self.average, self.optimizer)
        self._saved = time.monotonic()

    def _write_rows(self) -> None:
        lines = (json.dumps(row) for row in self.position.rows)
        write_text(self.folder / METRICS, "".join(f"{line}\n" for line in lines))


def _seed_everything(seed: int, device: torch.device) -> None:
    """Dropout's random numbers of one step (the loader draws its own)."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _epoch_line(row: dict[str, Any], epochs: int) -> str:
    line = tr(
        "epoch {epoch}/{epochs}  loss {loss}  accuracy {accuracy}  {seconds} s",
        epoch=row["epoch"],
        epochs=epochs,
        loss=f"{row['train_loss']:.4f}",
        accuracy=f"{row['train_accuracy']:.2%}",
        seconds=f"{row['seconds']:.1f}",
    )
    if "val_accuracy" in row:
        line += tr(
            "  validation loss {loss} accuracy {accuracy}",
            loss=f"{row['val_loss']:.4f}",
            accuracy=f"{row['val_accuracy']:.2%}",
        )
    return line


@torch.inference_mode()
def predict_logits(
    module: nn.Module, batches: Batches, place: Place
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Logits float32 ``(n, classes)`` and labels int64 ``(n,)`` over all pictures, in order."""
    logits, labels = [], []
    for inputs, targets in batches.ordered():
        with place.context():
            logits.append(module(inputs).float().cpu())
        labels.append(targets.cpu())
    return torch.cat(logits).numpy(), torch.cat(labels).numpy()

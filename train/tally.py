"""Counting while training: loss and right answers of an epoch, scores of a network, the line people read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.edge_runtime.messages import tr
from imago.train.batches import Batches
from imago.train.checkpoint import Position
from imago.train.device import Place
from imago.train.team import SOLO, Team


class Tally:
    """Running sums of one epoch, on the device, so that no step waits for them.

    The chief's sums go on from where ``position`` stands; ``store`` puts the team's sums there.
    """

    def __init__(self, position: Position, device: torch.device, team: Team) -> None:
        self.position, self.team = position, team
        wide = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        begun = position if team.chief else Position()
        self.loss = torch.tensor(begun.loss_sum, dtype=wide, device=device)
        self.correct = torch.tensor(begun.correct, device=device)
        self.seen = position.seen

    def add(self, mean: Tensor, correct: Tensor, share: float, count: float) -> None:
        """One step: mean loss and right answers of this process's ``share`` of ``count`` pictures."""
        self.loss += mean.to(self.loss.dtype) * (share * count)
        self.correct += correct
        self.seen += int(count)

    def store(self) -> None:
        """Bring ``position`` up to date; all processes of the team together."""
        loss, correct = self.team.total(self.loss, self.correct)
        self.position.loss_sum, self.position.correct = float(loss), int(correct)
        self.position.seen = self.seen

    def mean_loss(self) -> float:
        """So far; of this process's part."""
        return float(self.loss) * self.team.world / max(1, self.seen)

    def accuracy(self) -> float:
        """So far; of this process's part."""
        return int(self.correct) * self.team.world / max(1, self.seen)


@torch.inference_mode()
def score(module: nn.Module, batches: Batches, place: Place, team: Team = SOLO) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over all pictures of all processes' ``batches``."""
    sums = torch.zeros(3, dtype=torch.float64)
    for inputs, targets in batches.ordered():
        with place.context():
            logits = module(inputs).float().cpu()
        labels = targets.cpu()
        sums[0] += F.cross_entropy(logits, labels, reduction="sum").double()
        sums[1] += (logits.argmax(1) == labels).sum()
        sums[2] += len(labels)
    loss, correct, count = team.agree(*sums.tolist())
    return loss / count, correct / count


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


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """One epoch as people read it."""
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

"""Knowledge distillation (Hinton, Vinyals & Dean 2015): a small network learns a large one's answers too.

The teacher sees the very picture that the student sees, augmented; where its input differs in size,
channels or normalisation, the batch is converted on the training device.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from imago.edge_runtime.errors import InputError
from imago.train.config import TrainConfig
from imago.train.device import Place
from imago.train.lineage import Ancestor
from imago.train.run import Run

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as everywhere in imago
NAMED = 5  # classes that an error lists


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T² · KL(softmax(teacher / T) ‖ softmax(student / T))``, mean over the batch.

    student, teacher: logits float32 ``(N, classes)``. T² keeps the gradient's size whatever T is.
    """
    return temperature**2 * F.kl_div(
        F.log_softmax(student / temperature, 1),
        F.log_softmax(teacher / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )


def check_teacher(teacher: Ancestor, classes: tuple[str, ...]) -> None:
    """Raises InputError unless the teacher knows exactly ``classes``, in this order."""
    if teacher.run.classes != classes:
        raise InputError(
            "the teacher {path} knows other classes ({given}) than the pictures have ({expected}); "
            "train it on these classes first",
            path=teacher.folder,
            given=_listed(teacher.run.classes),
            expected=_listed(classes),
        )


class Guide(Protocol):
    """Whatever has a say in the loss of a training loop."""

    def blend(self, loss: Tensor, inputs: Tensor, logits: Tensor) -> Tensor:
        """The loss to go down: from the labels' (a scalar), a batch and its logits ``(N, classes)``."""


class Teacher:
    """A finished run, frozen, that answers batches made for the student."""

    def __init__(self, teacher: Ancestor, student: Run, place: Place) -> None:
        module = teacher.run.load_module(teacher.folder).requires_grad_(False)
        self.module = module.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.side = (teacher.run.input.height, teacher.run.input.width)
        matrix, offset = conversion(student, teacher.run)
        same = torch.equal(matrix, torch.eye(len(matrix))) and not offset.any()
        self._matrix = None if same else matrix[:, :, None, None].to(place.device)
        self._offset = offset.to(place.device)
        config: TrainConfig = student.config
        self.weight, self.temperature = config.distill_weight, config.distill_temperature

    def blend(self, loss: Tensor, inputs: Tensor, logits: Tensor) -> Tensor:
        """The loss against the labels, and the loss against the teacher: one scalar.

        inputs: the student's batch, float32 ``(N, C, H, W)``; logits: its answers, float32 ``(N, classes)``.
        """
        taught = distillation_loss(logits, self.logits(inputs).float(), self.temperature)
        return (1 - self.weight) * loss + self.weight * taught

    @torch.no_grad()  # inference tensors could not take part in the student's backward pass
    def logits(self, inputs: Tensor) -> Tensor:
        """The teacher's answers to the student's batch."""
        return torch.as_tensor(self.module(self.view(inputs)))

    def view(self, inputs: Tensor) -> Tensor:
        """The student's batch as the teacher is used to it: its channels, normalisation and size."""
        seen = inputs if self._matrix is None else F.conv2d(inputs, self._matrix, self._offset)
        if seen.shape[2:] == self.side:
            return seen
        shrinks = seen.shape[2] > self.side[0] or seen.shape[3] > self.side[1]
        return F.interpolate(seen, self.side, mode="bilinear", antialias=shrinks)


def conversion(student: Run, teacher: Run) -> tuple[Tensor, Tensor]:
    """From the student's normalised pixels to the teacher's: ``matrix · pixel + offset``.

    float32 ``(teacher channels, student channels)`` and ``(teacher channels,)``. Grey becomes colour by
    repeating it, colour becomes grey by its luma.
    """
    wide, narrow = torch.float64, torch.float32
    have, want = student.input.channels, teacher.input.channels
    mean, std = (torch.tensor(v, dtype=wide).expand(have) for v in (student.mean, student.std))
    its_mean, its_std = (torch.tensor(v, dtype=wide).expand(want) for v in (teacher.mean, teacher.std))
    if have == want:
        mix = torch.eye(want, dtype=wide)
    else:
        mix = torch.ones(want, 1, dtype=wide) if have == 1 else torch.tensor([LUMA], dtype=wide)
    matrix = mix * std / its_std[:, None]
    return matrix.to(narrow), ((mix @ mean - its_mean) / its_std).to(narrow)


def _listed(names: tuple[str, ...]) -> str:
    more = f", … ({len(names)})" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

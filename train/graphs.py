"""A training step's forward and backward pass as one CUDA graph: one launch instead of hundreds.

A small network's kernels run for a few microseconds each, and the interpreter needs longer to launch them
than a GPU to run them (MobileNetV3-Small, 128 pictures of 128 px, on an H100: 14 ms, 4 as a graph). A graph
is recorded once per shape of batch and replayed; it does the same arithmetic. See "CUDA Graphs" in
PyTorch's notes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from imago.train.device import Place

MOST = 4  # graphs at a time: each keeps the memory of a step
SEEN = 3  # times that a shape has come before it is worth a graph
WARM_UP = 2  # passes in which libraries choose their kernels and take their memory

LossOf = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Recording:
    """A graph, and where it reads and writes: batch, loss and right answers, gradients by parameter."""

    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    targets: Tensor
    loss: Tensor
    hits: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]

    def replay(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and right answers of this batch, ``()`` each; the gradients lie in ``.grad``."""
        self.inputs.copy_(inputs)
        self.targets.copy_(targets)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.loss, self.hits


class Graphs:
    """Graphs of ``module`` with ``loss_of(logits, targets)``, one per shape of batch.

    What cannot be recorded (a network that looks at its own numbers) never is.
    """

    def __init__(self, module: nn.Module, loss_of: LossOf, place: Place) -> None:
        self.module, self.loss_of, self.place = module, loss_of, place
        self.wanted = place.device.type == "cuda"
        self._parameters = list(module.parameters())
        self._learning: list[bool] = []
        self._made: dict[torch.Size, Recording] = {}
        self._seen: dict[torch.Size, int] = {}

    def of(self, inputs: Tensor, targets: Tensor) -> Recording | None:
        """The graph for such a batch, or None: then the step is done without."""
        if not self.wanted:
            return None
        learning = [parameter.requires_grad for parameter in self._parameters]
        if learning != self._learning:  # a block was unfrozen
            self._learning = learning
            self._made.clear()
            self._seen.clear()
        key = inputs.shape
        self._seen[key] = self._seen.get(key, 0) + 1
        if key not in self._made and self._seen[key] >= SEEN and len(self._made) < MOST:
            self._try(key, inputs, targets)
        return self._made.get(key)

    def _try(self, key: torch.Size, inputs: Tensor, targets: Tensor) -> None:
        batch = torch.empty_like(inputs, memory_format=torch.channels_last).copy_(inputs)
        try:
            with _unchanged(self.module, self.place.device):
                self._made[key] = self._record(batch, targets.clone())
        except RuntimeError:
            self.wanted = False
            self._made.clear()
            # A broken recording leaves the generator recording; a new state ends that.
            index = self.place.device.index or torch.cuda.current_device()
            torch.cuda.default_generators[index].graphsafe_set_state(torch.Generator(self.place.device))

    def _record(self, inputs: Tensor, targets: Tensor) -> Recording:
        stream = torch.cuda.Stream(self.place.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self.place.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._pass(inputs, targets)
        torch.cuda.current_stream(self.place.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.module.zero_grad(set_to_none=True)
        # The thread that makes the next batch goes on meanwhile, and may take memory.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            loss, hits = self._pass(inputs, targets)
        learning = [(p, p.grad) for p in self._parameters if p.grad is not None]
        return Recording(graph, inputs, targets, loss, hits, learning)

    def _pass(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        place = self.place
        # Casts are made anew in every replay: the weights have changed.
        with torch.autocast(
            place.device.type, place.autocast, enabled=place.autocast is not None, cache_enabled=False
        ):
            logits = self.module(inputs).float()
            loss = self.loss_of(logits, targets)
        self.module.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), (logits.detach().argmax(1) == targets).sum()


@contextlib.contextmanager
def _unchanged(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Recording runs the network a few times: BatchNorm's sums and random numbers stay as they were."""
    kept = [buffer.clone() for buffer in module.buffers()]
    state = torch.cuda.get_rng_state(device)
    try:
        yield
        torch.cuda.set_rng_state(state, device)
    finally:
        with torch.no_grad():
            for buffer, before in zip(module.buffers(), kept, strict=True):
                buffer.copy_(before)

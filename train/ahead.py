"""One batch ahead: the next one is made by a thread while the network works on this one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from imago.train.profiling import Clock

Batch = tuple[Tensor, Tensor]
DEPTH = 2  # batches that may wait
NAME = "imago-ahead"


@dataclass(frozen=True, slots=True)
class _End:
    """The source has no more, or failed with ``error``."""

    error: BaseException | None = None


def ahead(source: Iterator[Batch], device: torch.device, clock: Clock) -> Iterator[Batch]:
    """The batches of ``source`` in their order, made by a thread of their own.

    On CUDA they are copied on a stream of their own, so that copying and computing overlap. The thread ends
    with the source, or when the caller stops asking (closes or forgets the iterator). Errors come through.
    """
    made: queue.Queue[tuple[Batch, torch.cuda.Event | None] | _End] = queue.Queue(DEPTH)
    stopped = threading.Event()
    thread = threading.Thread(target=_make, args=(source, device, made, stopped), name=NAME, daemon=True)
    thread.start()
    try:
        while True:
            with clock.span("wait for data"):
                item = made.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            batch, ready = item
            if ready is not None:
                stream = torch.cuda.current_stream(device)
                stream.wait_event(ready)
                for tensor in batch:
                    tensor.record_stream(stream)
            yield batch
    finally:
        stopped.set()
        while thread.is_alive():  # it may be waiting for room
            try:
                made.get(timeout=0.05)
            except queue.Empty:
                thread.join(timeout=0.05)


def _make(
    source: Iterator[Batch],
    device: torch.device,
    made: queue.Queue[tuple[Batch, torch.cuda.Event | None] | _End],
    stopped: threading.Event,
) -> None:
    end = _End()
    try:
        if device.type == "cuda":
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            with torch.cuda.device(device), torch.cuda.stream(stream):
                for batch in source:
                    ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
                    ready.record()
                    made.put((batch, ready))
                    if stopped.is_set():
                        break
        else:
            for batch in source:
                made.put((batch, None))
                if stopped.is_set():
                    break
    except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for the batch
        end = _End(error)
    made.put(end)

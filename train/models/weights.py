"""Ready-made weights: from a file, or from the internet, put into a network with another class count.

Files are read as tensors only (safetensors, or torch files with ``weights_only=True``): nothing is unpickled.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError

import torch
from torch import Tensor, nn

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

MIRROR = "IMAGO_WEIGHTS_MIRROR"  # address of a folder with the same files, for schools without the internet
TIMEOUT_S = 30.0
SAFETENSORS, TORCH = (".safetensors",), (".pth", ".pt", ".bin")
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads that only help while training on ImageNet
WRAPPERS = ("state_dict", "model_state_dict", "model")  # how training scripts nest the tensors


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by parameter name. Raises InputError for anything else."""
    if not path.is_file():
        raise InputError("no such weights file: {path}", path=path)
    if path.suffix.lower() in SAFETENSORS:
        from imago.train.checkpoint import load_tensors

        return load_tensors(path)[0]
    if path.suffix.lower() in TORCH:
        return _plain(_torch_load(path), str(path))
    raise InputError(
        "{path} is not a weights file (expected .safetensors, or .pth/.pt with tensors only)", path=path
    )


def _torch_load(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler refuses in many ways; none of them may run the file's code
        raise InputError(
            "{path} cannot be read safely ({reason}); expected a torch file with nothing but tensors: "
            "save model.state_dict(), best as .safetensors",
            path=path,
            reason=_first_line(error),
        ) from error


def _plain(loaded: object, source: str) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError("{path} holds no weights by name; save model.state_dict()", path=source)
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()):
        raise InputError("{path} holds other things than weights; save model.state_dict()", path=source)
    prefix = "module." if all(name.startswith("module.") for name in loaded) else ""
    return {name.removeprefix(prefix): value for name, value in loaded.items()}


def download_weights(url: str, *, folder: Path | None = None) -> dict[str, Tensor]:
    """Fetch a torch weights file (kept in torch's cache, or ``folder``) and check the hash in its name.

    ``IMAGO_WEIGHTS_MIRROR`` replaces the address up to the file name. Raises InputError when that fails.
    """
    mirror = os.environ.get(MIRROR, "").rstrip("/")
    if mirror:
        url = f"{mirror}/{url.rpartition('/')[2]}"
    try:
        with _timeout(TIMEOUT_S):
            loaded = torch.hub.load_state_dict_from_url(
                url,
                model_dir=str(folder) if folder else None,
                map_location="cpu",
                progress=sys.stderr.isatty(),
                check_hash=True,
                weights_only=True,
            )
    except Exception as error:  # no network, refused, 404, cut short, wrong hash, damaged cache: one remedy
        if isinstance(error, HTTPError):  # torch leaves the refused answer's connection open
            error.close()
        reason = error.reason if isinstance(error, URLError) else error
        raise InputError(
            "the ImageNet weights could not be downloaded from {url} ({reason}); fetch that file elsewhere "
            "and give it with --weights FILE, or train without --pretrained",
            url=url,
            reason=_first_line(reason),
        ) from error
    return _plain(loaded, url)


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """torch's downloader sets none, and a dead network would hang for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def fit_weights(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    head: str,
    first: str = "",
    grey: tuple[float, ...] = (),
    source: str = "",
) -> list[str]:
    """Put ``state`` into ``module``; returns what was left out, in plain sentences.

    head: name of the last layer, which keeps its fresh weights where the class count differs. first: the
    layer that sees the picture; three-channel filters are folded for a grey network. grey: the standard
    deviations per channel that the weights were trained with. source: what messages call the weights.

    Raises InputError where they belong to another network.
    """
    own = module.state_dict()
    given = {k: v for k, v in state.items() if not k.startswith(AUXILIARY)}
    weight = f"{first}.weight"
    if first and weight in given and own[weight].shape[1] == 1 and given[weight].shape[1:2] == (3,):
        given[weight] = fold_grey(given[weight], grey)
    in_head = {k for k in own if k == head or k.startswith(f"{head}.")}
    kept = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    counters = {k for k in own if k.endswith("num_batches_tracked")}
    wrong = sorted((set(own) - set(kept) - in_head - counters) | (set(given) - set(own) - in_head))
    if wrong:
        raise InputError(
            "the weights in {source} belong to another network or input size ({count} entries do not fit, "
            "such as {names}); choose the --model they were made with",
            source=source,
            count=len(wrong),
            names=", ".join(wrong[:3]),
        )
    fresh = in_head - set(kept)
    if fresh:  # a head is taken whole or not at all
        kept = {k: v for k, v in kept.items() if k not in in_head}
    module.load_state_dict({**own, **kept})
    if fresh:
        return [tr("the last layer ({head}) starts fresh: the weights are for other classes", head=head)]
    return []


def fold_grey(weight: Tensor, std: tuple[float, ...]) -> Tensor:
    """Filters ``(out, 3, kh, kw)`` → ``(out, 1, kh, kw)`` that answer alike to a grey picture.

    Pixels are then scaled by one standard deviation for all channels (the mean of ``std``), so every
    channel's filter is weighed by that over its own.
    """
    scale = torch.tensor(std if len(std) == 3 else (1.0, 1.0, 1.0))
    weighed = weight * (scale.mean() / scale)[None, :, None, None]
    return weighed.sum(1, keepdim=True)


def _first_line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]

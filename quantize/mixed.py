"""Mixed precision: the layers that int8 hurts most stay float, until what is left is good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.types import U8
from imago.quantize.ptq import Candidate, Tried, agreement, divergence, probabilities
from imago.quantize.sensitivity import LayerSensitivity, remade

SHARE = 0.5  # of the layers; a network with more of them in float is none in int8


def mixed(
    candidate: Candidate,
    layers: Sequence[LayerSensitivity],
    held_out: U8,
    good_enough: Callable[[Candidate], bool],
) -> Candidate | None:
    """``candidate`` with 1, 2, 3, 4, 6, 8, 12 … layers in float, the first that is ``good_enough``.

    Layers go by what they gain over what they cost. None where half of the layers do not suffice.
    """
    order = ranked(layers)
    wanted = probabilities(OrtEngine(candidate.network.view.model.SerializeToString()), held_out)
    for count in _counts(int(SHARE * len(order))):
        floats = candidate.floats.union(*(layer.island for layer in order[:count]))
        model = remade(candidate, floats)
        got = probabilities(OrtEngine(model.SerializeToString()), held_out)
        scheme = f"{candidate.scheme}, {count} of {len(order)} layers float"
        tried = Tried(scheme, divergence(wanted, got), agreement(wanted, got))
        changed = replace(
            candidate,
            scheme=scheme,
            model=model,
            divergence=tried.divergence,
            agreement=tried.agreement,
            floats=floats,
            tried=(*candidate.tried, tried),
        )
        if good_enough(changed):
            return changed
    return None


def ranked(layers: Sequence[LayerSensitivity]) -> list[LayerSensitivity]:
    """Those first that gain most per cost: their share of the work, and as much again for the two
    conversions that an island of float needs."""
    total = max(1, sum(layer.macs for layer in layers))
    island = 1 / max(1, len(layers))
    return sorted(layers, key=lambda x: x.gain / (x.macs / total + island), reverse=True)


def _counts(most: int) -> list[int]:
    counts, step = [1, 2, 3], 4
    while step <= most:
        counts += [step, step * 3 // 2]
        step *= 2
    return [count for count in counts if count <= most]

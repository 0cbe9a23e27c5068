"""Runs in the converter's environment: a float TFLite network → quantised ones, by ai-edge-quantizer.

Recipes, by scheme:

static    every operator but the last softmax in int8, ranges from real pictures.
mixed     the same, but the last operators (by parts of the network: ``TAILS``) keep float activations: int8
          weights, multiplied in integers with inputs that are quantised at run time. That is where networks
          with heavy-tailed activations lose their accuracy (MobileNetV3, EfficientNet).
dynamic   all of the network in that way: no pictures needed.
weights   weights stored as int8 with one scale per channel, computed in float: the engine unpacks them once,
          when it loads the file.
fp16      weights stored in half precision, computed in float.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.engines.litert import LiteRtEngine
from imago.export.tflite_export import engine_probabilities
from imago.export.tflite_graph import WEIGHTED, Network
from imago.export.tflite_passes import strip
from imago.quantize.tflite_passes import absorb_scalars, decompose_hard_swish, float_core, uint8_front
from imago.quantize.tflite_ranges import Observed, as_statistics, observe

RANGES = ("mse", "minmax")
TAILS = (0.125, 0.25, 0.375, 0.5, 0.75)  # part of the operators with weights that keeps float activations
FULL = (np.array([[0.0]], np.float32), np.array([[255.0]], np.float32))  # of a pixel
CLOSE = 0.03  # MobileNetV3-Small: 0.03 is about 4 % other answers, none of them systematic
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """A quantised network, how it was made, and how far it is from the float one."""

    data: bytes
    name: str
    tail: float
    distance: float = 0.0


def work(job: Mapping[str, Any], tell: Callable[[int], None]) -> dict[str, Any]:
    """job: ``source``, ``target`` (files), ``scheme``, ``pictures``, ``held_out`` (.npy, uint8
    ``(n, H, W, C)``; the latter choose among the candidates).

    Returns the recipe's name, the part of the network with float activations, and the distance.
    """
    data = Path(job["source"]).read_bytes()
    if job["scheme"] in DATA_FREE:
        chosen = DATA_FREE[job["scheme"]](data)
    else:
        images, held_out = (np.load(job[name], allow_pickle=False) for name in ("pictures", "held_out"))
        candidates = _static(data, images, job["scheme"] == "mixed", tell)
        chosen = first_close(candidates, data, held_out)
    Path(job["target"]).write_bytes(chosen.data)
    facts = {"name": chosen.name, "tail": chosen.tail, "distance": chosen.distance}
    return {**facts, "quantizer": f"ai-edge-quantizer {metadata.version('ai-edge-quantizer')}"}


def first_close(candidates: Iterable[Candidate], source: bytes, held_out: Array) -> Candidate:
    """The first candidate close to the float network ``source``, else the closest; later ones are not made.

    Close: total variation distance of the probabilities (half the sum of their absolute differences, so that
    it does not depend on the number of classes), mean over ``held_out``, at most ``CLOSE``.
    """
    wanted = engine_probabilities(LiteRtEngine(source), held_out)
    best: Candidate | None = None
    for made in candidates:
        got = engine_probabilities(LiteRtEngine(made.data), held_out)
        candidate = replace(made, distance=float(np.abs(got - wanted).sum(1).mean() / 2))
        if best is None or candidate.distance < best.distance:
            best = candidate
        if candidate.distance <= CLOSE:
            break
    if best is None:
        raise ValueError("no candidates")
    return best


def _static(data: bytes, images: Array, mixed: bool, tell: Callable[[int], None]) -> Iterator[Candidate]:
    """Most integer first."""
    network = Network(data)
    float_core(network)
    decompose_hard_swish(network)
    absorb_scalars(network)
    core = network.to_bytes()
    network = Network(core)
    observed = observe(core, images, advance=tell)
    groups = weighted_groups(network)
    for tail in (0.0, *(TAILS if mixed else ())):
        count = round(tail * len(groups))
        if bool(tail) != bool(count):
            continue
        for ranges in RANGES if tail == 0 else RANGES[:1]:
            made = _quantised(core, network, observed, ranges, groups[len(groups) - count :])
            yield Candidate(made, _name(ranges, tail), tail)


def _name(ranges: str, tail: float) -> str:
    plain = f"static, per-channel, {ranges}"
    return f"{plain}; float activations in the last {tail:.0%}" if tail else plain


def weighted_groups(network: Network) -> list[list[Any]]:
    """Operators in order, cut before each one that has weights."""
    groups: list[list[Any]] = [[]]
    for operator in network.graph.operators:
        if network.kind(operator) in WEIGHTED and groups[-1]:
            groups.append([])
        groups[-1].append(operator)
    return groups


def _quantised(
    data: bytes,
    network: Network,
    observed: Mapping[str, Observed],
    ranges: str,
    tail: Sequence[Sequence[Any]],
) -> bytes:
    """int8 throughout but for ``tail``'s activations, uint8 at the front."""
    from ai_edge_quantizer.qtyping import TFLOperationName as Kind
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    recipe.add_static_config(".*", Kind.ALL_SUPPORTED, 8, 8)
    _keep_output_float(recipe)
    for operator in (operator for group in tail for operator in group):
        kind = network.kind(operator)
        place = "^" + re.escape(network.name(operator.outputs[0])) + ";$"
        if kind in WEIGHTED:
            recipe.add_dynamic_config(place, Kind(kind), 8, **_grain(kind))
        elif kind in Kind.__members__:
            recipe.add_quantization_config(place, Kind(kind), algorithm_key="no_quantize")
    statistics = as_statistics(observed, ranges)
    statistics[network.name(network.input)] = {"min": FULL[0], "max": FULL[1]}
    made = Network(_run(data, recipe, statistics))
    if made.type(made.input) == "INT8":
        uint8_front(made)
    return _packed(made)


def _dynamic(data: bytes) -> Candidate:
    from ai_edge_quantizer.qtyping import TFLOperationName as Kind
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    for kind in WEIGHTED:
        recipe.add_dynamic_config(".*", Kind(kind), 8, **_grain(kind))
    made = Network(_run(data, recipe, None))
    return Candidate(_packed(made), "dynamic, per-channel", 1.0)


def _weights(data: bytes) -> Candidate:
    from ai_edge_quantizer.qtyping import TFLOperationName as Kind
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    for kind in WEIGHTED:
        recipe.add_weight_only_config(".*", Kind(kind), 8)
    made = Network(_run(data, recipe, None))
    return Candidate(_packed(made), "weights per-channel", 1.0)


def _half(data: bytes) -> Candidate:
    from ai_edge_quantizer.qtyping import TFLOperationName as Kind
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    recipe.add_weight_only_config(".*", Kind.ALL_SUPPORTED, 16, algorithm_key="float_casting")
    made = Network(_run(data, recipe, None))
    return Candidate(_packed(made), "weights in half precision", 1.0)


# scheme → recipe, of those that need no pictures
DATA_FREE: dict[str, Callable[[bytes], Candidate]] = {"dynamic": _dynamic, "weights": _weights, "fp16": _half}


def _grain(kind: str) -> dict[str, Any]:
    """One scale per channel, but for fully connected layers: tflite-runtime 2.14 reads the first one only
    when it quantises their input at run time, and answers nonsense without a word."""
    from ai_edge_quantizer.qtyping import QuantGranularity

    whole = kind == "FULLY_CONNECTED"
    return {"granularity": QuantGranularity.TENSORWISE if whole else QuantGranularity.CHANNELWISE}


def _keep_output_float(recipe: Any) -> None:
    """Probabilities in steps of 1/256 would lose what a threshold or a top-5 list needs."""
    from ai_edge_quantizer.qtyping import TFLOperationName as Kind

    for kind in (Kind.SOFTMAX, Kind.OUTPUT):
        recipe.add_quantization_config(".*", kind, algorithm_key="no_quantize")


def _run(data: bytes, recipe: Any, statistics: Any) -> bytes:
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(data, recipe.get_quantization_recipe())
    made = quantizer.quantize(statistics) if statistics is not None else quantizer.quantize()
    return bytes(made.quantized_model)


def _packed(network: Network) -> bytes:
    strip(network)
    return network.to_bytes()

"""Models that imago did not export: flags and the graph itself fill the missing contract.

Whatever is not given is read from the graph or guessed, and every guess is said in a sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from imago.edge_runtime.contract import check_classes
from imago.edge_runtime.engines.base import Engine, Tensor
from imago.edge_runtime.errors import InputError, ModelError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import Fit, InputSpec, Layout, ModelSpec
from imago.edge_runtime.types import Color

MAX_LABEL_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class ForeignOptions:
    """What a person knows about a foreign model; None or empty: read it from the graph, or guess.

    labels: names in index order; ``labels_count`` stands in where only the number is known.
    size: ``(width, height)``. scale, mean, std: the model gets ``(pixel · scale - mean) / std``.
    """

    labels: tuple[str, ...] = ()
    labels_count: int | None = None
    size: tuple[int, int] | None = None
    color: Color | None = None
    layout: Layout | None = None
    fit: Fit | None = None
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    output: Literal["probabilities", "logits"] | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise InputError(
                "--input-scale {value} is not usable; expected a number above 0", value=self.scale
            )

    @property
    def given(self) -> bool:
        """True where anything at all was said."""
        return self != ForeignOptions()


def read_labels(path: Path | str) -> tuple[str, ...]:
    """Class names from a text file, one per line in index order. Raises InputError."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise InputError("{path} is too large for a list of labels", path=path)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            "cannot read the labels in {path} ({reason})", path=path, reason=error.strerror or error
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            "{path} is not UTF-8 text; save the labels as UTF-8, one per line", path=path
        ) from error
    lines = tuple(line.strip() for line in text.rstrip().splitlines())
    if not lines or not all(lines):
        where = lines.index("") + 1 if lines else 1
        raise InputError(
            "{path}, line {line}: an empty label; expected one name per line", path=path, line=where
        )
    return lines


def foreign_spec(
    engine: Engine, options: ForeignOptions | None = None, *, name: str = "model"
) -> tuple[ModelSpec, list[str]]:
    """A contract for ``engine``'s model, and one sentence for everything that was assumed.

    Raises ModelError where flags and graph contradict each other, or the graph leaves open what
    nobody said.
    """
    options = options or ForeignOptions()
    assumed: list[str] = []
    layout = _layout(engine, options, assumed)
    input_spec = _input(engine, options, layout, assumed)
    row = _probe(engine, input_spec)
    labels = _labels(options, len(row), assumed)
    output = options.output or _output(row, engine.output_step, assumed)
    if engine.outputs > 1:
        assumed.append(tr("the first of {count} outputs holds the classes", count=engine.outputs))
    return ModelSpec(labels=labels, input=input_spec, name=name, output=output, precision="unknown"), assumed


def _layout(engine: Engine, options: ForeignOptions, assumed: list[str]) -> Layout:
    if options.layout:
        return options.layout
    shape = engine.input_shape
    if shape[1] not in (1, 3) and shape[3] in (1, 3):
        return "nhwc"
    if shape[1] not in (1, 3) or shape[3] in (1, 3):
        assumed.append(tr("layout nchw: channels before rows (--input-layout nhwc for the other)"))
    return "nchw"


def _input(engine: Engine, options: ForeignOptions, layout: Layout, assumed: list[str]) -> InputSpec:
    shape = engine.input_shape
    channels, height, width = shape[1:] if layout == "nchw" else (shape[3], shape[1], shape[2])
    if options.size:
        width, height = width or options.size[0], height or options.size[1]
        if (width, height) != options.size:
            raise ModelError(
                "--input-size {told} does not fit: the network takes {width}x{height}",
                told="{}x{}".format(*options.size),
                width=width,
                height=height,
            )
    if not width or not height:
        raise ModelError(
            "the network leaves its input size open; give it with --input-size, for example 224x224"
        )
    color = options.color or _color(channels, assumed)
    mean, std = _scaling(engine, options, assumed)
    if options.fit is None:
        assumed.append(tr("pictures of another shape are cut to the centre (--input-fit)"))
    return InputSpec(
        width=width,
        height=height,
        channels=1 if color == "gray" else 3,
        color=color,
        layout=layout,
        fit=options.fit or "center-crop",
        dtype=cast(Literal["uint8", "float32"], engine.input_dtype),
        mean=mean,
        std=std,
    )


def _color(channels: int | None, assumed: list[str]) -> Color:
    if channels == 1:
        return "gray"
    assumed.append(tr("colours in the order red, green, blue (--input-color bgr for the other)"))
    return "rgb"


def _scaling(
    engine: Engine, options: ForeignOptions, assumed: list[str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``mean`` and ``std`` in pixel units: ``(p·s - m) / d`` is ``(p - m/s) / (d/s)``."""
    given = options.scale is not None or bool(options.mean) or bool(options.std)
    if engine.input_dtype == "uint8":
        if given:
            raise ModelError(
                "the network takes uint8 pixels; leave out --input-scale, --input-mean, --input-std"
            )
        return (), ()
    if not given:
        assumed.append(tr("pixels 0 to 255 without scaling (--input-scale, --input-mean, --input-std)"))
        return (), ()
    scale = options.scale or 1.0
    mean = tuple(value / scale for value in options.mean)
    std = tuple(value / scale for value in options.std or (1.0,))
    return mean, std


def _probe(engine: Engine, spec: InputSpec) -> Tensor:
    """What comes out for mid-grey noise; also proves that the network runs at this size at all."""
    for told, graph in zip(spec.shape, engine.input_shape, strict=True):
        if graph is not None and told != graph:
            raise ModelError(
                "--input-color {color} means {told} channels, the network takes {graph}",
                color=spec.color,
                told=spec.channels,
                graph="×".join("?" if side is None else str(side) for side in engine.input_shape),
            )
    noise = np.random.default_rng(0).integers(0, 256, spec.shape).astype(spec.dtype)
    if spec.dtype == "float32":
        axis = (1, -1, 1, 1) if spec.layout == "nchw" else (1, 1, 1, -1)
        mean, std = np.asarray(spec.mean or (0,), np.float32), np.asarray(spec.std or (1,), np.float32)
        noise = ((noise - mean.reshape(axis)) / std.reshape(axis)).astype(np.float32)
    return engine.run(noise)


def _labels(options: ForeignOptions, classes: int, assumed: list[str]) -> tuple[str, ...]:
    if options.labels:
        check_classes(len(options.labels), classes)
        return _distinct(options.labels, assumed)
    if options.labels_count is not None:
        check_classes(options.labels_count, classes)
    assumed.append(tr("classes are named by their number, 0 to {last} (--labels FILE)", last=classes - 1))
    return tuple(str(index) for index in range(classes))


def _distinct(labels: Sequence[str], assumed: list[str]) -> tuple[str, ...]:
    """ImageNet's own list names two classes "crane": a repeated label gets its index."""
    often = Counter(labels)
    repeated = sorted(label for label, count in often.items() if count > 1)
    if not repeated:
        return tuple(labels)
    assumed.append(tr("repeated labels get their number: {labels}", labels=", ".join(repeated[:5])))
    return tuple(f"{label} #{index}" if often[label] > 1 else label for index, label in enumerate(labels))


def _output(row: Tensor, step: float, assumed: list[str]) -> Literal["probabilities", "logits"]:
    rounding = len(row) * step / 2  # quantised probabilities are each off by half a step at most
    if float(row.min()) >= 0 and float(row.max()) <= 1 and abs(float(row.sum()) - 1) < 1e-3 + rounding:
        assumed.append(tr("the outputs are probabilities: they add up to 1 (--output logits if not)"))
        return "probabilities"
    assumed.append(tr("the outputs are logits: they do not add up to 1 (--output probabilities if not)"))
    return "logits"

"""The model contract: all that is needed to use a model file, as one validated value.

``ModelSpec`` is written into the model file at export (``imago.export``) and read back on the
board (``contract.py``). Nothing is parsed from file names and no side file repeats it.
The format is described in docs/contract.md.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np

from imago.edge_runtime.errors import ModelError
from imago.edge_runtime.types import F32, U8, Color

SCHEMA = 1
MAX_CLASSES = 100_000
MAX_SIDE = 4096
Fit = Literal["center-crop", "letterbox", "stretch"]
Layout = Literal["nchw", "nhwc"]
FITS: tuple[Fit, ...] = ("center-crop", "letterbox", "stretch")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a frame becomes the model's input tensor.

    width, height: pixels. channels: 1 or 3. color: channel order the network was trained with.
    fit: how a frame of another aspect ratio is fitted (see ``preprocess``). pad: grey level 0..255 of
    letterbox borders. dtype/mean/std: ``uint8`` for imago's own models (all arithmetic is inside the
    graph); ``float32`` for foreign ones, which get ``(pixel - mean) / std`` per channel.
    interpolation: the resize that the model was trained with; there is one.
    """

    width: int
    height: int
    channels: int = 3
    color: Color = "rgb"
    layout: Layout = "nchw"
    fit: Fit = "center-crop"
    pad: int = 0
    dtype: Literal["uint8", "float32"] = "uint8"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: Literal["imago-1"] = "imago-1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        _check(1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE, "input size", self.size)
        _check(self.channels in (1, 3), "input channels", self.channels)
        _check((self.color == "gray") == (self.channels == 1), "input colour", self.color)
        _check(self.color in ("rgb", "bgr", "gray"), "input colour", self.color)
        _check(self.layout in ("nchw", "nhwc"), "input layout", self.layout)
        _check(self.fit in FITS, "input fit", self.fit)
        _check(0 <= self.pad <= 255, "input pad", self.pad)
        _check(self.dtype in ("uint8", "float32"), "input dtype", self.dtype)
        _check(self.interpolation == "imago-1", "interpolation", self.interpolation)
        for name in ("mean", "std"):
            values = getattr(self, name)
            _check(len(values) in (0, 1, self.channels), f"input {name}", values)
        _check(0.0 not in self.std, "input std", self.std)

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)`` in pixels."""
        return self.width, self.height

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input tensor for one picture, in ``layout``."""
        if self.layout == "nchw":
            return 1, self.channels, self.height, self.width
        return 1, self.height, self.width, self.channels


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A small stored picture and the probabilities that the model must give for it.

    image: uint8 ``(h, w)`` or ``(h, w, 3)`` rgb; it goes through the board's own preprocessing, so that
    the test covers it too. probabilities: float32 ``(classes,)``. tolerance: largest absolute difference.
    """

    image: U8
    probabilities: F32
    tolerance: float = 0.02

    def to_dict(self) -> dict[str, Any]:
        """JSON form: zlib + base64 of the raw pixels."""
        raw = zlib.compress(np.ascontiguousarray(self.image).tobytes(), 9)
        return {
            "shape": list(self.image.shape),
            "zlib": base64.b64encode(raw).decode("ascii"),
            "probabilities": [round(float(p), 6) for p in self.probabilities],
            "tolerance": self.tolerance,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SelfTest:
        """Inverse of ``to_dict``; bounded, so that a hostile file cannot unpack to gigabytes."""
        shape = tuple(int(v) for v in data["shape"])
        _check(len(shape) in (2, 3) and all(1 <= v <= 512 for v in shape), "self-test shape", shape)
        want = int(np.prod(shape))
        raw = zlib.decompressobj().decompress(base64.b64decode(data["zlib"], validate=True), want + 1)
        _check(len(raw) == want, "self-test picture", f"{len(raw)} bytes")
        return cls(
            image=np.frombuffer(raw, np.uint8).reshape(shape),
            probabilities=np.asarray(data["probabilities"], np.float32),
            tolerance=float(data["tolerance"]),
        )


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The whole contract of one model file (docs/contract.md says what each field means)."""

    labels: tuple[str, ...]
    input: InputSpec
    name: str = "model"
    task: Literal["classification"] = "classification"
    schema: int = SCHEMA
    output: Literal["probabilities", "logits"] = "probabilities"
    precision: str = "fp32"
    display_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accuracy: tuple[Mapping[str, Any], ...] = ()
    calibration: Mapping[str, Any] = field(default_factory=dict)
    pruning: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    selftest: SelfTest | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        names = {k: tuple(v) for k, v in self.display_names.items()}
        object.__setattr__(self, "display_names", names)
        object.__setattr__(self, "accuracy", tuple(self.accuracy))
        _check(self.schema == SCHEMA, "schema", self.schema)
        _check(self.task == "classification", "task", self.task)
        _check(self.output in ("probabilities", "logits"), "output", self.output)
        _check(1 <= len(self.labels) <= MAX_CLASSES, "number of labels", len(self.labels))
        _check(all(isinstance(v, str) and v for v in self.labels), "labels", self.labels[:3])
        _check(len(set(self.labels)) == len(self.labels), "labels (repeated)", self.labels[:3])
        _check(all(len(v) == len(self.labels) for v in names.values()), "display names", sorted(names))

    def display(self, index: int, lang: str = "en") -> str:
        """Name of class ``index`` in ``lang``; the plain label where no translation is carried."""
        return self.display_names.get(lang, self.labels)[index]

    def to_json(self) -> str:
        """Compact JSON with sorted keys (the same contract gives the same bytes)."""
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "selftest"}
        data["input"] = asdict(self.input)
        if self.selftest is not None:
            data["selftest"] = self.selftest.to_dict()
        return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read and validate; unknown keys are ignored, so that newer files open where they can.

        Raises ModelError for anything that does not fit.
        """
        try:
            data = json.loads(text)
            data["input"] = InputSpec(**_known(InputSpec, data["input"]))
            if data.get("selftest") is not None:
                data["selftest"] = SelfTest.from_dict(data["selftest"])
            return cls(**_known(cls, data))
        except ModelError:
            raise
        except Exception as error:  # any shape of foreign JSON ends in the same one clear line
            raise ModelError(
                "the model's contract is damaged ({error}); export the model again with imago export",
                error=f"{type(error).__name__}: {error}",
            ) from error


def _known(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    return {key: value for key, value in data.items() if key in names}


def _check(ok: bool, what: str, value: object) -> None:
    if not ok:
        raise ModelError(
            "the model's contract is not usable: {what} is {value}; export the model again, "
            "or correct the --input-… flags",
            what=what,
            value=repr(value),
        )

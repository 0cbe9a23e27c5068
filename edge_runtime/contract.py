"""Reading a model file's own contract (docs/contract.md) with what a board has: no onnx package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imago.edge_runtime.engines.base import Engine
from imago.edge_runtime.errors import ModelError
from imago.edge_runtime.spec import SCHEMA, ModelSpec

CONTRACT_KEY = "imago.contract"
SCHEMA_KEY = "imago.schema"
MAX_CHARACTERS = 16_000_000  # labels of 100,000 classes in two languages are far below this


def spec_from_metadata(metadata: Mapping[str, str]) -> ModelSpec | None:
    """The contract in a model file's metadata; None where it carries none.

    Raises ModelError for a damaged contract, or one of a newer schema.
    """
    text = metadata.get(CONTRACT_KEY)
    if text is None:
        return None
    schema = metadata.get(SCHEMA_KEY, str(SCHEMA))
    if schema != str(SCHEMA):
        raise ModelError(
            "the model's contract has schema {found}, this imago reads {known}; update imago-edge",
            found=schema[:20],
            known=SCHEMA,
        )
    if len(text) > MAX_CHARACTERS:
        raise ModelError("the model's contract is {size} characters long; it is damaged", size=len(text))
    return ModelSpec.from_json(text)


def read_spec(model: Path | str) -> ModelSpec:
    """The contract inside the model file ``model``.

    Raises ModelError where the file is not usable or carries none.
    """
    from imago.edge_runtime.engines.select import load_engine

    engine = load_engine(model, optimise=False)
    try:
        spec = spec_from_metadata(engine.metadata)
    finally:
        engine.close()
    if spec is None:
        raise no_contract(model)
    return spec


def no_contract(model: Path | str) -> ModelError:
    """The error for a model of unknown origin."""
    return ModelError(
        "{path} carries no contract (imago did not export it): give its classes with --labels FILE, "
        "or --labels N, and where needed --input-… (in Python: spec=foreign_spec(…))",
        path=model,
    )


def check_fit(spec: ModelSpec, engine: Engine) -> None:
    """Hold a contract against the network it describes. Raises ModelError with both numbers."""
    pairs = zip(spec.input.shape, engine.input_shape, strict=True)
    if not all(graph is None or told == graph for told, graph in pairs):
        raise ModelError(
            "the contract says an input of {told}, the network takes {graph}; "
            "correct --input-size, --input-color or --input-layout, or export the model again",
            told=_shape(spec.input.shape),
            graph=_shape(engine.input_shape),
        )
    if spec.input.dtype != engine.input_dtype:
        raise ModelError(
            "the contract says {told} input, the network takes {graph}; export the model again",
            told=spec.input.dtype,
            graph=engine.input_dtype,
        )
    check_classes(len(spec.labels), engine.classes)


def check_classes(labels: int, classes: int | None) -> None:
    """Labels and network outputs must be as many. Raises ModelError with both numbers."""
    if classes is not None and labels != classes:
        raise ModelError(
            "there are {labels} labels, but the network has {classes} outputs; "
            "give the list of labels that belongs to this model",
            labels=labels,
            classes=classes,
        )


def _shape(shape: tuple[int | None, ...]) -> str:
    return "×".join("?" if side is None else str(side) for side in shape)

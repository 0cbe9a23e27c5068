"""What people type for a layer, made into one: several spellings are in use, and all mean the same."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from imago.train.models.blocks import LAYERS
from imago.train.models.layers import Layer, LayerError, field_names

# Spellings of BaseNN, Keras and torch; our own first.
_NAMES = {
    "conv": "conv2d",
    "convolution": "conv2d",
    "maxpool2d": "maxpool",
    "maxpooling2d": "maxpool",
    "avgpool2d": "avgpool",
    "averagepooling2d": "avgpool",
    "globalaveragepooling2d": "globalavgpool",
    "adaptiveavgpool2d": "globalavgpool",
    "gap": "globalavgpool",
    "dense": "linear",
    "fc": "linear",
    "batchnorm2d": "batchnorm",
    "batchnormalization": "batchnorm",
    "bn": "batchnorm",
    "residualblock": "residual",
    "resblock": "residual",
    "inceptionblock": "inception",
}
_FIELDS = {
    "kernel_size": "kernel",
    "pool_size": "kernel",
    "filters": "channels",
    "out_channels": "channels",
    "out_features": "units",
    "strides": "stride",
    "p": "share",
    "rate": "share",
}
_BY_NAME = {kind.KIND.replace("_", ""): kind for kind in LAYERS}


def layer_kind(name: object) -> type[Layer]:
    """The layer called ``name`` in any usual spelling. Raises LayerError with the names there are."""
    plain = "".join(c for c in str(name).lower() if c.isalnum())
    plain = _NAMES.get(plain, plain)
    if plain in _BY_NAME:
        return _BY_NAME[plain]
    near = difflib.get_close_matches(plain, _BY_NAME, n=2, cutoff=0.5)
    raise LayerError(
        "no layer is called {name}; nearest: {near}; all: {names}",
        name=repr(name)[:60],
        near=", ".join(_BY_NAME[n].TITLE for n in near) or "–",
        names=", ".join(kind.TITLE for kind in LAYERS),
    )


def typed_layer(name: object, values: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Layer, int | None]:
    """The layer, and how many inputs were told for it (``size=(inputs, outputs)``; None where they were not).

    Raises LayerError for names and values that a layer does not have.
    """
    kind = layer_kind(name)
    known = field_names(kind)
    if len(values) > len(known):
        raise LayerError(
            "{layer} takes {names}, not {count} values",
            layer=kind.TITLE,
            names=", ".join(known) or "–",
            count=len(values),
        )
    given = dict(zip(known, values, strict=False))
    settings, inputs = typed_settings(kind, named)
    twice = next((name for name in settings if name in given), None)
    if twice is not None:
        raise LayerError("{layer}: {field} is given twice", layer=kind.TITLE, field=twice)
    given.update(settings)
    if "channels" in known and "channels" not in given:
        raise LayerError(
            "{layer} needs its number of channels, for example net.add({name}, {example})",
            layer=kind.TITLE,
            name=f'"{kind.KIND}"',
            example=16,
        )
    return made(kind, given), inputs


def typed_settings(kind: type[Layer], named: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """Settings under their own names, and the number of inputs where it was told. Raises LayerError."""
    known, inputs = field_names(kind), None
    settings: dict[str, Any] = {}
    for typed, told in named.items():
        key = _FIELDS.get(typed, typed)
        value = _plain(kind, key, told)
        if key == "size":
            inputs, value = value
            key = "units" if "units" in known else "channels"
        if key not in known or key in settings:
            raise LayerError(
                "{layer} has no setting {name} here; it has: {names}",
                layer=kind.TITLE,
                name=repr(typed)[:40],
                names=", ".join(known) or "–",
            )
        settings[key] = value
    return settings, inputs


def made(kind: type[Layer], given: dict[str, Any]) -> Layer:
    """The layer with these settings. Raises LayerError."""
    _same_padding(given)
    return kind(**given)


def _plain(kind: type[Layer], key: str, value: Any) -> Any:
    """(5, 5) → 5, "ReLU" → "relu"; a size stays a pair of numbers."""
    if key == "size":
        pair = tuple(value) if isinstance(value, list | tuple) else ()
        if len(pair) != 2 or not all(isinstance(v, int) for v in pair):
            raise LayerError("{layer}: size is (inputs, outputs), two whole numbers", layer=kind.TITLE)
        return pair
    if isinstance(value, list | tuple):
        if len(value) != 2 or value[0] != value[1]:
            raise LayerError(
                "{layer}: {field} is {value}; windows are square, give one number",
                layer=kind.TITLE,
                field=key,
                value=repr(value)[:40],
            )
        return value[0]
    return value.lower() if key == "activation" and isinstance(value, str) else value


def _same_padding(given: dict[str, Any]) -> None:
    """``padding="same"``: as wide as keeps the size of the maps, for odd kernels."""
    if given.get("padding") == "same":
        kernel = given.get("kernel", 3)
        if not isinstance(kernel, int) or kernel % 2 == 0:
            raise LayerError("padding same needs an odd kernel (3, 5, 7 …), not {kernel}", kernel=kernel)
        given["padding"] = kernel // 2
    elif given.get("padding") == "valid":
        given["padding"] = 0

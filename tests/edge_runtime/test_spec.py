"""The contract value: round trip, bounds, hostile JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.edge_runtime.errors import ModelError
from imago.edge_runtime.spec import InputSpec, ModelSpec, SelfTest


def spec() -> ModelSpec:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    return ModelSpec(
        labels=("ant", "蜜蜂"),
        input=InputSpec(32, 24),
        display_names={"zh": ("蚂蚁", "蜜蜂")},
        accuracy=({"split": "test", "n": 10, "top1": 0.9},),
        selftest=SelfTest(picture, np.array([0.25, 0.75], np.float32)),
    )


def test_round_trip() -> None:
    again = ModelSpec.from_json(spec().to_json())
    assert again == spec()
    assert again.selftest is not None
    assert spec().selftest is not None
    assert np.array_equal(again.selftest.image, spec().selftest.image)  # type: ignore[union-attr]
    assert again.display(0, "zh") == "蚂蚁"
    assert again.display(0, "fr") == "ant"
    assert spec().to_json() == again.to_json()


def test_unknown_keys_are_ignored() -> None:
    data = json.loads(spec().to_json())
    data["from_the_future"] = 1
    data["input"]["also_new"] = 2
    assert ModelSpec.from_json(json.dumps(data)) == spec()


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"labels": []},
        {"labels": ["a", "a"]},
        {"labels": ["a", 3]},
        {"task": "detection"},
        {"output": "boxes"},
        {"display_names": {"zh": ["一"]}},
        {"input": {"width": 0, "height": 5}},
        {"input": {"width": 5, "height": 10**9}},
        {"input": {"width": 5, "height": 5, "channels": 1}},
        {"input": {"width": 5, "height": 5, "std": [1, 0, 1]}},
        {"input": {"width": 5, "height": 5, "interpolation": "bicubic"}},
        {"input": None},
    ],
)
def test_unusable_contracts_are_refused(change: dict[str, object]) -> None:
    data = json.loads(spec().to_json())
    data.update(change)
    with pytest.raises(ModelError):
        ModelSpec.from_json(json.dumps(data))


def test_a_self_test_cannot_unpack_to_gigabytes() -> None:
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(b"\0" * 50_000_000)).decode()
    with pytest.raises(ModelError):
        SelfTest.from_dict({"shape": [4, 4], "zlib": bomb, "probabilities": [1.0], "tolerance": 0.1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(json.loads(spec().to_json()))), JSON)
def test_any_value_in_any_field_is_read_or_refused(key: str, value: object) -> None:
    data = json.loads(spec().to_json())
    data[key] = value
    try:
        ModelSpec.from_json(json.dumps(data))
    except ModelError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ModelError):
        ModelSpec.from_json(text)

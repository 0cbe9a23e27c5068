"""onnxruntime engine and contract reading: what is given, what is refused, in one clear line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.edge_runtime.contract import CONTRACT_KEY, SCHEMA_KEY, read_spec, spec_from_metadata
from imago.edge_runtime.engines.fake import FakeEngine
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.engines.select import load_engine
from imago.edge_runtime.errors import ModelError
from imago.edge_runtime.spec import InputSpec, ModelSpec

import onnx_models


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "lenet – 昆虫.onnx"
    onnx_models.lenet(path)
    return path


@pytest.mark.parametrize("arena", [True, False])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_engine_gives_what_a_bare_session_gives(model: Path, arena: bool, as_bytes: bool) -> None:
    engine = OrtEngine(model.read_bytes() if as_bytes else model, arena=arena)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    tensor = np.random.default_rng(1).integers(0, 256, (1, 1, 32, 32), np.uint8)
    row = engine.run(tensor)
    assert row.dtype == np.float32
    assert row.shape == (3,)
    np.testing.assert_array_equal(row, session.run(None, {"input": tensor})[0][0])
    assert (engine.input_shape, engine.input_dtype, engine.classes) == ((1, 1, 32, 32), "uint8", 3)
    assert engine.version == onnxruntime.__version__


def test_output_is_not_overwritten_by_the_next_run(model: Path) -> None:
    engine = load_engine(model)
    first = engine.run(np.zeros((1, 1, 32, 32), np.uint8))
    kept = first.copy()
    engine.run(np.full((1, 1, 32, 32), 255, np.uint8))
    np.testing.assert_array_equal(first, kept)


def test_contract_is_read_back(model: Path, tmp_path: Path) -> None:
    spec = onnx_models.lenet(tmp_path / "m.onnx")
    found = read_spec(tmp_path / "m.onnx")
    assert found == spec
    assert found.selftest is not None and spec.selftest is not None
    np.testing.assert_array_equal(found.selftest.image, spec.selftest.image)


def test_damaged_files_are_one_clear_line(model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    for number, data in enumerate((b"", b"hello" * 50, whole[: len(whole) // 2], whole[:-7], b"\0" * 4096)):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(data)
        with pytest.raises(ModelError) as caught:
            load_engine(path)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)


def test_missing_folder_and_unknown_suffixes(tmp_path: Path) -> None:
    for name, word in (("no.onnx", "no such model"), ("a.tflite", "no such model"), ("a.pt", ".onnx")):
        with pytest.raises(ModelError, match=word):
            load_engine(tmp_path / name)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelError, match="folder"):
        load_engine(tmp_path / "folder.onnx")


def test_unknown_opset_and_operator(model: Path, tmp_path: Path) -> None:
    future = onnx.load(model)
    future.opset_import[0].version = 99
    strange = onnx.load(model)
    strange.graph.node[3].op_type = "Tanhx"
    for number, proto in enumerate((future, strange)):
        path = tmp_path / f"{number}.onnx"
        onnx.save(proto, path)
        with pytest.raises(ModelError, match="does not have"):
            load_engine(path)


def test_not_a_classifier(tmp_path: Path) -> None:
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Add", ["a", "b"], ["c"])
    kinds = [info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "abc"]
    graph = onnx.helper.make_graph([node], "g", kinds[:2], kinds[2:])
    path = tmp_path / "add.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path
    )
    with pytest.raises(ModelError, match="not an image classifier"):
        load_engine(path)


def test_wrong_tensor_is_a_model_error(model: Path) -> None:
    with pytest.raises(ModelError, match="is the input size right"):
        load_engine(model).run(np.zeros((1, 1, 28, 28), np.uint8))


def test_newer_schema_says_update() -> None:
    text = onnx_models.spec_of().to_json()
    with pytest.raises(ModelError, match="update imago"):
        spec_from_metadata({CONTRACT_KEY: text, SCHEMA_KEY: "2"})


def test_no_contract(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx", metadata=False)
    with pytest.raises(ModelError, match="--labels"):
        read_spec(tmp_path / "m.onnx")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | JSON.map(json.dumps))
def test_hostile_contract_is_a_model_error(text: str) -> None:
    with pytest.raises(ModelError):
        spec_from_metadata({CONTRACT_KEY: text})


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [f.name for f in dataclasses.fields(ModelSpec)]
        + ["input." + f.name for f in dataclasses.fields(InputSpec)]
    ),
    JSON,
)
def test_one_hostile_field_is_a_model_error_or_harmless(name: str, value: object) -> None:
    data = json.loads(onnx_models.spec_of().to_json())
    place = data["input"] if name.startswith("input.") else data
    place[name.removeprefix("input.")] = value
    try:
        spec = spec_from_metadata({CONTRACT_KEY: json.dumps(data)})
    except ModelError:
        return
    assert spec is not None
    assert spec.input.shape[0] == 1
    spec.to_json()


def test_a_self_test_cannot_unpack_to_gigabytes() -> None:
    data = json.loads(onnx_models.spec_of().to_json())
    data["selftest"] = {"shape": [100000, 100000], "zlib": "", "probabilities": [1], "tolerance": 1}
    with pytest.raises(ModelError, match="self-test"):
        spec_from_metadata({CONTRACT_KEY: json.dumps(data)})


def test_fake_engine_is_the_same_everywhere() -> None:
    engine = FakeEngine(InputSpec(4, 4, 1, "gray"), 3)
    row = engine.run(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4))
    np.testing.assert_allclose(row, [0.548721, 0.256441, 0.194838], atol=1e-6)
    assert row.sum() == pytest.approx(1)


def test_a_file_whose_texts_are_no_utf_8_is_refused(model: Path, tmp_path: Path) -> None:
    """Found by fuzzing: onnxruntime hands names and metadata on as they are."""
    data = model.read_bytes()
    assert data.count(b"imago.schema") == 1
    (tmp_path / "m.onnx").write_bytes(data.replace(b"imago.schema", b"imago.\x97chema"))
    with pytest.raises(ModelError, match="not a usable ONNX model"):
        load_engine(tmp_path / "m.onnx")

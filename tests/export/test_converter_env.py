"""The converter's environment: what it says of itself, what it refuses, how work reaches it."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from imago.edge_runtime.errors import MissingDependency, ModelError, StorageError
from imago.export.converter_call import ask, clean_environment
from imago.export.converter_env import FOLDER_VARIABLE, ConverterEnv, describe, lenders

from support import imago


def test_states(tmp_path: Path) -> None:
    env = ConverterEnv(tmp_path / "env")
    assert env.state() == "missing"
    with pytest.raises(MissingDependency, match="imago setup tflite"):
        env.require()
    env.folder.mkdir()
    assert env.state() == "unfinished"
    env.marker.write_text(json.dumps({"version": 0}), encoding="utf-8")
    assert env.state() == "outdated"
    assert str(env.folder) in describe(env)


def test_the_folder_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert ConverterEnv.under(tmp_path).folder.parent == tmp_path
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "other"))
    assert ConverterEnv.under(tmp_path).folder == tmp_path / "other"


def test_only_its_own_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match="nothing was removed"):
        ConverterEnv(tmp_path).remove()
    assert (tmp_path / "thesis.txt").exists()
    (tmp_path / "pyvenv.cfg").write_text("")
    ConverterEnv(tmp_path).remove()
    assert not tmp_path.exists()


def test_packages_come_from_where_torch_is() -> None:
    spec = find_spec("torch")
    assert spec is not None
    assert Path(str(spec.origin)).parents[1] in lenders()


def test_what_fails_there_is_one_line_here() -> None:
    """This very Python stands in for the environment; the converter's own packages are not in it."""
    with pytest.raises(ModelError, match="ai_edge_quantizer") as caught:
        ask(Path(sys.executable), "imago.export.converter_check", {}, lambda steps: None)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="No module named"):
        ask(Path(sys.executable), "imago.no_such_worker", {}, lambda steps: None)


def test_the_users_python_path_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert "PYTHONPATH" not in clean_environment()


def test_setup_without_a_name_says_what_is_there(tmp_path: Path) -> None:
    env = {FOLDER_VARIABLE: str(tmp_path / "env")}
    done = imago("setup", "--json", "-", env=env)
    assert json.loads(done.stdout)["state"] == "missing"
    assert not (tmp_path / "env").exists()
    wrong = imago("setup", "--remove", env=env)
    assert wrong.returncode == 2
    assert "imago setup tflite" in wrong.stderr

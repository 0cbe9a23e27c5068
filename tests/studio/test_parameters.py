"""Every field of the parameter page takes effect: in the configuration, in the run, and in the program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from imago.edge_runtime.errors import InputError
from imago.studio.choices import Memory
from imago.studio.context import Studio
from imago.studio.jobs import kinds
from imago.studio.jobs.queue import Queue
from imago.studio.parameters import (
    INHERITED,
    advanced,
    basic,
    changed,
    config_from,
    default,
    find,
    not_for,
)
from imago.studio.program import program
from imago.studio.training import configured
from imago.studio.workspace import Workspace
from imago.train import session
from imago.train.config import TrainConfig

from studio_support import tiny_set

PARAMETERS = {p.name: p for p in (*basic(), *advanced())}
# One value of each field that is not its default and that a LeNet on a CPU can be trained with.
OTHER: dict[str, Any] = {
    "init": "first",
    "teacher": "first",
    "distill_weight": 0.5,
    "distill_temperature": 2.0,
    "mixup": 0.2,
    "cutmix": 1.0,
    "grow": 0.5,
    "epochs": 2,
    "lr": 0.003,
    "batch_size": 7,
    "optimizer": "rmsprop",
    "weight_decay": 0.002,
    "augment": "light",
    "pretrained": True,
    "freeze": "2",
    "seed": 11,
    "device": "cpu",
    "size": 40,
    "width_mult": 0.5,
    "stem": 1,
    "fit": "letterbox",
    "schedule": "cosine",
    "warmup": 0.2,
    "momentum": 0.8,
    "label_smoothing": 0.1,
    "ema": 0.9,
    "class_weights": "on",
    "patience": 9,
    "unfreeze_every": 1,
    "precision": "fp32",
    "threads": 1,
    "data.val_fraction": 0.25,
    "data.test_fraction": 0.2,
    "data.split_seed": 5,
}
# LeNet-5 has no published weights and no width: the run says so, instead of ignoring the field.
NOT_LENET = {"pretrained": "ImageNet", "width_mult": "width", "grow": "one size only"}
# A run to start from decides these, and so they cannot be changed along with it.
DECIDED = {"size", "stem", "fit"}
NO_FIELD = {"model", "data", "net", "weights"}  # chosen on other pages; a file of one's own: command line


def value_in(config: dict[str, Any], name: str) -> Any:
    if name in ("init", "teacher"):
        return Path(config[name]).name
    return config["data"][name[5:]] if name.startswith("data.") else config[name]


def test_every_setting_of_a_training_is_a_field() -> None:
    named = {name for name in PARAMETERS if not name.startswith("data.")}
    assert named == set(TrainConfig().to_dict()) - NO_FIELD
    assert set(OTHER) == set(PARAMETERS)


@pytest.mark.parametrize("name", OTHER)
def test_a_field_reaches_the_configuration(name: str) -> None:
    chosen = changed({}, name, OTHER[name])
    assert chosen == {name: OTHER[name]}
    usual = TrainConfig(model="lenet5").to_dict()
    config = config_from("lenet5", chosen).to_dict()
    assert value_in(config, name) == OTHER[name]
    assert {k for k in config if config[k] != usual[k]} == {name.partition(".")[0]}
    if name in ("init", "teacher"):
        assert config_from("lenet5", chosen, Path("/w/runs")).to_dict()[name] == str(Path("/w/runs/first"))
    assert changed(chosen, name, default(name)) == {}


@pytest.mark.parametrize("name", OTHER)
def test_a_field_is_explained_and_bounded(name: str) -> None:
    parameter = find(name)
    assert parameter.explanation.count(". ") + parameter.explanation.count("? ") >= 1  # two sentences
    assert parameter.explanation.endswith(".")
    if parameter.kind == "choice":
        assert default(name) in parameter.options
        outside: list[Any] = ["__import__('os')", None]
    elif parameter.kind == "switch":
        return
    elif parameter.kind == "run":
        outside = ["..", "../first", "a/b", "C:\\first"]
    else:
        TrainConfig(**{name: parameter.read(parameter.low)}) if "." not in name else None
        outside = [parameter.low - 1, parameter.high * 2 + 1, "3", float("nan")]
    for value in outside:
        with pytest.raises(InputError):
            changed({}, name, value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """``run.json`` of two runs for which every field was changed that LeNet knows: "all" starts from another
    run, and "decided" has the fields that this would decide."""
    place = tmp_path_factory.mktemp("all")
    data = tiny_set(place / "tiny")
    chosen = {name: value for name, value in OTHER.items() if name not in NOT_LENET}
    short = {"epochs": 1, "device": "cpu", "threads": 1}
    made: dict[str, Any] = {"runs": place / "runs"}
    for name, parameters in {
        "first": short,
        "decided": {**short, **{key: OTHER[key] for key in DECIDED}},
        "all": {key: value for key, value in chosen.items() if key not in DECIDED},
    }.items():
        run = place / "runs" / name
        config = config_from("lenet5", parameters, place / "runs")
        arguments = {"data": str(data), "config": config.to_dict(), "run": str(run)}
        if name == "all":
            kinds.train(json.loads(json.dumps(arguments)), lambda text: None)
        else:
            session.train(data, config, run, report=False)
        made[name] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return made


@pytest.mark.parametrize("name", [name for name in OTHER if name not in NOT_LENET])
def test_a_field_takes_effect_in_the_run(trained: dict[str, Any], name: str) -> None:
    run = trained["decided" if name in DECIDED else "all"]
    assert value_in(run["config"], name) == OTHER[name]
    if name in ("init", "teacher"):
        assert run["lineage"][name]["name"] == "first"
    if name == "size":
        assert (run["input"]["width"], run["input"]["height"]) == (40, 40)
    if name == "fit":
        assert run["input"]["fit"] == "letterbox"
    if name == "data.test_fraction":
        assert run["data"]["counts"]["test"] == pytest.approx(0.2 * 36, abs=2)


@pytest.mark.parametrize("name", INHERITED)
def test_a_run_to_start_from_decides_the_network(name: str) -> None:
    with pytest.raises(InputError, match="start from"):
        config_from("lenet5", {name: OTHER[name], "init": "first"})


def test_a_run_is_looked_for_before_the_training(trained: dict[str, Any], tmp_path: Path) -> None:
    """Gone, or of another network: said on the page, and not by a training that fails."""
    workspace = Workspace(tmp_path / "w")
    studio = Studio(workspace, Memory(workspace.choices), Queue(workspace.jobs))
    with pytest.raises(InputError, match="no finished run first"):
        configured(studio, {"teacher": "first"})
    shutil.copytree(trained["runs"] / "first", workspace.runs / "first")
    assert configured(studio, {"teacher": "first"}).teacher == workspace.runs / "first"
    assert configured(studio, {"init": "first"}).init == workspace.runs / "first"
    studio.memory.change(model="resnet18")
    with pytest.raises(InputError, match="is a lenet5, and the chosen network is resnet18"):
        configured(studio, {"init": "first"})


@pytest.mark.parametrize("name", NOT_LENET)
def test_a_field_that_the_network_does_not_know_is_refused(tmp_path: Path, name: str) -> None:
    config = config_from("lenet5", {name: OTHER[name], "epochs": 1})
    data = tiny_set(tmp_path / "tiny", per_class=7)
    with pytest.raises(InputError, match=NOT_LENET[name]):
        kinds.train(
            {"data": str(data), "config": config.to_dict(), "run": str(tmp_path / "run")}, lambda text: None
        )


def test_fields_say_for_which_network_they_are() -> None:
    refused = {name for name, p in PARAMETERS.items() if not_for(p, "lenet5")}
    assert refused == {*NOT_LENET, "stem"}
    assert not [name for name, p in PARAMETERS.items() if not_for(p, "mobilenet_v2")]


def test_the_program_takes_values_as_data() -> None:
    evil = "'); import os; os.system('x') #\n\"\"\""
    config = config_from("lenet5", {k: v for k, v in OTHER.items() if k not in {*NOT_LENET, *DECIDED}})
    text = program(config, Path("/data") / evil, Path("runs") / evil)
    made: dict[str, Any] = {"__name__": "read"}
    exec(compile(text, "program", "exec"), made)  # noqa: S102 - it is our program that is tested
    assert made["DATA"] == Path("/data") / evil
    assert made["OUT"] == Path("runs") / evil
    assert made["CONFIG"] == config
    assert "os" not in made

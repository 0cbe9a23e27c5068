"""Every field of the parameter page takes effect: in the configuration, in the run, and in the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imago.edge_runtime.errors import InputError
from imago.studio.jobs import kinds
from imago.studio.parameters import advanced, basic, changed, config_from, default, find, not_for
from imago.studio.program import program
from imago.train.config import TrainConfig

from studio_support import tiny_set

PARAMETERS = {p.name: p for p in (*basic(), *advanced())}
# One value of each field that is not its default and that a LeNet on a CPU can be trained with.
OTHER: dict[str, Any] = {
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
NOT_LENET = {"pretrained": "ImageNet", "width_mult": "width"}
NO_FIELD = {"model", "init", "teacher", "weights", "distill_weight", "distill_temperature", "data", "net"}
NO_FIELD |= {"mixup", "cutmix", "grow"}  # of the command line only so far


def value_in(config: dict[str, Any], name: str) -> Any:
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
    else:
        TrainConfig(**{name: parameter.read(parameter.low)}) if "." not in name else None
        outside = [parameter.low - 1, parameter.high * 2 + 1, "3", float("nan")]
    for value in outside:
        with pytest.raises(InputError):
            changed({}, name, value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """``run.json`` of a run for which every field was changed that LeNet knows."""
    place = tmp_path_factory.mktemp("all")
    chosen = {name: value for name, value in OTHER.items() if name not in NOT_LENET}
    config = config_from("lenet5", chosen)
    data = tiny_set(place / "tiny")
    run = place / "runs" / "all"
    arguments = {"data": str(data), "config": config.to_dict(), "run": str(run)}
    kinds.train(json.loads(json.dumps(arguments)), lambda text: None)
    return dict(json.loads((run / "run.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", [name for name in OTHER if name not in NOT_LENET])
def test_a_field_takes_effect_in_the_run(trained: dict[str, Any], name: str) -> None:
    assert value_in(trained["config"], name) == OTHER[name]
    if name == "size":
        assert (trained["input"]["width"], trained["input"]["height"]) == (40, 40)
    if name == "fit":
        assert trained["input"]["fit"] == "letterbox"
    if name == "data.test_fraction":
        assert trained["data"]["counts"]["test"] == pytest.approx(0.2 * 36, abs=2)


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
    assert refused == {"pretrained", "width_mult", "stem"}
    assert not [name for name, p in PARAMETERS.items() if not_for(p, "mobilenet_v2")]


def test_the_program_takes_values_as_data() -> None:
    evil = "'); import os; os.system('x') #\n\"\"\""
    config = config_from("lenet5", {k: v for k, v in OTHER.items() if k not in NOT_LENET})
    text = program(config, Path("/data") / evil, Path("runs") / evil)
    made: dict[str, Any] = {"__name__": "read"}
    exec(compile(text, "program", "exec"), made)  # noqa: S102 - it is our program that is tested
    assert made["DATA"] == Path("/data") / evil
    assert made["OUT"] == Path("runs") / evil
    assert made["CONFIG"] == config
    assert "os" not in made

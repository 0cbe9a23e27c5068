"""What a worker can do, by name. Each gets its arguments (JSON) and a way to say something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Say = Callable[[str], None]
Kind = Callable[[dict[str, Any], Say], dict[str, Any]]


def train(arguments: dict[str, Any], say: Say) -> dict[str, Any]:
    """data, config, run → a trained run with its model file. An interrupted run goes on."""
    from imago.train import session
    from imago.train.checkpoint import WEIGHTS
    from imago.train.config import TrainConfig
    from imago.train.run import RUN_FILE
    from imago.workflow.steps import export_run

    run = Path(arguments["run"])
    if not (run / WEIGHTS).exists():
        if (run / RUN_FILE).exists():
            session.resume(run, say=say)
        else:
            session.train(Path(arguments["data"]), TrainConfig.from_dict(arguments["config"]), run, say=say)
    model = run / f"{run.name}.onnx"
    if not model.exists():
        export_run(run, model, overwrite=True)
    return {"run": run.name, "model": str(model)}


def check(arguments: dict[str, Any], say: Say) -> dict[str, Any]:
    """data → what ``imago data check`` finds."""
    from imago.train.data.check import check_dataset

    return dict(check_dataset(Path(arguments["data"])).to_dict())


def draw(arguments: dict[str, Any], say: Say) -> dict[str, Any]:
    """out, per_class, size → a set of drawn insects; all or nothing."""
    from imago.train.generate.insects import make_dataset

    out = Path(arguments["out"])
    make_dataset(out, per_class=arguments["per_class"], size=arguments["size"])
    return {"set": out.name}


KINDS: Mapping[str, Kind] = {"train": train, "check": check, "draw": draw}

"""What a worker can do, by name. Each gets its arguments (JSON) and a way to say something."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import GateError, ImagoError, InputError
from imago.edge_runtime.files import write_json

COMPRESSED, RESULT = "compressed", "result.json"  # below the run
Say = Callable[[str], None]
SEARCH_REPORT = "search.html"  # in the winner's run: why it won
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
    try:
        examine({"run": str(run)}, say)
    except ImagoError as error:  # the pictures may be gone when a run is resumed; the network is there
        say(str(error))
    return {"run": run.name, "model": str(model)}


def examine(arguments: dict[str, Any], say: Say) -> dict[str, Any]:
    """run → its mistakes, from its exported model."""
    from imago.studio.jobs.examine import examine as look

    run = Path(arguments["run"])
    return look(run, run / f"{run.name}.onnx")


def compress(arguments: dict[str, Any], say: Say) -> dict[str, Any]:
    """run, options → what ``imago compress`` finds, in ``<run>/compressed``. A stopped one goes on."""
    from imago.workflow.compress.choose import Gates
    from imago.workflow.compress.options import CompressOptions
    from imago.workflow.compress.session import compress as make_smaller

    run, chosen = Path(arguments["run"]), dict(arguments["options"])
    gates = Gates(**chosen.pop("gates"))
    chosen["macs"] = tuple(chosen["macs"])
    out = run / COMPRESSED
    try:
        result = make_smaller(run, out, CompressOptions(gates=gates, **chosen), say=say).to_dict()
    except GateError as error:  # all is measured all the same, and the page shows it
        loose = CompressOptions(gates=Gates(max_drop=100.0), **chosen)
        result = {**make_smaller(run, out, loose).to_dict(), "chosen": None, "reason": str(error)}
    write_json(out / RESULT, {**result, "gates": arguments["options"]["gates"]})
    return {"run": run.name}


def search(arguments: dict[str, Any], say: Say) -> dict[str, Any]:
    """data, options, out → a search in ``out``, its winner as the run ``run``. A stopped one goes on."""
    from imago.edge_runtime.files import replacing
    from imago.train.report import REPORT
    from imago.workflow.search.options import SearchOptions
    from imago.workflow.search.record import STATE
    from imago.workflow.search.session import resume
    from imago.workflow.search.session import search as look_for
    from imago.workflow.steps import export_run

    out, run = Path(arguments["out"]), Path(arguments["run"])
    if (out / STATE).exists():
        report = resume(out, say=say)
    else:
        report = look_for(Path(arguments["data"]), SearchOptions(**arguments["options"]), out, say=say)
    if not run.exists():
        with replacing(run) as temporary:
            shutil.copytree(report.run, temporary)
            shutil.copyfile(out / REPORT, temporary / SEARCH_REPORT)
    model = run / f"{run.name}.onnx"
    if not model.exists():
        export_run(run, model, overwrite=True)
    examine({"run": str(run)}, say)
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


def commands(arguments: dict[str, Any], say: Say) -> dict[str, Any]:
    """lines → ``imago WORDS…`` for each, one after the other, each in a process of its own."""
    last = ""
    for words in arguments["lines"]:
        say("imago " + " ".join(map(str, words)))
        last = _command([str(word) for word in words], say)
    return {"last": last}


def _command(words: list[str], say: Say) -> str:
    """The last line that it says. Raises InputError with that line where it fails."""
    run = subprocess.Popen(  # noqa: S603 - a list of words, no shell
        [sys.executable, "-P", "-m", "imago.cli.main", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    last = ""
    try:
        for line in run.stdout or ():
            last = line.strip() or last
            say(line.rstrip())
        code = run.wait()
    except BaseException:
        run.terminate()
        run.wait()
        raise
    if code != 0:
        raise InputError("{reason}", reason=last.removeprefix("imago: ") or code)
    return last


KINDS: Mapping[str, Kind] = {
    "train": train,
    "check": check,
    "draw": draw,
    "examine": examine,
    "compress": compress,
    "search": search,
    "commands": commands,
}

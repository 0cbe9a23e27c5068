"""``imago search`` with real worker processes on a small set: stops, resumes, gates, storages, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import GateError, InputError, MissingDependency, StorageError
from imago.train.data.layouts import load_dataset
from imago.train.models.registry import build_model, default_stem
from imago.train.run import Run
from imago.workflow.search.options import SearchOptions
from imago.workflow.search.session import resume, search, study_name
from imago.workflow.search.space import Space
from imago.workflow.search.storage import JOURNAL, UNTIL, entries_of, mend_journal, open_storage, open_study
from imago.workflow.search.worker import Job, Worker

from picture_support import striped_folders
from support import ROOT, imago

QUICK = ("--models", "lenet5", "--epochs", "1", "--workers", "1", "--threads", "1", "--budget", "2h")
FEW = SearchOptions(models=("lenet5",), epochs=1, trials=4, workers=1, threads=1, budget_s=7200)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return striped_folders(tmp_path_factory.mktemp("photos") / "photos", count=20)


@pytest.fixture(scope="module")
def done(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A whole search by the command; two workers on one journal."""
    out = tmp_path_factory.mktemp("search") / "out"
    flags = ("--workers", "2", "--trials", "4", "-o", str(out), "--json", "-")
    ran = imago("search", str(photos), *QUICK, *flags, timeout=1500)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def begin(photos: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"}
    command = [sys.executable, "-m", "imago.cli.main", "search", str(photos), *QUICK, *more, "-o", str(out)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def trials(out: Path) -> list[Any]:
    name = json.loads((out / "search.json").read_text(encoding="utf-8"))["study"]
    return open_study(open_storage(str(out / JOURNAL)), name).get_trials(deepcopy=False)


def wait_until(what: Any, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if what():
            return
        if process.poll() is not None:
            pytest.fail(process.communicate()[1])
        time.sleep(0.1)
    pytest.fail("it never came")


def test_the_winner_is_a_run_like_any_other_and_its_file_works(done: dict[str, Any]) -> None:
    run = Run.load(Path(done["run"]))
    assert run.lineage["init"]["name"] == done["winner"]["folder"]
    assert {f["split"] for f in run.results} == {"val", "test"}
    figures = json.loads((Path(done["run"]) / "metrics.json").read_text(encoding="utf-8"))
    assert figures["val"]["accuracy"] == done["winner"]["accuracy"] >= done["winner"]["trial_accuracy"]
    assert run.config.epochs == figures["epochs"] == 27
    with Classifier(Path(done["model"])) as classifier:
        assert classifier.self_test().passed
    assert (Path(done["folder"]) / "predict.py").is_file()


def test_the_winner_is_trained_on_with_the_usual_maps(photos: Path, tmp_path: Path) -> None:
    """A trial is short and takes the coarse ones; with a limit to the latency they stay."""
    options = replace(FEW, models=("mobilenet_v3_small",), trials=1)
    report = search(photos, options, tmp_path / "free")
    trial, best = (Run.load(report.folder / name) for name in (f"trials/{report.winner.row.folder}", "best"))
    usual = default_stem("mobilenet_v3_small", best.input.width, best.input.height)
    assert trial.model["stem"] == 0 < usual == best.model["stem"]
    assert report.winner.finer and "finer maps" in report.paragraph
    report = search(photos, replace(options, max_latency_us=1e6), tmp_path / "limited")
    assert Run.load(report.run).model["stem"] == 0
    assert not report.winner.finer


def test_all_settings_were_tried_and_the_best_third_trained_on(done: dict[str, Any]) -> None:
    rows = [r for r in done["trials"] if r["state"] != "failed"]
    fresh = [r for r in rows if r["goes_on_from"] is None]
    assert [(r["rung"], r["epochs"]) for r in fresh] == [(1, 3), (0, 1), (0, 1), (0, 1)]  # a sane one first
    later = [r for r in rows if r["goes_on_from"] is not None]
    assert 1 <= len(later) <= 2  # whoever was among the best third when somebody looked
    assert all(r["rung"] == 1 and r["epochs"] == 2 for r in later)
    assert all(r["p50_us"] > 0 and 0 <= r["accuracy"] <= 1 for r in rows)
    assert len({r["lr"] for r in fresh}) == 4


def test_the_page_shows_every_trial_and_why(done: dict[str, Any]) -> None:
    folder = Path(done["folder"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert done["reason"] in page and "<script" not in page
    assert page.count("<tr>") == 1 + len(done["trials"])
    assert (folder / "pareto.png").stat().st_size > 0
    kept = {p.name for p in (folder / "trials").iterdir()}
    assert done["winner"]["folder"] in kept and len(kept) < len(done["trials"])


def test_progress_is_a_file_that_others_read(done: dict[str, Any]) -> None:
    live = json.loads((Path(done["folder"]) / "progress.json").read_text(encoding="utf-8"))
    assert live["state"] == "done" and live["result"] == done
    assert live["counts"]["settings"] == 4 and live["best"] == done["winner"]["number"]
    assert live["spent_s"] + live["left_s"] == pytest.approx(live["budget_s"], abs=0.2)


def test_a_finished_search_is_not_overwritten(photos: Path, done: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match="exists already"):
        search(photos, FEW, Path(done["folder"]))
    again = resume(Path(done["folder"]))
    assert again.winner.val.accuracy == done["winner"]["accuracy"]


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_stopped_it_goes_on_and_no_trial_is_lost_or_made_twice(
    photos: Path, tmp_path: Path, kill: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = begin(photos, out, "--trials", "5")
    wait_until(lambda: (out / "progress.json").is_file() and _complete(out) >= 2, process)
    process.send_signal(kill)
    _, error = process.communicate(timeout=600)
    if kill == signal.SIGINT:
        assert process.returncode == 130 and f"imago search --resume {out}" in error
    wait_for_workers(out)
    before = {t.number: t.values for t in trials(out) if t.state.name == "COMPLETE"}
    report = resume(out)
    after = {t.number: t.values for t in trials(out) if t.state.name == "COMPLETE"}
    assert before.items() <= after.items()
    rows = [r for r in report.rows if r.entry.state != "failed"]
    assert sum(r.entry.parent is None for r in rows) == 5
    parents = [r.entry.parent for r in rows if r.entry.parent is not None]
    assert 1 <= len(parents) == len(set(parents)) <= 2
    assert not any(t.state.name in ("RUNNING", "WAITING") for t in trials(out))


def _complete(out: Path) -> int:
    counts = json.loads((out / "progress.json").read_text(encoding="utf-8"))["counts"]
    return int(counts["complete"])


def wait_for_workers(out: Path) -> None:
    """A killed leader's workers notice by themselves; afterwards nobody writes here."""
    for _ in range(3000):
        if not any(str(out) in _words(p) for p in Path("/proc").glob("[0-9]*")):
            return
        time.sleep(0.1)
    pytest.fail("a worker outlived its search")


def _words(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_a_trial_whose_worker_died_goes_on_in_its_folder(photos: Path, tmp_path: Path) -> None:
    """The first worker is killed in the middle of a training; the second one finishes that training."""
    out = tmp_path / "out"
    process = begin(photos, out, "--trials", "1", "--epochs", "4000")
    checkpoint = out / "trials" / "0000" / "metrics.jsonl"
    wait_until(checkpoint.is_file, process)
    for worker in Path("/proc").glob("[0-9]*"):
        if "\0--worker\0" in _words(worker) and str(out) in _words(worker):
            os.kill(int(worker.name), signal.SIGKILL)
    wait_until(lambda: len(trials(out)) > 1 and trials(out)[1].user_attrs.get("worker") == 0, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    first, second = trials(out)[:2]
    assert (first.state.name, first.user_attrs["note"]) == ("FAIL", "lost")
    assert second.params == first.params and second.user_attrs["folder"] == "0000"


def test_what_is_too_slow_is_not_even_trained(photos: Path, tmp_path: Path) -> None:
    options = replace(FEW, max_latency_us=0.001, trials=2)
    with pytest.raises(GateError, match="the fastest, lenet5, 32 px, takes"):
        search(photos, options, tmp_path / "out")
    assert not (tmp_path / "out" / "trials").exists()
    live = json.loads((tmp_path / "out" / "progress.json").read_text(encoding="utf-8"))
    assert live["state"] == "failed" and "--max-latency" in live["message"]


def prepared(photos: Path, place: str, **changes: Any) -> str:
    """A study as the leader makes it, for workers that are started by hand; returns its name."""
    dataset = load_dataset(photos)
    options = replace(FEW, **changes)

    def create(study: Any) -> None:
        for key, value in {"settings": options.to_dict(), "first": 1.0, UNTIL: time.time() + 600}.items():
            study.set_user_attr(key, value)

    open_study(open_storage(place), study_name(dataset), create=create)
    return study_name(dataset)


def test_a_joined_worker_without_the_weights_trains_all_of_it(photos: Path, tmp_path: Path) -> None:
    """Two machines on one SQLite file that do not see each other's folders."""
    place = str(tmp_path / "trials.db")
    name = prepared(photos, place, trials=3)
    assert Worker(Job(photos, place, name, tmp_path / "a", threads=1)).run() == 4
    study = open_study(open_storage(place), name)
    promoted = study.get_trials()[3]
    assert promoted.user_attrs["epochs"] == 2  # on with the weights of its parent
    study.set_user_attr("settings", replace(FEW, trials=6).to_dict())
    joined = imago(
        "search", str(photos), "--join", "--storage", place, "-o", str(tmp_path / "b"), "--threads", "1"
    )
    assert joined.returncode == 0, joined.stderr
    rest = study.get_trials()[4:]
    assert f"{len(rest)} trials done here" in joined.stdout
    assert sum(t.user_attrs.get("parent") is None for t in rest) == 3
    for trial in rest:
        parent = trial.user_attrs.get("parent")
        if parent is not None:
            assert trial.user_attrs["epochs"] == (3 if parent < 3 else 2)


def test_ready_made_weights_are_one_of_the_choices(photos: Path, tmp_path: Path) -> None:
    from imago.train.checkpoint import save_tensors

    module = build_model("lenet5", 7, channels=1, size=(32, 32)).module
    save_tensors(tmp_path / "lenet5.safetensors", module.state_dict())
    place = str(tmp_path / "t.journal")
    name = prepared(photos, place, trials=1, weights=tmp_path / "lenet5.safetensors")
    study = open_study(open_storage(place), name)
    space = Space.of(load_dataset(photos), SearchOptions.from_dict(study.user_attrs["settings"]))
    (params,) = space.first()
    study.enqueue_trial({**params, "start": "frozen"})
    Worker(Job(photos, place, name, tmp_path / "out", threads=1)).run()
    run = tmp_path / "out" / "trials" / "0000"
    assert Run.load(run).config.freeze == "backbone"
    trained = Run.load(run).load_module(run).state_dict()
    assert torch.equal(trained["c1.weight"], module.state_dict()["c1.weight"])
    assert not torch.equal(trained["output.bias"][:2], module.state_dict()["output.bias"][:2])


def test_a_journal_whose_last_line_was_cut_is_mended(tmp_path: Path, photos: Path) -> None:
    place = tmp_path / "t.journal"
    name = prepared(photos, str(place))
    whole = place.read_bytes()
    place.write_bytes(whole + b'{"op_code": 4, "wor')
    mend_journal(place)
    assert place.read_bytes() == whole
    assert entries_of(open_study(open_storage(str(place)), name).get_trials()) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--budget", "20"], "--budget is 20; expected a time"),
        (["--budget", "2s"], "expected 20s to 30d"),
        (["--max-latency", "5"], "--max-latency is 5"),
        (["--models", "lenet6"], "nearest: lenet5"),
        (["--workers", "-1"], "--workers is -1"),
        (["--weights", "w.safetensors"], "fits one network"),
        (["--join"], "--join needs"),
        (["--storage", "postgresql://me:secret@nowhere/db"], "pip install psycopg2-binary"),
        (["--storage", "oracle9://nowhere/db"], "cannot be opened"),
        (["--resume", "nowhere"], "either a folder"),
    ],
)
def test_bad_flags_are_one_line(photos: Path, tmp_path: Path, flags: list[str], said: str) -> None:
    from imago.cli.search_cmd import main

    with pytest.raises((InputError, MissingDependency, StorageError)) as caught:
        main([str(photos), "-o", str(tmp_path / "out"), *flags])
    text = str(caught.value)
    assert said in text and "\n" not in text and "secret" not in text
    assert not (tmp_path / "out").exists()


def test_what_is_no_search_is_refused(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(InputError, match=r"no search\.json"):
        resume(tmp_path)
    (tmp_path / "search.json").write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        resume(tmp_path)
    with pytest.raises(InputError, match="holds no search"):
        open_study(open_storage(str(tmp_path / "t.journal")), "imago-x")
    bad = tmp_path / "bad.journal"
    bad.write_text("this is no journal\n" * 3, encoding="utf-8")
    with pytest.raises(InputError, match="not a file of trials"):
        open_storage(str(bad))


def test_inputs_are_no_larger_than_the_pictures(photos: Path) -> None:
    space = Space.of(load_dataset(photos), SearchOptions())
    assert space.sides == (32,)  # the pictures have 40 × 48 pixels
    firsts = space.first()
    assert [p["model"] for p in firsts][:2] == ["mobilenet_v3_small", "lenet5"]
    assert all(p["size"] == 32 for p in firsts)

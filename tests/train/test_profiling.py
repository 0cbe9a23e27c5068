"""The profile: spans add up, helpers stand apart, browsers read the trace, weights stay the same."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from imago.train.profiling import NO_CLOCK, PHASES, Stopwatch, table

from picture_support import striped_folders
from run_support import same_weights
from support import imago


def test_spans_count_their_own_time_only() -> None:
    watch = Stopwatch()
    with watch.span("validate"):
        for _ in range(3):
            with watch.span("forward"):
                sum(range(20_000))

    def helper() -> None:
        with watch.span("decode"):
            sum(range(20_000))

    thread = threading.Thread(target=helper)
    thread.start()
    thread.join()
    report = watch.report()
    rows = {row["phase"]: row for row in report["phases"]}
    assert rows["forward"]["count"] == 3
    assert rows["decode"]["beside"]
    assert not rows["forward"]["beside"]
    assert rows["validate"]["seconds"] < rows["forward"]["seconds"]
    own = sum(row["seconds"] for row in report["phases"] if not row["beside"])
    assert own == pytest.approx(report["seconds"])
    with NO_CLOCK.span("forward"):
        pass
    assert len(table(report)) == 1 + len(report["phases"])


def test_a_profiled_run_is_the_same_run(tmp_path: Path) -> None:
    photos = striped_folders(tmp_path / "photos", 20)
    flags = ("--epochs", "2", "--batch-size", "16", "--threads", "1")
    for run, more in (("plain", []), ("profiled", ["--profile", "--json", str(tmp_path / "out.json")])):
        done = imago("train", str(photos), "--out", str(tmp_path / run), *flags, *more)
        assert done.returncode == 0, done.stderr
    assert "forward pass" in done.stdout
    assert same_weights(tmp_path / "plain", tmp_path / "profiled")
    profile = json.loads((tmp_path / "profiled" / "profile.json").read_text(encoding="utf-8"))
    rows = {row["phase"]: row for row in profile["phases"]}
    assert set(rows) <= set(PHASES)
    assert rows["forward"]["count"] == rows["backward"]["count"] == rows["step"]["count"] == 4
    assert rows["validate"]["count"] == 2
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["profile"]["device"] == "cpu"
    trace = json.loads((tmp_path / "profiled" / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    steps = [event for event in trace if event["name"] == "forward"]
    assert len(steps) == 4
    assert all(event["ph"] == "X" and event["dur"] >= 0 and event["ts"] >= 0 for event in trace)
    assert not (tmp_path / "plain" / "profile.json").exists()
